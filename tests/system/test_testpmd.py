"""DPDK's testpmd as a foreign front end: every kind of ring, and a soak with every payload checked.

    checker ──► stream ──► card 0 ══ testpmd ══ card 1 ──► card 2 ══ testpmd ══ card 3 ──► stream ──► checker

testpmd bounces frames from card to card with new MAC addresses and cannot check payloads; the
checker, a client of DIR/stream, can. So each frame crosses the switch three times: from a socket's
buffer into a guest's memory, from one guest's memory to another's, and out of a guest's memory to a
socket. Lengths are random, payloads are random bytes found again by the frame's number. No
more frames are on the road than a ring holds, so none may be lost; frames of one flow must stay in
order. With one queue pair testpmd's driver relies on buffers that come back in
order and uses chains of descriptors, with two it uses indirect tables.
"""

import contextlib
import itertools
import os
import random
import shutil
import socket
import struct
import subprocess
import sys

import lan_harness
from lan_harness import LANYARD, SOURCE_DIR, LanTest

sys.path.insert(0, str(SOURCE_DIR / "bench"))
from testpmd import Testpmd, check_installed, cpu_pair  # noqa: E402
sys.path.insert(0, str(SOURCE_DIR / "tools" / "python"))
import lanyard  # noqa: E402

CHECKER = bytes.fromhex("020000000c01")
CARDS = [bytes.fromhex(f"0200000010{at:02x}") for at in range(4)]
RING_COUNT = 1024           # slots
BUFFER_COUNT = 49_152       # testpmd's: in its receive rings, and in frames sent whose slots it has not reused
MEMORY_MB = 288             # which these take
PLAIN_MAX, JUMBO_MAX = 1514, 9018
# Frames on the road, by their greatest length: their descriptors fill three quarters of a ring.
WINDOWS = {PLAIN_MAX: RING_COUNT * 3 // 4 // 2, JUMBO_MAX: RING_COUNT * 3 // 4 // 6}
FLOW_COUNT = 16
HEAD_SIZE = 14 + 20 + 8     # Ethernet, IPv4, UDP
MARK = struct.Struct("!QI")  # the frame's number, and where its payload begins among the random bytes
FRAME_MIN = HEAD_SIZE + MARK.size
POOL_SIZE = 1 << 20
STARTING = bytes.fromhex("c6120001c6120002")  # between whom the frames go with which testpmd starts
SILENCE_S = 0.3             # after which hardly one of those is on the road
STUCK_S = 20

FRAMES_EACH = 10_000        # of each kind of ring
# Two hours of a guest that exchanges 40 frames a second; 16-bit ring indices wrap several times.
FRAMES_SOAK = {JUMBO_MAX: 50_000, PLAIN_MAX: 240_000}


def words(mac):
    return mac.hex(":")


def internet_checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xffff) + (total >> 16)
    return ~(total + (total >> 16)) & 0xffff


def ip_header(size, flow):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, size, 0, 0x4000, 64, 17, 0,
                       b"\xc6\x12\x00\x01", bytes([198, 18, 1, flow]))
    return head[:10] + struct.pack("!H", internet_checksum(head)) + head[12:]


class Checker:
    """Sends numbered frames with random lengths and payloads, and knows them when they come back."""

    def __init__(self, directory, size_max, seed):
        self.random = random.Random(seed)
        self.pool = self.random.randbytes(POOL_SIZE)
        self.size_max = size_max
        self.window = WINDOWS[size_max]
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(str(directory / "stream"))
        self.rest = b""
        self.sent = 0
        self.expected = list(range(FLOW_COUNT))  # the next number of each flow
        self.came_back = 0
        self.lengths = {}
        self.began = CARDS[0] + CHECKER
        self.ends = CHECKER + CARDS[3]
        # The switch must know us before testpmd bounces anything: what it floods comes back and back.
        hello = CARDS[0] + CHECKER + b"\x88\xb5" + bytes(46)
        self.socket.sendall(struct.pack("!I", len(hello)) + hello)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def make(self):
        number = self.sent
        self.sent += 1
        flow = number % FLOW_COUNT
        size = self.random.randint(FRAME_MIN, self.size_max)
        start = self.random.randrange(POOL_SIZE - size)
        self.lengths[number] = size
        udp_size = size - 34
        return b"".join((struct.pack("!I", size), self.began, b"\x08\x00", ip_header(size - 14, flow),
                         struct.pack("!HHHH", 1000 + flow, 2000, udp_size, 0), MARK.pack(number, start),
                         self.pool[start:start + size - FRAME_MIN]))

    def send(self, count):
        self.socket.sendall(b"".join(self.make() for _ in range(count)))

    def receive(self):
        """The frames that are there, after waiting for the first."""
        self.rest += self.socket.recv(1 << 20)
        frames = []
        at = 0
        while at + 4 <= len(self.rest):
            end = at + 4 + int.from_bytes(self.rest[at:at + 4], "big")
            if end > len(self.rest):
                break
            frames.append(self.rest[at + 4:end])
            at = end
        self.rest = self.rest[at:]
        return frames

    def check(self, frame):
        if frame[26:34] == STARTING:
            return
        number, start = MARK.unpack_from(frame, HEAD_SIZE)
        flow = number % FLOW_COUNT
        if number != self.expected[flow]:
            raise AssertionError(f"frame {number} came where {self.expected[flow]} was next in its flow")
        self.expected[flow] += FLOW_COUNT
        size = self.lengths.pop(number)
        if len(frame) != size or frame[:14] != self.ends + b"\x08\x00":
            raise AssertionError(f"frame {number} of {size} bytes came back as {len(frame)}: {frame[:34].hex()}")
        if frame[14:34] != ip_header(size - 14, flow) or \
                frame[FRAME_MIN:] != self.pool[start:start + size - FRAME_MIN]:
            raise AssertionError(f"frame {number} of {size} bytes came back with other bytes in it")
        self.came_back += 1

    def wait_for_silence(self):
        self.socket.settimeout(SILENCE_S)
        try:
            while True:
                self.receive()
        except TimeoutError:
            self.socket.settimeout(STUCK_S)

    def run(self, count):
        while self.came_back < count:
            on_the_road = self.sent - self.came_back
            room = min(self.window - on_the_road, count - self.sent)
            if room >= self.window // 4 or (room > 0 and room == count - self.sent):
                self.send(room)
            try:
                frames = self.receive()
            except TimeoutError:
                raise AssertionError(f"{self.sent - self.came_back} of {self.sent} frames did not come back "
                                     f"in {STUCK_S} s") from None
            for frame in frames:
                self.check(frame)


