"""Ten thousand connections of one guest at once, and what becomes of them, of the guest and of all
others where there are not descriptors for so many. The guest is this program, and so is the server."""

import os
import resource
import select
import shutil
import socket
import subprocess
import sys
import time

import lan_harness
from guest_frames import checksum_ok
from hand_guest import ACK, PSH, RST, SYN, HandGuest, tcp_of
from lan_harness import LANYARD, wait_for
from name_server import NameServer

sys.path.insert(0, str(lan_harness.SOURCE_DIR / "tools" / "python"))
import lanyard  # noqa: E402

SERVED = "192.0.2.1"         # on lo
NAMES = {"files.example": [SERVED]}
CONNECTIONS_COUNT = 10_000
SOURCE_PORT = 2000           # of the first
BACKLOG = 16_384             # what nobody accepts costs the server no descriptor
SAMPLE_COUNT = 20
PATIENCE_S = 1               # without a frame, until a SYN is sent again
LIMIT_S = 120
PROHIBITED, HOST_UNREACHABLE = (3, 13), (3, 1)  # ICMP type and code


class Crowd:
    """Connections of a guest: source port to (next sequence number of ours, of theirs), and the
    ICMP error that refused one."""

    def __init__(self, guest, server_port):
        self.guest, self.port = guest, server_port
        self.open, self.refused, self.received = {}, {}, {}

    def connect(self, count, forge=False):
        """All at once: until each is open or refused. `forge`: each SYN from a MAC of its own."""
        wanted = range(SOURCE_PORT, SOURCE_PORT + count)
        own = self.guest.mac

        def syn(source):
            if forge:
                self.guest.mac = bytes.fromhex("5266") + source.to_bytes(4, "big")
            self.send(source, SYN, 100)
            self.guest.mac = own
        self._exchange(list(wanted), syn,
                       lambda: [source for source in wanted if source not in self.open and source not in self.refused])

    def say(self):
        """Each open one says its number, once."""
        def speak(source):
            self.send(source, PSH | ACK, *self.open[source], data=b"%05d" % source)
            self.open[source] = (106, self.open[source][1])
        self._exchange(list(self.open), speak, lambda: [])

    def reset(self):
        for source, (seq, ack) in self.open.items():
            self.send(source, RST | ACK, seq, ack)
        self.open.clear()

    def send(self, source, flags, seq, ack=0, data=b""):
        self.guest.send_tcp(SERVED, self.port, flags, seq, ack, data, source)

    def _exchange(self, todo, act, missing):
        data = self.guest.plug.data
        deadline = time.monotonic() + LIMIT_S
        while todo or missing():
            if time.monotonic() > deadline:
                raise AssertionError(f"{len(missing())} connections are neither open nor refused after {LIMIT_S} s")
            if not todo:
                todo = missing()
            while todo:
                readable, writable, _ = select.select([data], [data], [], LIMIT_S)
                if writable:
                    act(todo.pop())
                if readable:
                    self._take(self.guest.plug.receive_all())
            while select.select([data], [], [], PATIENCE_S if missing() else 0)[0]:
                self._take(self.guest.plug.receive_all())

    def _take(self, frames):
        for frame in frames:
            if frame[12:14] == b"\x08\x00" and frame[23] == 1:
                if not checksum_ok(frame):
                    raise AssertionError("an ICMP error with a wrong checksum")
                self.refused[int.from_bytes(frame[62:64], "big")] = (frame[34], frame[35])
                continue
            segment = tcp_of(frame)
            if segment is None:
                continue
            source, flags, seq, ack, text = segment
            if flags == SYN | ACK and source not in self.open:
                self.open[source] = (101, seq + 1)
                self.send(source, ACK, 101, seq + 1)
            if text:
                self.received[source] = text


