"""Forwards into real guests: web servers behind TCP, IPv6, UNIX and ranges, iperf3 behind UDP."""

import contextlib
import http.client
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

import lan_harness
from lan_harness import LANYARD, LanTest, wait_for

sys.path.insert(0, str(lan_harness.SOURCE_DIR / "tools" / "python"))
import lanyard  # noqa: E402

GUEST_UP_S = 60   # from QEMU's start to a server in the guest, under TCG beside other tests
GUEST_BUSY_S = 240  # with what came before, a process each, on a machine that others keep busy
CONNECTS = 1000
MAC = "52:54:00:00:05:01"  # the same guest after a restart
SERVE = "mkdir -p /www; echo it works >/www/index.html; httpd -h /www -p"


def refused(family, address):
    """Whether a connect is refused at once: no other outcome is an answer."""
    with socket.socket(family) as client:
        client.settimeout(10)
        try:
            client.connect(address)
        except (ConnectionRefusedError, FileNotFoundError):
            return True
        except ConnectionResetError:
            pass  # let in, by a listener that went away at that moment
        return False


def fetch(port, host="127.0.0.1"):
    client = http.client.HTTPConnection(host, port, timeout=GUEST_BUSY_S)
    try:
        client.request("GET", "/")
        return client.getresponse().read().decode().strip()
    finally:
        client.close()


def openers():
    """The running processes of this network namespace that open guest forwards."""
    mine, found = os.readlink("/proc/self/ns/net"), []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            stat = (process / "stat").read_text()
            if "(lanyard-opener) " in stat and "(lanyard-opener) Z" not in stat and \
                    os.readlink(process / "ns" / "net") == mine:
                found.append(process.name)
        except OSError:
            pass  # it has ended
    return found


def curl(*words):
    """curl's exit status and output: 7 is a refused connection."""
    done = subprocess.run(["curl", "-sS", "--max-time", "20", *words], capture_output=True, text=True)
    return done.returncode, done.stdout.strip() or done.stderr.strip()