class TestpmdFrontEnd(LanTest):
    @classmethod
    def setUpClass(cls):
        check_installed()
        if shutil.which(LANYARD) is None:
            raise AssertionError(f"{LANYARD} is missing: tools/check builds it")

    def start_front_end(self, directory, mergeable, packed, queue_pairs, size_max):
        cards = [f"net_virtio_user{at},path={directory}/vhost-user,mac={words(mac)},queues={queue_pairs},"
                 f"mrg_rxbuf={int(mergeable)},packed_vq={int(packed)},queue_size={RING_COUNT},"
                 f"in_order={int(queue_pairs == 1)}" for at, mac in enumerate(CARDS)]
        # Whom each card addresses what it bounces: 0 and 3 the checker, 1 and 2 each other.
        peers = [CHECKER, CARDS[2], CARDS[1], CHECKER]
        options = [f"--eth-peer={at},{words(mac)}" for at, mac in enumerate(peers)]
        options += [f"--rxq={queue_pairs}", f"--txq={queue_pairs}", f"--rxd={RING_COUNT}", f"--txd={RING_COUNT}",
                    "--forward-mode=mac"]
        if size_max == JUMBO_MAX:
            # A received frame lies in several buffers, and goes out as it lies.
            options += [f"--max-pkt-len={size_max + 4}", "--enable-scatter", "--tx-offloads=0x8000"]
        return Testpmd("front-end", self.folder, cpu_pair(), cards, options,
                       buffer_count=BUFFER_COUNT, memory_mb=MEMORY_MB)

    def bounce(self, mergeable, packed, queue_pairs, count, seed):
        directory, switch = self.start_lan()
        size_max = JUMBO_MAX if mergeable else PLAIN_MAX
        with contextlib.ExitStack() as stack:
            stack.callback(switch.stop)
            checker = stack.enter_context(Checker(directory, size_max, seed))
            front = self.start_front_end(directory, mergeable, packed, queue_pairs, size_max)
            stack.callback(front.stop)
            front.say("start tx_first")  # so that the switch knows each card's address
            lan = lanyard.Control(directory)
            lan_harness.wait_for(lambda: {words(mac) for mac in CARDS} <= {each["mac"] for each in lan.stations()},
                                 "the switch to know each card")
            checker.wait_for_silence()
            try:
                checker.run(count)
            except AssertionError as failure:
                raise AssertionError(f"{failure}\n{self.counters(directory)}\n"
                                     f"{front.say('show port stats all')}{front.say('stop')}") from None
            front.say("stop")
        self.assertEqual(switch.stop(), 0, switch.stderr())
        self.assertNotIn("contradicts", switch.stderr())

    @staticmethod
    def counters(directory):
        """Where frames were lost, if the switch lost them."""
        done = subprocess.run([LANYARD, "ctl", directory, "ports"], text=True, capture_output=True, timeout=STUCK_S)
        return done.stdout + done.stderr

    def test_every_kind_of_ring(self):
        for seed, (mergeable, packed, queue_pairs) in enumerate(
                itertools.product((True, False), (False, True), (1, 2))):
            with self.subTest(mergeable=mergeable, packed=packed, queue_pairs=queue_pairs, seed=seed):
                self.bounce(mergeable, packed, queue_pairs, FRAMES_EACH, seed)

    def test_soak(self):
        seed = int.from_bytes(os.urandom(4), "big")
        with self.subTest(seed=seed):
            self.bounce(True, False, 2, FRAMES_SOAK[JUMBO_MAX], seed)
            self.bounce(False, True, 1, FRAMES_SOAK[PLAIN_MAX], seed)


if __name__ == "__main__":
    lan_harness.main()
