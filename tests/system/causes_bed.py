"""What the tests of causes stand on: a host and a router in namespaces, a LAN whose gateway is there, a
guest of crafted frames, and one comparison of the verdict in all five places.

The host that the gateway runs on is a namespace of its own ("host": eth0 10.1.0.2, fd00::2), with a
router behind it ("far": 10.1.0.1, fd00::1) that is 8.8.8.8 and 2001:db8::1 as well, and has a narrow
link to 9.9.9.0/24 and 2001:db8:9::/64.
"""

import json
import platform
import shutil
import subprocess
import struct
import sys
import threading

import lan_harness
from guest_frames import ICMP, address, arp_request, checksum_ok
from lan_harness import LANYARD, NetNamespace, read_lines, wait_for
from vde_harness import Plug

sys.path.insert(0, str(lan_harness.SOURCE_DIR / "tools" / "python"))
import lanyard  # noqa: E402

ROUTER, ROUTER6, GATEWAY, GATEWAY6 = "10.1.0.1", "fd00::1", "10.0.2.2", "fec0::2"
OUTSIDE, OUTSIDE6, BEYOND, BEYOND6 = "8.8.8.8", "2001:db8::1", "9.9.9.9", "2001:db8:9::9"
NARROW = 1280  # bytes: the MTU of far's other link
UNREACHABLE, TIME_EXCEEDED = 3, 11
UNREACHABLE6, TOO_BIG6, TIME_EXCEEDED6, PARAMETER6 = 1, 2, 3, 4
PING_OPEN = "echo '0 0' >/proc/sys/net/ipv4/ping_group_range"

FAR = f"""
ip addr add {ROUTER}/24 dev eth0
ip -6 addr add {ROUTER6}/64 dev eth0 nodad
ip addr add {OUTSIDE}/32 dev lo
ip -6 addr add {OUTSIDE6}/128 dev lo
ip link set eth0 up
ip link add x0 type veth peer name x1
ip link set x0 mtu {NARROW}
ip link set x0 up
ip link set x1 up
ip addr add 9.9.9.1/24 dev x0
ip -6 addr add 2001:db8:9::1/64 dev x0 nodad
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
echo 0 >/proc/sys/net/ipv4/icmp_ratelimit
echo 0 >/proc/sys/net/ipv6/icmp/ratelimit
"""
HOST = """
ip addr add 10.1.0.2/24 dev eth0
ip -6 addr add fd00::2/64 dev eth0 nodad
ip link set eth0 up
"""
ROUTES = f"ip route add default via {ROUTER}; ip -6 route add default via {ROUTER6}"

# A filter that refuses socket(AF_INET, SOCK_DGRAM, …) with an errno, then runs the rest of its words.
FORBID = """
import ctypes, os, struct, sys
refused = int(sys.argv[1])
SOCKET, AF_INET, SOCK_DGRAM = 41, 2, 2
rows = [(0x20, 0, 0, 0), (0x15, 0, 6, SOCKET),           # the call's number
        (0x20, 0, 0, 16), (0x15, 0, 4, AF_INET),         # its first argument
        (0x20, 0, 0, 24), (0x54, 0, 0, 15),              # its second, without flags
        (0x15, 0, 1, SOCK_DGRAM), (0x06, 0, 0, 0x00050000 | refused), (0x06, 0, 0, 0x7fff0000)]
program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *row) for row in rows))
prog = struct.pack("@HxxxxxxP", len(rows), ctypes.addressof(program))
libc = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(prog)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, buffer) == 0, ctypes.get_errno()
os.execvp(sys.argv[2], sys.argv[2:])
"""


def forbid(errno_value):
    if platform.machine() != "x86_64":
        raise AssertionError("the seccomp filter of this test is written for x86_64")
    return [sys.executable, "-c", FORBID, str(errno_value)]