class Forwards(LanTest):
    def lan(self, *options):
        directory, self.switch = self.start_lan("--nat", *options)
        return lanyard.Control(directory)

    def guest(self, lan, commands, name="guest"):
        return self.start_guest(name, [*commands, "sleep 600"], ["--lan", lan.directory, "--mac", MAC])

    def ctl(self, lan, *words, status=0):
        done = subprocess.run([LANYARD, "ctl", lan.directory, *words], capture_output=True, text=True, timeout=20)
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stdout if status == 0 else done.stderr

    def forward(self, lan, text):
        return next(each for each in lan.forwards() if each["forward"] == text)

    def tell_guest(self, lan):
        """Ends the guest's `nc -l -p 98`, behind port 9098, and no second one after it."""
        def forward():
            return self.forward(lan, "tcp:127.0.0.1:9098-:98")

        def settled():
            return forward()["connections"] + forward()["failed"]

        def told():
            settled_before = settled()
            # Refused while no nc listens; reset when one has just gone and it is not known yet.
            with contextlib.suppress(ConnectionRefusedError, ConnectionResetError):
                socket.create_connection(("127.0.0.1", 9098), timeout=10).close()
                wait_for(lambda: settled() > settled_before, "the guest's answer")
            return forward()["connections"] > connections_before

        connections_before = forward()["connections"]
        wait_for(told, "the guest's nc", GUEST_UP_S)

    def wait_ready(self, lan, text):
        wait_for(lambda: self.forward(lan, text)["state"] == "ready", f"{text} to be ready", GUEST_UP_S)

    def test_web_server(self):
        """Refused before the guest serves, served then, refused again when it stops; never a hang."""
        lan = self.lan()
        spec = self.ctl(lan, "forward", "add", "tcp::0-:80").strip()
        port = self.forward(lan, spec)["port"]
        self.assertIn(f"forward {spec}: the kernel chose the port", self.switch.stderr())
        self.assertEqual(curl(f"http://127.0.0.1:{port}/")[0], 7)
        capture = self.folder / "lan" / "probes.pcapng"
        lan.start_capture(capture)
        self.guest(lan, ["sleep 2", f"{SERVE} 80", "sleep 6", "killall httpd"])
        states = set()

        def served():
            self.assertLess(time.monotonic(), deadline)
            status, text = curl(f"http://127.0.0.1:{port}/")
            states.add(status)
            return status == 0 and text == "it works"

        deadline = time.monotonic() + GUEST_UP_S
        while not served():
            time.sleep(0.05)
        self.assertLessEqual(states, {0, 7})  # until curl …: nothing else has ever come
        lan.wait_for_event("forward-ready", forward=spec)
        self.assertIn(f"{spec}  ready", self.ctl(lan, "forward", "list"))
        wait_for(lambda: curl(f"http://127.0.0.1:{port}/")[0] in (7, 52, 56), "httpd to stop", GUEST_UP_S)
        wait_for(lambda: curl(f"http://127.0.0.1:{port}/")[0] == 7, "the refusal to come back")
        self.assertEqual(self.forward(lan, spec)["answer"], "refused")
        self.ctl(lan, "forward", "remove", spec)
        self.assertEqual(lan.forwards(), [])
        self.assertIn("no such forward", self.ctl(lan, "forward", "remove", spec, status=65))
        lan.stop_capture()
        if subprocess.run(["which", "tshark"], capture_output=True).returncode == 0:
            comments = lan_harness.read_lines("tshark", "-r", capture, "-Y", "frame.comment", "-T", "fields", "-e",
                                              "frame.comment")
            self.assert_some(comments, "lanyard asks whether the guest listens, for the forward " + spec)

    def test_many_ways_into_one_guest(self):
        """IPv4, IPv6, mixed, a range and a UNIX socket at once; 1000 connects; removal while connected."""
        path = self.folder / "web.socket"
        lan = self.lan("--hostfwd", f"unix:{path}-:80", "--hostfwd", "tcp:[::1]:8080-:80", "--hostfwd",
                       "tcp:[::1]:8081-[::]:80", "--hostfwd", "tcp::8081-[::]:80", "--hostfwd",
                       "tcp::9000-9002-:80-82")
        self.assertEqual(len(lan.forwards()), 7)
        self.assertTrue(refused(socket.AF_UNIX, str(path)))
        self.guest(lan, [f"{SERVE} 80", "httpd -h /www -p 82"])
        for spec in (f"unix:{path}-:80", "tcp:[::1]:8080-:80", "tcp:[::1]:8081-[::]:80", "tcp:127.0.0.1:8081-[::]:80",
                     "tcp:127.0.0.1:9000-:80", "tcp:127.0.0.1:9002-:82"):
            self.wait_ready(lan, spec)
        self.assertEqual(self.forward(lan, "tcp:127.0.0.1:9001-:81")["answer"], "refused")
        self.assertTrue(refused(socket.AF_INET, ("127.0.0.1", 9001)))
        for url in ("http://[::1]:8080/", "http://[::1]:8081/", "http://127.0.0.1:8081/", "http://127.0.0.1:9000/",
                    "http://127.0.0.1:9002/"):
            self.assertEqual(curl(url), (0, "it works"), url)
        self.assertEqual(curl("--unix-socket", str(path), "http://guest/"), (0, "it works"))
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        for _ in range(CONNECTS):
            socket.create_connection(("127.0.0.1", 9000), timeout=30).close()
        self.assertEqual(fetch(9000), "it works")
        wait_for(lambda: self.forward(lan, "tcp:127.0.0.1:9000-:80")["connections"] >= CONNECTS + 2,
                 "all connections to be counted")
        self.assertEqual(self.forward(lan, "tcp:127.0.0.1:9000-:80")["failed"], 0)

        connected = http.client.HTTPConnection("127.0.0.1", 9000, timeout=60)
        connected.connect()
        self.ctl(lan, "forward", "remove", "tcp::9000-9002-:80")
        self.assertTrue(refused(socket.AF_INET, ("127.0.0.1", 9000)))
        connected.request("GET", "/")
        self.assertEqual(connected.getresponse().read().decode().strip(), "it works")
        connected.close()
        self.assertEqual(self.switch.stop(), 0)
        self.assertFalse(path.exists())

    def test_clients_that_die(self):
        """Clients killed in the middle, and a guest that is killed under its clients."""
        lan = self.lan("--hostfwd", "tcp::9000-:80")
        guest = self.guest(lan, [f"{SERVE} 80", "dd if=/dev/zero of=/www/big bs=1M count=64"])
        self.wait_ready(lan, "tcp:127.0.0.1:9000-:80")
        for _ in range(5):
            client = subprocess.Popen(["curl", "-s", "-o", "/dev/null", "http://127.0.0.1:9000/big"])
            time.sleep(0.3)
            client.kill()
            client.wait()
        self.assertEqual(fetch(9000), "it works")
        guest.child.kill()
        guest.child.wait()
        with socket.create_connection(("127.0.0.1", 9000), timeout=30) as waiting:
            with self.assertRaises(ConnectionResetError):
                waiting.recv(1)
        wait_for(lambda: refused(socket.AF_INET, ("127.0.0.1", 9000)), "the refusal")
        self.assertEqual(lan.forwards()[0]["answer"], "no-guest")
        self.guest(lan, [f"{SERVE} 80"], name="again")
        self.wait_ready(lan, "tcp:127.0.0.1:9000-:80")
        self.assertEqual(fetch(9000), "it works")

    def test_udp(self):
        """iperf3's server in the guest: its control connection over TCP, its data over UDP."""
        lan = self.lan("--hostfwd", "udp::5201-:5201", "--hostfwd", "tcp::5201-:5201")
        self.assertEqual(self.forward(lan, "udp:127.0.0.1:5201-:5201")["state"], "open")
        self.guest(lan, ["iperf3 -s"])
        self.wait_ready(lan, "tcp:127.0.0.1:5201-:5201")
        done = subprocess.run(["iperf3", "-c", "127.0.0.1", "-u", "-b", "2M", "-t", "2", "-J"], capture_output=True,
                              text=True, timeout=60)
        end = json.loads(done.stdout)["end"]["sum"]
        self.assertGreater(end["packets"], 10)
        self.assertLess(end["lost_percent"], 50)

    def test_who_has_the_port(self):
        """At the start and at run time, the program that is in the way is named."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            name = pathlib.Path("/proc/self/comm").read_text().strip()
            holder = f"{name} (pid {os.getpid()}) listens there"
            lan = self.lan("--no-sandbox")
            said = self.ctl(lan, "forward", "add", f"tcp::{port}-:22", status=65)
            self.assertIn(f"cannot forward tcp:127.0.0.1:{port}-:22: Address already in use; {holder}", said)
            switch = self.start("second", [LANYARD, "switch", self.folder / "two", "--nat", "--hostfwd",
                                           f"tcp::{port}-:22"])
            self.assertNotEqual(switch.wait(20), 0)
            self.assertIn(holder, switch.stderr())

    def test_locked_in(self):
        """With the sandbox: TCP comes and goes at run time, a UNIX socket is given at the start."""
        (self.folder / "open").mkdir()
        path = self.folder / "open" / "early"
        lan = self.lan("--hostfwd", f"unix:{path}-:80")
        self.ctl(lan, "forward", "add", "tcp::9000-:80")
        said = self.ctl(lan, "forward", "add", f"unix:{self.folder}/late-:80", status=65)
        self.assertIn("choose a folder this user may write to and the sandbox has open", said)
        self.ctl(lan, "forward", "add", "tcp::9098-:98")
        self.guest(lan, [f"{SERVE} 80", "nc -l -p 98", "killall httpd", "nc -l -p 98", "httpd -h /www -p 80"])
        self.wait_ready(lan, f"unix:{path}-:80")
        self.wait_ready(lan, "tcp:127.0.0.1:9000-:80")
        self.tell_guest(lan)
        wait_for(lambda: curl("http://127.0.0.1:9000/")[0] == 7, "httpd to stop", GUEST_UP_S)
        wait_for(lambda: curl("--unix-socket", str(path), "http://guest/")[0] == 7, "the refusal")
        self.tell_guest(lan)
        self.wait_ready(lan, f"unix:{path}-:80")  # made anew, behind the wall
        self.assertEqual(curl("--unix-socket", str(path), "http://guest/"), (0, "it works"))
        self.assertTrue(self.switch.running(), self.switch.stderr())

    def test_as_nobody(self):
        """Without any privilege; what another user holds is said to be another's."""
        lan_harness.need_two_users(self)
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            os.chmod(self.folder, 0o777)
            switch = self.start("busy", [*lan_harness.NOBODY, LANYARD, "switch", self.folder / "busy", "--nat", "--hostfwd",
                                         f"tcp::{port}-:22"])
            self.assertNotEqual(switch.wait(20), 0)
            self.assertIn("a process of user 0 listens there, which cannot be looked into from here", switch.stderr())
        directory, _ = self.start_lan("--nat", "--hostfwd", "tcp::9000-:80", "--hostfwd",
                                      f"unix:{self.folder}/web-:80", prefix=lan_harness.NOBODY)
        lan = lanyard.Control(directory)
        self.guest(lan, [f"{SERVE} 80"])
        self.wait_ready(lan, "tcp:127.0.0.1:9000-:80")
        self.wait_ready(lan, f"unix:{self.folder}/web-:80")
        self.assertEqual(fetch(9000), "it works")
        self.assertEqual(curl("--unix-socket", f"{self.folder}/web", "http://guest/"), (0, "it works"))

    def test_guest_forwards(self):
        """Commands, UNIX and TCP targets from a real guest, behind the sandbox and --restrict."""
        site = self.folder / "site"
        site.mkdir()
        (site / "index.html").write_text("from the host\n")
        path = self.folder / "echo"
        listening = self.start("socat", ["socat", f"UNIX-LISTEN:{path},fork", "EXEC:rev"])
        wait_for(path.exists, "socat")
        with lan_harness.web_server(site) as port:
            self.run_forwarded(["--restrict", "--guestfwd", "tcp:10.0.2.100:7-cmd:tr a-z A-Z", "--guestfwd",
                                f"tcp:10.0.2.100:8-unix:{path}", "--guestfwd",
                                f"tcp:10.0.2.100:80-tcp:127.0.0.1:{port}", "--guestfwd",
                                "tcp:10.0.2.100:9-unix:/nowhere"], [])
            options = (f"user,id=n,guestfwd=tcp:10.0.2.100:7-cmd:tr a-z A-Z,guestfwd=tcp:10.0.2.100:8-unix:{path},"
                       f"guestfwd=:10.0.2.100:80-tcp:127.0.0.1:{port},guestfwd=tcp:10.0.2.100:9-unix:/nowhere")
            self.run_forwarded([], ["-netdev", options, "-device", "virtio-net-pci,netdev=n"])
        self.assertTrue(listening.running())

    def run_forwarded(self, run_options, qemu_options):
        guest = self.start_guest(f"guest{len(qemu_options)}", [
            "ip address show dev eth0 | grep -q 10.0.2.15 || ip address add 10.0.2.15/24 dev eth0",
            "echo loud | nc -w 5 10.0.2.100 7", "echo abc | nc -w 5 10.0.2.100 8",
            r"printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 5 10.0.2.100 80", "nc -w 5 10.0.2.100 9"], run_options,
            qemu_options=qemu_options)
        _, command, unix, web, nobody = guest.finish().commands
        self.assertIn("LOUD", command.output)
        self.assertIn("cba", unix.output)
        self.assertIn("from the host", web.output)
        self.assertIn("refused", nobody.output)
        self.assertIn("a guest's connection to tcp:10.0.2.100:9-unix:/nowhere is refused: No such file or directory",
                      guest.stderr())
        wait_for(lambda: not openers(), "the opener to end")

    def test_idle_costs_nothing(self):
        """A LAN with forwards and without guests uses no processor time to speak of."""
        lan = self.lan("--hostfwd", "tcp::9000-9099-:9000")
        before = self.processor_ticks()
        time.sleep(5)
        self.assertLess(self.processor_ticks() - before, 10)  # of 500
        self.assertEqual({each["answer"] for each in lan.forwards()}, {"no-guest"})

    def processor_ticks(self):
        fields = pathlib.Path(f"/proc/{self.switch.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])


if __name__ == "__main__":
    lan_harness.main()
