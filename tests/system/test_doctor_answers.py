"""`lanyard doctor --lan`: a LAN in order and its picture, what concerns the switch itself, and whatever
answers in its place."""

import json
import os
import pty
import resource
import signal
import socket
import subprocess
import tempfile
import threading
import unittest

import lan_harness
from doctor_lan_bed import CHECKS, GATEWAY, LanCase, dhcp, mac_text, run_doctor
from vde_harness import frame, mac


class HealthyTest(LanCase):
    def test_a_lan_in_order(self):
        one, two = self.guest(1), self.guest(2)
        addresses = {one.take_lease(), two.take_lease()}
        self.settle(2, 3)
        self.settle(3, 3)
        verdict = self.doctor(wait_s=0.2)
        self.assertEqual(verdict["verdict"], self.best_verdict(), verdict)
        self.assertEqual([check["id"] for check in verdict["checks"]], CHECKS)
        self.assertEqual(verdict["gateway"], {"port": 1, "address": GATEWAY, "mtu": 1500,
                                              "network": "10.0.2.0/24"})
        stations = [station for port in verdict["ports"] for station in port["stations"]]
        self.assertEqual({station["mac"] for station in stations}, {one.mac_text, two.mac_text})
        self.assertEqual({station["address"] for station in stations}, addresses)

    def test_the_picture(self):
        one = self.guest(1, description=b"evil \x1b[2J\xff name")
        one.take_lease()
        self.settle(2, 3)
        words = ("--lan", self.lan.directory, "--wait", "0")
        done = run_doctor(*words)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        lines = done.stdout.splitlines()
        self.assertIn("2 ports, 1 guest, gateway 10.0.2.2 of 10.0.2.0/24", lines[0])
        self.assertRegex(lines[1], r"^├─ ✓ port 1  gateway +10\.0\.2\.2$")
        self.assertRegex(lines[2], r"^└─ ✓ port 2  vde 1 .*" + one.mac_text + f"  {one.address}")
        if self.best_verdict() == "ok":
            self.assertEqual(lines[-1], "Nothing is wrong that can be seen.")
        self.assertNotIn("\x1b", done.stdout)
        plain = run_doctor(*words, env={"LC_ALL": "C"}).stdout
        self.assertTrue(plain.isascii(), plain)
        self.assertIn("|- + port 1", plain)
        ours, theirs = pty.openpty()
        environment = {"NO_COLOR": ""}
        run_doctor(*words, env=environment, stdout=theirs)
        os.close(theirs)
        coloured = os.read(ours, 8192).decode(errors="replace")
        os.close(ours)
        self.assertIn("\x1b[32m✓", coloured)
        self.assertNotIn("\x1b[2J", coloured)


class CaptureTest(LanCase):
    nat = False

    def test_a_capture_that_may_not_grow(self):
        file = f"{self.lan.directory}/one.pcap"
        self.lan.start_capture(file)
        self.assertIn("1 runs and misses nothing", self.checks("captures")[0]["fact"])
        resource.prlimit(self.lan.process.pid, resource.RLIMIT_FSIZE, (1000, 1000))
        one = self.guest(1)
        lan_harness.wait_for(lambda: one.send(frame(one.mac)) or self.lan.captures()[0]["trouble"],
                             "a capture that finds its file full")
        one.send(frame(one.mac))  # the loop hears of its writer's trouble at the next frame
        event = self.lan.wait_for_event("capture-incomplete")
        self.assertEqual((event["file"], event["why"]), (file, "File too large"))
        check, = self.checks("captures")
        self.assertEqual(check["mark"], "warning")
        self.assertRegex(check["fact"], rf"capture 1 to {file} misses (1 frame|\d+ frames): File too large")


class OpenTest(LanCase):
    options = ("--no-sandbox",)

    def test_a_switch_that_has_not_locked_itself_in(self):
        check, = self.checks("lock")
        self.assertEqual((check["mark"], check["fact"]),
                         ("warning", "the switch is not locked in: --no-sandbox was given"))


class BareTest(LanCase):
    """A LAN without a gateway, and what is none."""

    nat = False

    def test_what_only_a_gateway_sees_is_not_looked_for(self):
        one = self.guest(1)
        one.send(frame(one.mac))
        self.settle(1, 1)
        verdict = self.doctor()
        self.assertEqual((verdict["verdict"], verdict["gateway"]), (self.best_verdict(), None))
        for check in verdict["checks"]:
            self.assertEqual("not looked for" in check["fact"],
                             check["id"] in ("leases", "guest-routes", "vlans", "ips",
                                             "forwards", "flows", "reasons"), check)
        done = run_doctor("--lan", self.lan.directory, "--wait", "0")
        self.assertIn("1 port, 1 guest, no gateway", done.stdout)

    def test_a_switch_that_is_stopped(self):
        self.lan.process.send_signal(signal.SIGSTOP)
        try:
            done = run_doctor("--lan", self.lan.directory)
        finally:
            self.lan.process.send_signal(signal.SIGCONT)
        self.assertEqual((done.returncode, done.stdout), (75, ""))
        self.assertIn("no answer came in time", done.stderr)

    def test_no_lan(self):
        done = run_doctor("--lan", "/nowhere")
        self.assertEqual((done.returncode, done.stdout), (69, ""))
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)

    def test_a_vde_switch_has_no_control_socket(self):
        with tempfile.TemporaryDirectory(prefix="doctor.") as folder:
            with open(f"{folder}/ctl", "w", encoding="ascii"):
                pass
            done = run_doctor("--lan", folder)
        self.assertEqual((done.returncode, done.stdout), (69, ""))
        self.assertIn("make the LAN with `lanyard switch`", done.stderr)

    def test_a_test_that_fails_is_explained(self):
        said = []
        with self.lan.explained(said.append, program=lan_harness.LANYARD):
            pass
        self.assertEqual(said, [])
        with self.assertRaises(ZeroDivisionError):
            with self.lan.explained(said.append, program=lan_harness.LANYARD):
                raise ZeroDivisionError
        self.assertEqual(len(said), 1)
        self.assertIn(f"LAN {self.lan.directory}: 0 ports", said[0])

    def test_bad_usage(self):
        for words in (("--lan", "x", "--to", "8.8.8.8"), ("--lan", "x", "--probe"),
                      ("--wait", "1"), ("--lan", "x", "--wait", "-1"), ("--lan", "x", "--wait", "nan"),
                      ("--lan", "x", "--wait", "61"), ("--lan",)):
            with self.subTest(words):
                done = run_doctor(*words)
                self.assertEqual((done.returncode, done.stdout), (64, ""))
                self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)