class ManyFlows(lan_harness.LanTest):
    @classmethod
    def setUpClass(cls):
        if shutil.which(LANYARD) is None:
            raise AssertionError(f"{LANYARD} is missing: tools/check builds it")
        lan_harness.use_resolv_conf("nameserver 127.0.0.1\n")
        subprocess.run(["ip", "addr", "add", f"{SERVED}/32", "dev", "lo"], check=True)
        with open("/proc/sys/net/core/somaxconn", "w", encoding="ascii") as file:
            file.write(str(BACKLOG))

    def setUp(self):
        super().setUp()
        names = NameServer(NAMES)
        self.addCleanup(names.close)
        self.server = self.listen()
        self.second_server = self.listen()

    def listen(self):
        server = socket.create_server((SERVED, 0), backlog=BACKLOG)
        server.settimeout(lan_harness.READY_LIMIT_S)
        self.addCleanup(server.close)
        return server

    def start_gateway(self, descriptors=None):
        """A LAN whose gateway has so many descriptors, two guests, and a connection of the second."""
        limit = [] if descriptors is None else ["prlimit", f"--nofile={descriptors}"]
        directory, self.switch = self.start_lan("--nat", "--host", "known.lan=10.0.2.99", prefix=limit)
        self.control = lanyard.Control(directory, timeout=20)
        self.crowd = Crowd(HandGuest(self, directory), self.server.getsockname()[1])
        self.other = HandGuest(self, directory, 2)
        self.kept = self.other.open_tcp(SERVED, self.second_server.getsockname()[1], 1000)
        client, _ = self.second_server.accept()
        client.settimeout(20)
        self.addCleanup(client.close)
        self.kept_client = client
        self.flows_before = self.control.request("GET", "/flows")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.switch.pid}/fd"))

    def assert_others_go_on(self, source):
        """A connection that was there, a new one, ping and names; `source`: ports not used yet."""
        port = self.second_server.getsockname()[1]
        seq, ack = self.kept
        text = b"kept %d" % source
        self.other.send_tcp(SERVED, port, PSH | ACK, seq, ack, text, 1000)
        self.assertEqual(self.kept_client.recv(100), text)
        self.kept = (seq + len(text), ack)
        seq, ack = self.other.open_tcp(SERVED, port, source)
        self.other.send_tcp(SERVED, port, PSH | ACK, seq, ack, b"new", source)
        with self.second_server.accept()[0] as fresh:
            fresh.settimeout(20)
            self.assertEqual(fresh.recv(100), b"new")
        self.other.send_tcp(SERVED, port, RST | ACK, seq + 3, ack, source_port=source)
        self.assertEqual(self.other.resolve("files.example", source), [SERVED])
        self.other.ping("10.0.2.2", source)

    def check_ten_thousand(self, descriptors=None):
        self.start_gateway(descriptors)
        crowd, limit, others = self.crowd, self.flows_before["limit"], self.flows_before["live"]
        held_before = self.descriptors()
        crowd.connect(CONNECTIONS_COUNT)
        share = -(-9 * (limit - others) // 13)
        self.assertEqual(len(crowd.open), min(CONNECTIONS_COUNT, share))
        self.assertEqual(len(crowd.open) + len(crowd.refused), CONNECTIONS_COUNT)
        self.assertLessEqual(set(crowd.refused.values()), {PROHIBITED})
        self.assertEqual(self.control.request("GET", "/flows?limit=0")["live"], len(crowd.open) + others)
        self.assertGreaterEqual(self.descriptors(), len(crowd.open))
        self.assert_others_go_on(3000)
        self.check_bytes()
        if crowd.refused:
            self.check_refusals(limit)
        crowd.reset()
        echo_and_names = 2  # flows of the other guest, by now
        wait_for(lambda: self.control.request("GET", "/flows?limit=0")["live"] <= others + echo_and_names,
                 "the flows' end")
        wait_for(lambda: self.descriptors() <= held_before + 2, "the descriptors' return")
        self.assert_others_go_on(3001)
        self.assertTrue(self.switch.running())
        return len(crowd.open)

    def check_bytes(self):
        """Both ways, through a sample of the connections."""
        self.crowd.say()
        for _ in range(SAMPLE_COUNT):
            client, _ = self.server.accept()
            client.settimeout(20)
            self.addCleanup(client.close)
            text = client.recv(100)
            source = int(text)
            self.assertEqual(text, b"%05d" % source)
            self.assertIn(source, self.crowd.open)
            client.sendall(b"heard " + text)
            segment = self.crowd.guest.receive(lambda frame, source=source: (tcp_of(frame) or [0])[0] == source
                                               and tcp_of(frame)[4])
            self.assertEqual(tcp_of(segment)[4], b"heard " + text)

    def check_refusals(self, limit):
        event = self.control.wait_for_event("unreachable", cause="flow-limit")
        self.assertIn(f"its share of the {limit} flows", event["fact"])
        self.assertIn(f"its share of the {limit} flows", self.switch.stderr())
        self.assertIn("ulimit -n", event["cure"])
        refused = len(self.crowd.refused)
        counts = dict(line.rsplit(" ", 1) for line in self.control.metrics().splitlines() if line[0] != "#")
        self.assertGreaterEqual(int(counts["lanyard_flows_over_limit_total"]), refused)
        self.assertGreaterEqual(int(counts['lanyard_unreachable_total{cause="flow-limit"}']), refused)

    def test_ten_thousand_connections_at_once(self):
        """All of them where `ulimit -Hn` is 20000, else the guest's share."""
        self.check_ten_thousand()

    def test_the_same_with_a_shells_1024_descriptors(self):
        self.check_ten_thousand(1024)
        self.assertEqual(self.flows_before["limit"], 768)

    def test_a_new_mac_for_each_flow_brings_no_more(self):
        self.start_gateway(400)
        limit, others = self.flows_before["limit"], self.flows_before["live"]
        self.crowd.connect(400, forge=True)
        self.assertEqual(len(self.crowd.open), -(-3 * (limit - others) // 4))
        self.assertEqual(set(self.crowd.refused.values()), {PROHIBITED})
        self.check_refusals(limit)
        self.assert_others_go_on(3000)

    def test_fewer_descriptors_than_flows(self):
        """The kernel ends it before the account would."""
        self.start_gateway()
        limit = self.descriptors() + 20
        resource.prlimit(self.switch.pid, resource.RLIMIT_NOFILE, (limit, limit))
        self.crowd.connect(60)
        self.assertGreater(len(self.crowd.open), 5)
        self.assertGreater(len(self.crowd.refused), 5)
        self.assertLessEqual(set(self.crowd.refused.values()), {HOST_UNREACHABLE})
        self.assertIn(f"no file descriptor left: all {limit} file descriptors", self.switch.stderr())
        seq, ack = self.kept
        self.other.send_tcp(SERVED, self.second_server.getsockname()[1], PSH | ACK, seq, ack, b"on", 1000)
        self.assertEqual(self.kept_client.recv(100), b"on")
        self.kept = (seq + 2, ack)
        self.assertEqual(self.other.resolve("known.lan", 900), ["10.0.2.99"])
        self.other.ping("10.0.2.2", 900)
        self.crowd.reset()
        wait_for(lambda: self.descriptors() < limit - 15, "the descriptors' return")
        self.control.wait_for_event("unreachable", cause="descriptors-exhausted")
        self.assert_others_go_on(3000)


if __name__ == "__main__":
    lan_harness.main()
