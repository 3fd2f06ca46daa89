"""A running LAN through its control socket: curl, the python module, `lanyard ctl`, Prometheus's own
parser, and clients that behave badly."""

import json
import os
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
        self.assertRegex(self.ctl("ports"), r"(?m)^1 +up +1 +0 +0 +vde 1")

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
        self.assertIn("there is no port 9", self.ctl("link", "9", "up", status=65))

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
        self.assertIn("text/plain", curl(self.lan, "-i", "http://lan/metrics"))

    def test_captures_begin_and_end(self):
        self.ctl("capture", "start", "some.pcap")
        self.assertIn("runs; stop it first", self.ctl("capture", "start", "other.pcap", status=65))
        plug = self.plug()
        plug.send(FRAME)
        while not self.lan.stations():
            time.sleep(0.02)
        self.ctl("capture", "stop")
        out = subprocess.run(["tcpdump", "-nr", self.folder.name + "/some.pcap"], capture_output=True, text=True,
                             check=True).stdout
        self.assertEqual(len(out.splitlines()), 1, out)

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


if __name__ == "__main__":
    lan_harness.main()