class StrangerTest(unittest.TestCase):
    """What answers at DIR/control is not what it should be."""

    def serve(self, answer_of):
        folder = tempfile.TemporaryDirectory(prefix="doctor.")
        self.addCleanup(folder.cleanup)
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(f"{folder.name}/control")
        listener.listen()

        def run():
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client:
                    request = client.recv(4096).decode()
                    try:
                        client.sendall(answer_of(request.split(" ")[1]))
                    except OSError:
                        pass

        threading.Thread(target=run, daemon=True).start()
        self.addCleanup(listener.shutdown, socket.SHUT_RDWR)
        return folder.name

    @staticmethod
    def http(body):
        return b"HTTP/1.0 200 OK\r\n\r\n" + (body if isinstance(body, bytes)
                                               else json.dumps(body).encode())

    def test_what_is_no_lan(self):
        for answer, status in ((b"hello\r\n\r\n", 76), (b"hello", 76), (b"\0" * 200_000, 76),
                               (b"HTTP/2.0 200 OK\r\n\r\n", 76), (self.http(b"not json"), 76),
                               (self.http([1]), 76), (b"HTTP/1.0 404 x\r\n\r\n{}", 76),
                               (b"HTTP/1.0 200", 69), (b"", 69)):
            with self.subTest(answer):
                done = run_doctor("--lan", self.serve(lambda _: answer), "--wait", "0")
                self.assertEqual((done.returncode, done.stdout), (status, ""), done.stderr)
                self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)

    def test_members_of_any_type_are_borne(self):
        odd = [None, True, -1, 2**64 - 1, 1e308, "x\x1b[2J\x7f", [], {}, [[]], {"count": -5}]
        names = ("number", "link", "plugs", "counters", "mac", "vid", "port", "age_s", "moves",
                 "moved_from", "moved_s", "address", "state", "name", "gateway", "guests", "claims",
                 "dhcp", "off_subnet", "tagged", "tagged_for_gateway", "foreign", "oversized",
                 "changes", "changed_s", "rival", "within", "episodes", "ports", "engaged",
                 "network", "mtu", "drops", "ingress_frames", "egress_frames", "waiting_frames",
                 "ready", "description", "heard_s", "silent_s", "ago_s", "bytes")
        operations = [f"GET /{name}" for name in ("leases", "guests", "loops", "reasons",
                                                  "forwards", "flows", "captures")] + [7, None]
        for value in odd:
            item = {name: value for name in names}
            deep = {name: item for name in names}
            lists = {name: [item, value, deep] for name in names}
            for words, thing in (((), [item, value, deep, lists]), (("--json",), lists)):
                bodies = {"/": {"operations": operations, "program": value},
                          "/ports": [item, value, lists], "/fdb": [item, value, deep]}
                answers = {path: self.http(body) for path, body in bodies.items()}
                other = self.http(thing)  # more than a MB: made once, not for each question
                directory = self.serve(lambda path: answers.get(path, other))
                with self.subTest(value=value, words=words):
                    done = run_doctor("--lan", directory, "--wait", "0", *words)
                    self.assertIn(done.returncode, (0, 1), done.stderr)
                    self.assertNotIn("\x1b", done.stdout)


class UserTest(LanCase):
    def test_as_nobody(self):
        lan_harness.need_two_users(self)
        os.chmod(os.path.dirname(self.lan.directory), 0o711)
        mine = tempfile.TemporaryDirectory(prefix="nobody.")
        self.addCleanup(mine.cleanup)
        os.chown(mine.name, lan_harness.NOBODY_ID, lan_harness.NOBODY_ID)
        lan = subprocess.Popen([*lan_harness.NOBODY, lan_harness.LANYARD, "switch", f"{mine.name}/lan", "--nat"],
                               stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               preexec_fn=lan_harness.die_with_parent)
        self.addCleanup(lan.wait)
        self.addCleanup(lan.terminate)
        lan_harness.wait_for(lambda: os.path.exists(f"{mine.name}/lan/ctl"), "the LAN")
        done = run_doctor("--lan", f"{mine.name}/lan", "--wait", "0", prefix=lan_harness.NOBODY)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        closed = run_doctor("--lan", self.lan.directory, "--wait", "0", prefix=lan_harness.NOBODY)
        self.assertEqual((closed.returncode, closed.stdout), (69, ""))
        host = run_doctor("--json", prefix=lan_harness.NOBODY)
        self.assertIn(host.returncode, (0, 1))
        self.assertEqual(json.loads(host.stdout)["checks"][0]["id"], "ipv4-route")


if __name__ == "__main__":
    lan_harness.main()
