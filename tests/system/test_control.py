"""A running LAN through its control socket: curl, the python module, `lanyard ctl`, Prometheus's own
parser, and clients that behave badly."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import lan_harness
import vde_harness

sys.path.insert(0, str(lan_harness.SOURCE_DIR / "tools" / "python"))
import lanyard  # noqa: E402

FRAME = bytes.fromhex("ffffffffffff525400000001" "0800") + bytes(46)


def curl(lan, *words):
    out = subprocess.run(["curl", "-sS", "--max-time", "10", "--unix-socket", f"{lan.directory}/control", *words],
                         capture_output=True, text=True, check=True)
    return out.stdout


class ControlTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.lan = lanyard.Lan(self.folder.name + "/lan", program=lan_harness.LANYARD,
                               options=["--capture-dir", self.folder.name])
        self.addCleanup(self.lan.stop)

    def plug(self):
        plug = vde_harness.Plug(self.lan.directory)
        self.addCleanup(plug.close)
        return plug

    def ctl(self, *words, status=0):
        out = subprocess.run([lan_harness.LANYARD, "ctl", self.lan.directory, *words], capture_output=True,
                             text=True, timeout=20, cwd=self.folder.name)
        self.assertEqual(out.returncode, status, out.stderr)
        return out.stdout if status == 0 else out.stderr

    def raw(self):
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.settimeout(10)
        client.connect(self.lan.directory + "/control")
        return client

    def test_curl_and_ctl_and_python_see_the_same(self):
        plug = self.plug()
        plug.send(FRAME)
        self.lan.wait_for_event("plug-came")
        deadline = time.monotonic() + 10
        while not self.lan.stations() and time.monotonic() < deadline:
            time.sleep(0.02)
        ports = self.lan.ports()
        self.assertEqual(json.loads(curl(self.lan, "http://lan/ports")), ports)
        self.assertEqual(json.loads(self.ctl("ports", "--json")), ports)
        self.assertEqual(ports[0]["counters"]["ingress_frames"], 1)
        self.assertIn("52:54:00:00:00:01", self.ctl("fdb"))
        self.assertRegex(self.ctl("ports"), r"(?m)^1 +up +1 +0 +vde 1")

    def test_a_link_goes_down_and_up(self):
        one, two = self.plug(), self.plug()
        self.ctl("link", "2", "down")
        one.send(FRAME)
        deadline = time.monotonic() + 10
        while not self.lan.port(2)["counters"]["drops"] and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertEqual(self.lan.port(2)["counters"]["drops"], {"link-down": 1})
        self.lan.set_link(2, up=True)
        one.send(FRAME)
        self.assertEqual(two.receive(), FRAME)
        self.assertIn("there is no port 9; `lanyard ctl DIR ports` lists them", self.ctl("link", "9", "up", status=65))
        two.close()
        self.lan.wait_for_event("port-free", port=2)
        self.assertRegex(self.ctl("ports"), r"(?m)^2 +free ")

    def test_prometheus_reads_the_metrics(self):
        self.plug().send(FRAME)
        self.lan.wait_for_event("plug-came")
        # Debian's python3-prometheus-client, which belongs to Debian's python3.
        out = subprocess.run(["/usr/bin/python3", "-c", """