class CauseTest(lan_harness.LanTest):
    @classmethod
    def setUpClass(cls):
        for program in ("tshark", "ip", LANYARD):
            if shutil.which(program) is None:
                raise AssertionError(f"{program} is missing: tools/check installs and builds it")

    def setUp(self):
        super().setUp()
        self.host, self.far = NetNamespace(), None
        self.addCleanup(self.host.close)
        self.capture = self.folder / "x.pcapng"
        self.environment = {}
        self.events = []

    def connect_far(self, routes=ROUTES, ping_open=True):
        self.far = NetNamespace()
        self.addCleanup(self.far.close)
        self.host.run(f"ip link add eth0 type veth peer name eth0 netns {self.far.pid}")
        self.far.run(FAR)
        self.host.run(HOST)
        if ping_open:
            self.host.run(PING_OPEN)
        if routes:
            self.host.run(routes)

    def words(self, before=()):
        kept = [f"{name}={value}" for name, value in self.environment.items()]
        return [*self.host.prefix(), "env", "-u", "NIX_BUILD_TOP", "-u", "NIX_STORE", "-u", "https_proxy", "-u",
                "http_proxy", *kept, *before]

    def start_gateway(self, *options, before=()):
        """A LAN whose gateway stands in "host", a plug in it, and a reader of its events."""
        self.directory, self.switch = self.start_lan("--nat", "--capture", self.capture, *options,
                                                     prefix=self.words(before))
        control = lanyard.Control(self.directory, timeout=20)
        self.reader = threading.Thread(target=self.read_events, args=(control,), daemon=True)
        self.reader.start()
        self.plug = Plug(self.directory)
        self.addCleanup(self.plug.close)
        self.plug.send(arp_request())
        self.plug.receive()

    def read_events(self, control):
        try:
            for event in control.events(from_oldest=True):
                self.events.append(event)
        except lanyard.Error:
            pass

    def answer(self):
        """The next ICMP error: (type, code, second word, sender)."""
        while True:
            reply = self.plug.receive()
            ethertype, = struct.unpack_from("!H", reply, 12)
            if ethertype == 0x0800 and reply[23] == ICMP and reply[34] not in (0, 8):
                self.assertTrue(checksum_ok(reply))
                return reply[34], reply[35], struct.unpack_from("!I", reply, 38)[0], \
                    ".".join(str(part) for part in reply[26:30])
            if ethertype == 0x86dd and reply[20] == 58 and reply[54] < 128:
                self.assertTrue(checksum_ok(reply))
                return reply[54], reply[55], struct.unpack_from("!I", reply, 58)[0], reply[22:38]

    def told(self, frame, icmp, sender=None):
        """The guest sends, and is told this; returns the answer's second word."""
        self.plug.send(frame)
        kind, code, rest, source = self.answer()
        self.assertEqual((kind, code), icmp, self.switch.stderr())
        six = frame[12:14] == b"\x86\xdd"
        expected = sender or (GATEWAY6 if six else GATEWAY)
        self.assertEqual(source, address(expected) if six else expected)
        return rest

    def event(self, cause, frame=None):
        """The latest of that cause, about that frame."""
        def found():
            return [event for event in self.events if event["event"] == "unreachable" and event["cause"] == cause and
                    (frame is None or is_about(event))]

        def is_about(event):
            six = frame[12:14] == b"\x86\xdd"
            protocol = {1: "icmp echo", 58: "icmp echo", 6: "tcp", 17: "udp"}.get(frame[20 if six else 23], "protocol")
            return event["target"]["protocol"] == protocol and \
                address(event["target"]["address"]) == (frame[38:54] if six else frame[30:34])
        wait_for(found, f"an event {cause} among {self.events}; the log: {self.switch.stderr()}")
        return found()[-1]

    def doctor(self, *words, before=()):
        done = subprocess.run([*self.words(before), LANYARD, "doctor", "--json", *words], text=True, timeout=60,
                              stdout=subprocess.PIPE)
        return json.loads(done.stdout)

    def five(self, cause, icmp, frame, to=OUTSIDE, sender=None, doctor=None, before=(), **facts):
        """One packet, and the same cause in five places. `facts`: members of the event. `doctor`: what it says
        where its own view is another, "" where it looks at something else."""
        rest = self.told(frame, icmp, sender)                                # 1. the guest
        event = self.event(cause, frame)                                     # 2. the events, and what is kept
        self.assertEqual((event["icmp"]["type"], event["icmp"]["code"]), icmp)
        for name, value in facts.items():
            self.assertEqual(event[name], value, event)
        kept = [entry for entry in lanyard.Control(self.directory).request("GET", "/reasons")
                if entry["cause"] == cause]
        self.assertEqual(kept[-1]["fact"], event["fact"])
        lines = [line.removeprefix("lanyard: ") for line in self.switch.stderr().splitlines()  # 3. the log
                 if event["fact"] in line]
        self.assertGreaterEqual(len(lines), 1, self.switch.stderr())
        self.assertIn(event["told"], lines[-1])
        if doctor != "":                                                     # 4. the doctor
            verdict = self.doctor("--to", to, before=before)
            self.assertEqual(verdict["cause"], doctor or cause, verdict)
            if doctor is None:
                self.assertEqual(verdict["cure"] or "", event["cure"], verdict)
        metrics = lanyard.Control(self.directory).metrics()
        self.assertIn(f'lanyard_unreachable_total{{cause="{cause}"}}', metrics)
        self.seen = getattr(self, "seen", []) + [(lines[-1], icmp)]
        return event, rest

    def check_capture(self):
        """5. the capture: the log's line stands at the packet that told the guest."""
        self.assertEqual(self.switch.stop(), 0, self.switch.stderr())
        rows = [tuple(line.split("\t")) for line in read_lines(
            "tshark", "-n", "-r", self.capture, "-T", "fields", "-E", "separator=\t", "-E", "occurrence=f",
            "-e", "frame.comment", "-e", "icmp.type", "-e", "icmp.code", "-e", "icmpv6.type", "-e", "icmpv6.code",
            "-Y", "frame.comment")]
        comments = {(row[0], int(row[1] or row[3]), int(row[2] or row[4])) for row in rows}
        for line, icmp in self.seen:
            self.assertIn((line, *icmp), comments)