import json, sys
from prometheus_client.parser import text_string_to_metric_families as parse
json.dump({f.name: [f.type, [[s.labels, s.value] for s in f.samples]] for f in parse(sys.stdin.read())}, sys.stdout)
"""], input=self.lan.metrics(), capture_output=True, text=True)
        self.assertEqual(out.returncode, 0, out.stderr)
        families = json.loads(out.stdout)
        self.assertEqual(families["lanyard_port_ingress_frames"][0], "counter")
        self.assertEqual(families["lanyard_port_plugs"], ["gauge", [[{"port": "1"}, 1]]])
        self.assertIn("lanyard_control_requests", families)
        self.assertIn("text/plain", curl(self.lan, "-i", "http://lan/metrics"))

    def test_captures_begin_and_end(self):
        self.ctl("capture", "start", "some.pcap")
        self.assertIn("capture 1 writes it already", self.ctl("capture", "start", "some.pcap", status=65))
        plug = self.plug()
        with self.lan.captured(self.folder.name + "/other.pcapng"):
            self.assertEqual([capture["id"] for capture in self.lan.captures()], [1, 2])
            plug.send(FRAME)
            lan_harness.wait_for(self.lan.stations, "the frame in the switch")
        self.assertIn("some.pcap", self.ctl("capture", "list"))
        self.ctl("capture", "stop", "1")
        self.assertIn("there is no capture 1", self.ctl("capture", "stop", "1", status=65))
        for name in ("some.pcap", "other.pcapng"):
            self.assertEqual(len(lan_harness.tcpdump_lines(f"{self.folder.name}/{name}")), 1)

    def test_a_capture_that_cannot_begin_is_none(self):
        os.symlink("/dev/full", self.folder.name + "/full.pcap")
        line = self.ctl("capture", "start", "full.pcap", status=65)
        self.assertRegex(line, "^lanyard: cannot (write capture .*/full.pcap: No space left|capture to .*: the switch "
                               "has locked itself out)")
        self.assertEqual(line.count("\n"), 1)
        self.assertEqual(self.lan.captures(), [])

    def test_a_capture_takes_a_filter(self):
        self.ctl("capture", "start", "arp.pcap", "--filter", "arp", "--snaplen", "20")
        self.assertRegex(self.ctl("capture", "list"), r"(?m)^1 +0 +0 +0 +.*/arp.pcap +arp$")
        plug = self.plug()
        plug.send(FRAME)
        plug.send(FRAME[:12] + b"\x08\x06" + FRAME[14:])
        lan_harness.wait_for(lambda: self.lan.captures()[0]["left_out"] == 1 and self.lan.captures()[0]["frames"] == 1,
                             "two frames")
        self.ctl("capture", "stop")
        self.assertEqual(os.path.getsize(self.folder.name + "/arp.pcap"), 24 + 16 + 20)
        for words, part in ((["--filter", "tcp prot 80"], '"prot" is no keyword, number or address'),
                            (["--filter", "host example.org"], "names are not looked up"),
                            (["--filter", "tcp port"], "syntax error"), (["--snaplen", "1"], "no number from 14")):
            line = self.ctl("capture", "start", "no.pcap", *words, status=65)
            self.assertIn(part, line)
            self.assertEqual(line.count("\n"), 1)
        self.assertFalse(os.path.exists(self.folder.name + "/no.pcap"))

    def test_what_there_is_not_is_refused_by_name(self):
        for words, part in ((["events", "--kind", "bogus"], 'no kind "bogus"; known: capture-incomplete, '),
                            (["get", "/ports?numer=1"], "takes no ?numer=; known: none")):
            line = self.ctl(*words, status=65)
            self.assertIn(part, line)
            self.assertEqual(line.count("\n"), 1)
        with self.assertRaisesRegex(lanyard.Error, 'no kind "lease-give"'):
            self.lan.wait_for_event("lease-give", timeout=20)
        self.plug()
        self.assertEqual(self.lan.wait_for_event("plug", port=1)["event"], "plug-came")

    def test_a_body_that_is_too_long_is_refused_by_its_length(self):
        for size in (70_000, 900_000):  # within what the socket takes, and beyond
            with self.assertRaisesRegex(lanyard.Error, "longer than 65536 bytes; send less"):
                self.lan.add_forward("x" * size)
            rules = os.path.join(self.folder.name, "rules")
            with open(rules, "w", encoding="utf-8") as file:
                file.write("tcp:192.0.2.1:80\n" * (size // 20))
            line = self.ctl("policy", "replace", "--allow", "@" + rules, status=65)
            self.assertIn("longer than 65536 bytes; send less", line)
            self.assertEqual(line.count("\n"), 1)

    def test_a_switch_that_stands_still_is_told_of(self):
        self.lan.process.send_signal(signal.SIGSTOP)
        try:
            asked = [subprocess.Popen([lan_harness.LANYARD, "ctl", self.lan.directory, word], text=True,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
                     for word in ("ports", "events")]
            for child in asked:
                line = child.communicate(timeout=60)[1]
                self.assertEqual(child.returncode, 75)
                self.assertRegex(line, r"^lanyard: cannot ask .*/control: no answer came in time \(10 s\); see "
                                 rf"whether the switch \(process {self.lan.process.pid}\) is stopped or hangs\n$")
        finally:
            self.lan.process.send_signal(signal.SIGCONT)

    def test_a_filter_at_the_start(self):
        file = self.folder.name + "/start.pcapng"
        lan = lanyard.Lan(self.folder.name + "/second", program=lan_harness.LANYARD, capture=file,
                          options=["--capture-filter", "ip", "--capture-snaplen", "30"])
        self.addCleanup(lan.stop)
        plug = vde_harness.Plug(lan.directory)
        self.addCleanup(plug.close)
        plug.send(FRAME[:12] + b"\x08\x06" + FRAME[14:])
        plug.send(FRAME[:14] + b"\x45" + FRAME[15:])
        lan_harness.wait_for(lambda: lan.port(1)["counters"]["ingress_frames"] == 2, "two frames")
        capture, = lan.captures()
        self.assertEqual((capture["filter"], capture["snaplen"], capture["left_out"]), ("ip", 30, 1))
        self.assertEqual(lan.stop(), 0)
        self.assertEqual(len(lan_harness.tcpdump_lines(file)), 1)
        done = subprocess.run([lan_harness.LANYARD, "switch", self.folder.name + "/third", "--capture", file,
                               "--capture-filter", "tcp prot 80"], text=True, capture_output=True, timeout=20)
        self.assertEqual((done.returncode, done.stderr.count("\n")), (64, 1))
        self.assertIn('cannot use the filter "tcp prot 80"', done.stderr)

    def test_the_overview_and_its_tables_are_clean_in_a_log(self):
        self.assertIn("Nobody is plugged in.", self.ctl())
        plug = self.plug()
        plug.send(FRAME)
        self.ctl("link", "1", "down")
        text = self.ctl()
        self.assertRegex(text, r"(?m)^1 +down +- +- +- +1 +0 +vde 1")
        self.assertIn("no gateway (--nat adds one)", text)
        for words in ((), ("ports",), ("fdb",), ("capture", "list")):
            self.assertNotIn("\033", self.ctl(*words))
            json.loads(self.ctl(*words, "--json"))
        self.assertIn("start its switch with --nat", self.ctl("leases", status=65))
        self.assertIn("`lanyard ctl --help`", self.ctl("zork", status=64))
        # In a terminal the heading is bold.
        pty = subprocess.run(["script", "-qec", f"{lan_harness.LANYARD} ctl {self.lan.directory} ports", "/dev/null"],
                             capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL).stdout
        self.assertIn("\033[1mPORT", pty)
        self.assertIn("\033[31mdown", pty)

    def test_events_of_some_kinds(self):
        plug = self.plug()
        self.lan.wait_for_event("plug-came")
        self.ctl("link", "1", "down")
        first = next(self.lan.events(from_oldest=True, timeout=10, kinds=["link"]))
        self.assertEqual((first["event"], first["port"]), ("link-down", 1))
        plug.close()
        self.lan.wait_for_event("plug-left")
        reader = subprocess.Popen([lan_harness.LANYARD, "ctl", self.lan.directory, "events", "--from-oldest",
                                   "--kind", "link,plug-left"], stdout=subprocess.PIPE, text=True)
        self.addCleanup(reader.stdout.close)
        self.addCleanup(reader.wait)
        self.addCleanup(reader.kill)
        self.assertRegex(reader.stdout.readline(), r"^\d\d:\d\d:\d\d\.\d{3}  link-down +port=1$")
        self.assertRegex(reader.stdout.readline(), r"  plug-left +port=1$")

    def test_many_clients_that_hammer_hold_no_frame_up_for_long(self):
        """8 clients ask for all stations and all counters without a pause; frames pass meanwhile, and each
        reply is made block by block: the longest turn is much shorter than a reply."""
        one, two = self.plug(), self.plug()
        count = 6000
        for number in range(count):
            one.send(b"\xff" * 6 + b"\x52\x54" + number.to_bytes(4, "big") + b"\x08\x00" + bytes(46))
            if number % 64 == 63:
                two.receive_all()
        lan_harness.wait_for(lambda: len(self.lan.stations()) == count, f"{count} stations")
        stop = threading.Event()
        replies = {"/fdb": 0, "/metrics": 0}
        counting = threading.Lock()

        def hammer(path):
            while not stop.is_set():
                self.lan.request("GET", path)
                with counting:
                    replies[path] += 1
        clients = [threading.Thread(target=hammer, args=(path,)) for path in tuple(replies) * 4]
        for client in clients:
            client.start()
        two.receive_all()
        for number in range(200):
            one.send(FRAME)
            self.assertEqual(two.receive(), FRAME)
        lan_harness.wait_for(lambda: replies["/fdb"] > 16, "replies", 60)
        stop.set()
        for client in clients:
            client.join(60)
        figures = dict(line.rsplit(" ", 1) for line in self.lan.metrics().splitlines() if line[0] != "#")
        print(f"control: {figures['lanyard_control_turns_total']} turns, the longest "
              f"{float(figures['lanyard_control_busy_seconds_max']) * 1e3:.2f} ms, for {replies} replies "
              f"in {float(figures['lanyard_control_busy_seconds_total']):.2f} s of work", file=sys.stderr)
        # A reply of 6000 stations is some 450 KB and takes more than 200 turns; four go on at a time.
        self.assertGreater(int(figures["lanyard_control_turns_total"]), 150 * replies["/fdb"] // 4)

    def test_readers_of_events_have_a_limit_and_leave_room_when_they_go(self):
        for _ in range(100):
            with self.assertRaisesRegex(lanyard.Error, "none came in 0.001 s"):
                next(self.lan.events(timeout=0.001))
        readers = [self.raw() for _ in range(64)]
        for reader in readers:
            reader.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertIn(b"200 OK", reader.recv(1000))
        with self.assertRaisesRegex(lanyard.Error, "64 clients read events already; end one"):
            next(self.lan.events(timeout=5))
        readers[0].close()
        with self.assertRaisesRegex(lanyard.Error, "none came in 0.1 s"):
            next(self.lan.events(timeout=0.1))

    def test_a_thousand_clients_lock_nobody_out(self):
        crowd = []
        for _ in range(1000):
            client = socket.socket(socket.AF_UNIX)
            self.addCleanup(client.close)
            client.connect(self.lan.directory + "/control")  # waits while many others do
            client.send(b"GET /po")
            crowd.append(client)
        self.assertIn("operations", json.loads(curl(self.lan, "http://lan/")))
        gave_way = next(line for line in self.lan.metrics().splitlines()
                        if line.startswith("lanyard_control_gave_way_total "))
        self.assertGreater(int(gave_way.split()[1]), 700)

    def test_events_stream_to_many_and_end_with_the_lan(self):
        seen = [[] for _ in range(5)]
        readers = [threading.Thread(target=lambda into=into: into.extend(self.lan.events(from_oldest=True)))
                   for into in seen]
        for reader in readers:
            reader.start()
        plug = self.plug()
        self.lan.wait_for_event("plug-came", port=1)
        plug.close()
        self.lan.wait_for_event("plug-left", port=1)
        lan_harness.wait_for(lambda: all(seen), "an event at every reader")
        self.lan.stop()
        for reader in readers:
            reader.join(20)
            self.assertFalse(reader.is_alive())
        for events in seen:
            self.assertEqual([event["number"] for event in events], list(range(1, len(events) + 1)))
            self.assertEqual(events[0]["event"], "port-used")
            self.assertIn("plug-left", [event["event"] for event in events])

    def test_who_does_not_read_or_speaks_nonsense_stops_nobody(self):
        silent = [self.raw() for _ in range(30)]                   # send nothing
        deaf = [self.raw() for _ in range(20)]                     # ask for events and never read
        for client in deaf:
            client.sendall(b"GET /events?from=oldest HTTP/1.1\r\nHost: x\r\n\r\n")
        for garbage in (b"\0" * 5000, b"GET\r\n\r\n", b"PUT /ports/1/link HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
                        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20000, os.urandom(4096)):
            client = self.raw()
            client.settimeout(0.5)
            try:
                client.sendall(garbage)
                client.shutdown(socket.SHUT_WR)
                while client.recv(65536):
                    pass
            except (ConnectionError, TimeoutError):  # some garbage is waited on, until the idle limit
                pass
        for _ in range(300):  # more events than a socket's buffer holds
            plug = vde_harness.Plug(self.lan.directory)
            plug.close()
        one, two = self.plug(), self.plug()
        one.send(FRAME)
        self.assertEqual(two.receive(), FRAME)
        self.assertIn("operations", json.loads(curl(self.lan, "http://lan/")))
        self.assertEqual(self.lan.process.poll(), None)
        self.assertEqual(len(silent), 30)

    def test_bodies_that_are_too_long_or_no_json(self):
        answer = curl(self.lan, "-X", "POST", "-d", "x" * 70000, "http://lan/captures")
        self.assertIn("longer than 65536 bytes", json.loads(answer)["error"])
        answer = curl(self.lan, "-X", "POST", "-d", "[1]", "http://lan/captures")
        self.assertIn("no JSON object", json.loads(answer)["error"])

    def test_the_socket_is_the_owners_and_goes_with_the_lan(self):
        path = self.lan.directory + "/control"
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        self.assertEqual(self.lan.stop(), 0)
        self.assertFalse(os.path.exists(self.lan.directory))
        with self.assertRaisesRegex(lanyard.Error, "is the LAN running"):
            self.lan.ports()
        self.assertIn("cannot connect", self.ctl("ports", status=69))

    def test_a_killed_switch_leaves_nothing_that_is_in_the_way(self):
        self.lan.process.kill()
        self.lan.process.wait()
        again = lanyard.Lan(self.lan.directory, program=lan_harness.LANYARD)
        self.assertEqual(again.ports(), [])
        self.assertEqual(again.stop(), 0)


class PrivateTest(lan_harness.LanTest):
    """The LAN of one `lanyard run`, steered by --control."""

    def run_guest(self, name, *options):
        """Something that runs until it is ended, where a QEMU would."""
        guest = self.folder / "guest"
        guest.write_text("#!/bin/sh\nwhile :; do sleep 0.05; done\n")
        guest.chmod(0o755)
        return self.start(name, [lan_harness.LANYARD, "run", *options, "--", guest])

    def test_it_can_be_steered_and_leaves_nothing(self):
        directory = self.folder / "steer"
        run = self.run_guest("run", "--control", directory, "--capture", self.folder / "x.pcap")
        lan = lanyard.Control(directory).wait_until_there(20)
        self.assertEqual(lan.about()["sandbox"]["locked"], "LANYARD_SANDBOX" not in os.environ)
        self.assertEqual([port["plugs"][0]["name"] for port in lan.ports()][0], "gateway")
        self.assertEqual([capture["file"] for capture in lan.captures()], [str(self.folder / "x.pcap")])
        forward, = lan.add_forward("tcp::0-:22")
        self.assertEqual(lan.forwards()[0]["port"], forward["port"])
        with lan.captured(directory / "y.pcapng"):
            self.assertEqual(len(lan.captures()), 2)
        if lan.about()["sandbox"]["landlock_abi"]:
            with self.assertRaisesRegex(lanyard.Error, f"locked itself out .* capture to a file in {directory}"):
                lan.start_capture(self.folder / "z.pcapng")
        os.unlink(directory / "y.pcapng")
        text = subprocess.run([lan_harness.LANYARD, "ctl", directory], check=True, text=True, capture_output=True,
                              timeout=20).stdout
        self.assertIn("gateway", text)
        self.assertIn("gateway 10.0.2.2 of 10.0.2.0/24", lan.doctor(lan_harness.LANYARD))
        self.assertEqual(run.stop(), 128 + 15)
        self.assertFalse(directory.exists())
        with self.assertRaisesRegex(lanyard.Error, "is the LAN running"):
            lan.wait_until_there(0.2)

    def test_a_forward_leads_to_the_guest_and_not_to_the_first_lease(self):
        directory = self.folder / "steer"
        for words in (["--mac", "52:54:00:AB:00:01"], []):
            run = self.run_guest("run", "--control", directory, "--lease", "52:54:00:ab:00:01=10.0.2.40",
                                 "--hostfwd", "tcp::0-:22", "--hostfwd", "tcp::0-10.0.2.50:22", *words)
            lan = lanyard.Control(directory).wait_until_there(20)
            leads = [forward["forward"].partition("-")[2] for forward in lan.forwards()]
            self.assertEqual(leads, ["10.0.2.40:22" if words else ":22", "10.0.2.50:22"])
            self.assertEqual(run.stop(), 128 + 15)

    def test_a_directory_in_use_and_a_lan_that_is_joined_are_refused(self):
        directory, _ = self.start_lan()
        for options, status, part in ((["--control", directory], 69, "in use"),
                                      (["--control", self.folder / "c", "--lan", directory], 64,
                                       f"by `lanyard ctl {directory}`")):
            run = self.run_guest("refused", *options)
            self.assertEqual(run.wait(20), status, run.stderr())
            self.assertIn(part, run.stderr())
            self.assertEqual(run.stderr().count("\n"), 1)
        forward = self.folder / "ssh"
        killed = self.run_guest("killed", "--control", self.folder / "c", "--hostfwd", f"unix:{forward}-:22")
        lanyard.Control(self.folder / "c").wait_until_there(20)
        self.assertTrue(forward.exists())
        killed.child.kill()
        killed.wait(20)
        lan_harness.wait_for(lambda: not (self.folder / "c").exists() and not forward.exists(),
                             "what the watchman removes")
        there = self.folder / "there"
        there.mkdir()
        for directory, name in ((self.folder / "c", "taken over"), (there, "was there")):
            killed = self.run_guest(name, "--control", directory)
            lanyard.Control(directory).wait_until_there(20)
            killed.child.kill()
            killed.wait(20)
        lan_harness.wait_for(lambda: not (there / "control").exists(), "what the watchman removes")
        self.assertTrue(there.exists())
        again = self.run_guest("again", "--control", self.folder / "c")
        lan_harness.wait_for(lambda: "ports" in str(lanyard.Control(self.folder / "c").wait_until_there(20).about()),
                             "the next one in the same place")
        self.assertEqual(again.stop(), 128 + 15)


class GatewayTest(lan_harness.LanTest):
    """What only a LAN with a gateway has."""

    def test_a_lease_says_where_its_guest_is(self):
        lan = lanyard.Lan(self.folder / "lan", nat=True, program=lan_harness.LANYARD)
        self.addCleanup(lan.stop)
        with self.assertRaisesRegex(lanyard.Error, "none came in 0.1 s"):
            lan.wait_for_lease(timeout=0.1)
        guest = self.start_guest("guest", ["ping -c1 -W1 192.0.2.1; true", "sleep 60"],
                                 run_options=["--lan", lan.directory, "--mac", "52:54:00:00:00:77"])
        lease = lan.wait_for_lease(mac="52:54:00:00:00:77")
        self.assertEqual((lease["address"], lease["vid"]), ("10.0.2.15", 0))
        plugs = lan.port(lease["port"])["plugs"]
        self.assertEqual(len(plugs), 1)
        event = lan.wait_for_event("lease-given", mac="52:54:00:00:00:77")
        self.assertEqual(event["address"], "10.0.2.15")
        lan.wait_for_event("unreachable")
        self.assertEqual(lan.reasons()[0]["cause"], "only-loopback")
        text = subprocess.run([lan_harness.LANYARD, "ctl", lan.directory], capture_output=True, text=True,
                              check=True).stdout
        self.assertRegex(text, rf"(?m)^{lease['port']} +up .* 10\.0\.2\.15 +52:54:00:00:00:77 ")
        self.assertIn("OUT OF REACH", text)
        self.assertIn('lanyard_dhcp_messages_total{kind="ack"} 1', lan.metrics())
        self.assertRegex(subprocess.run([lan_harness.LANYARD, "ctl", lan.directory, "flows"], check=True, text=True,
                                        capture_output=True).stdout, r"10\.0\.2\.15 +192\.0\.2\.1 ")
        for words in (["allow", "tcp:192.0.2.0/24:443"], ["deny", "192.0.2.7"]):
            subprocess.run([lan_harness.LANYARD, "ctl", lan.directory, "policy", *words], check=True)
        self.assertEqual([rule["action"] for rule in lan.policy()["rules"]], ["deny", "allow"])
        rule = lan.add_rule("deny", "any")
        lan.remove_rule(rule["id"])
        text = subprocess.run([lan_harness.LANYARD, "ctl", lan.directory, "policy"], check=True, text=True,
                              capture_output=True).stdout
        self.assertRegex(text, r"(?m)^\d+ +allow +\d+ +tcp:192\.0\.2\.0/24:443")
        self.assertIsNotNone(lan.egress())
        # Its LAN dies, and who runs the guest says so in one line.
        lan.process.kill()
        lan_harness.wait_for(lambda: f"the LAN {lan.directory} has ended" in guest.stderr(), "the line of `run`")
        # The guest's card is a vhost-user one, which calls its LAN until it is there again.
        self.assertIn(f"start `lanyard switch {lan.directory}` again, the guest plugs itself in there", guest.stderr())
        again = lanyard.Lan(lan.directory, nat=True, program=lan_harness.LANYARD)
        self.addCleanup(again.stop)
        lan_harness.wait_for(lambda: len(again.ports()) == 2, "the guest in the LAN that was started again")
        guest.stop()


if __name__ == "__main__":
    lan_harness.main()
