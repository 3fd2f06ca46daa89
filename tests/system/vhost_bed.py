"""What the tests of a vhost-user guest's life share: guests that a test steers while they run, QEMU's
monitor, and two bystanders on the same LAN that would notice anything.
"""

import contextlib
import json
import random
import re
import socket
import struct
import threading
import time

from lan_harness import Guest, LanTest, wait_for

ANSWER_LIMIT_S = 90   # for a command in a guest; all guests of this machine may be slow at once
BOOT_LIMIT_S = 120
MEMORY_MIB = 192
STREAM_PORT = 6001

# The guest's second serial port takes a line, runs it and says how it ended.
_SERVE_LINES = ("mkfifo /tmp/silence; stty -F /dev/ttyS1 raw -echo; exec </dev/ttyS1 >/dev/ttyS1 2>&1; echo '@@up'; "
                "while read -r line; do (eval \"$line\"); echo \"@@end $?\"; done")
# The guest's nc ends when either direction does: what it reads must stay open.
SILENT = "<>/tmp/silence"


def _connect(path):
    end = socket.socket(socket.AF_UNIX)
    wait_for(lambda: end.connect_ex(str(path)) == 0, f"somebody to listen at {path}")
    end.settimeout(ANSWER_LIMIT_S)
    return end


class Monitor:
    """QEMU's QMP socket."""

    def __init__(self, path):
        self._socket = _connect(path)
        self._lines = self._socket.makefile("r")
        self._lines.readline()  # the greeting
        self.ask("qmp_capabilities")

    def ask(self, command, **arguments):
        """Its return value; events on the way are passed over, an error is one."""
        words = json.dumps({"execute": command, "arguments": arguments})
        self._socket.sendall(words.encode() + b"\n")
        while True:
            answer = json.loads(self._lines.readline())
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise AssertionError(f"{command}: {answer['error']['desc']}")

    def human(self, line):
        return self.ask("human-monitor-command", **{"command-line": line})

    def words_at(self, guest_address, count, bits):
        """Numbers of 16 or 64 bits at a guest-physical address."""
        letter = {16: "h", 64: "g"}[bits]
        said = self.human(f"xp /{count}x{letter} {guest_address:#x}")
        return [int(word, 16) for line in said.splitlines() for word in line.split(":")[1].split()]

    def ring(self, queue):
        """{name: value} of a ring of the first pair of the guest's only network card: guest
        addresses and its length."""
        return self.ask("x-query-virtio-vhost-queue-status", path=self.card_path(), queue=queue)

    def stopped_ring(self, queue):
        """The same for any pair. On the way QEMU stops the ring for good, by GET_VRING_BASE."""
        status = self.ask("x-query-virtio-queue-status", path=self.card_path(), queue=queue)
        return {"num": status["vring-num"], "desc-phys": status["vring-desc"],
                "avail-phys": status["vring-avail"], "used-phys": status["vring-used"]}

    def card_path(self):
        path, = (each["path"] for each in self.ask("x-query-virtio")
                 if each["name"] == "virtio-net")
        return path

    def outstanding(self, queue):
        """Chains of a split ring that the driver has made available and not got back."""
        ring = self.ring(queue)
        _, available = self.words_at(ring["avail-phys"], 2, 16)
        _, used = self.words_at(ring["used-phys"], 2, 16)
        return (available - used) & 0xffff

    def close(self):
        self._lines.close()
        self._socket.close()


class SteeredGuest:
    """A running test guest: run() gives it a line at a time."""

    def __init__(self, process, folder):
        self.process = process
        self.name = process.name
        self.serial = _connect(folder / f"{self.name}.tty")
        self.monitor = Monitor(folder / f"{self.name}.qmp")
        self._text = ""

    def _read_until(self, pattern, what, limit_s):
        deadline = time.monotonic() + limit_s
        while not (match := re.search(pattern, self._text)):
            self.serial.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                piece = self.serial.recv(65536)
            except TimeoutError:
                piece = b""
            if not piece:
                raise AssertionError(f"{self.name}: waited in vain for {what}; it said:\n{self._text}"
                                     f"\n{self.process.stdout()[-3000:]}\n{self.process.stderr()}")
            self._text += piece.decode(errors="replace")
        self._text = self._text[match.end():]
        return match

    def wait_for_boot(self):
        self._read_until(r"(?m)^@@up\n", "its boot", BOOT_LIMIT_S)

    def run(self, line, limit_s=ANSWER_LIMIT_S):
        """The output; a status that is not 0 is an error."""
        self.serial.sendall(line.encode() + b"\n")
        match = self._read_until(r"(?s)^(.*?)@@end (\d+)\n", f"the end of `{line}`", limit_s)
        if match[2] != "0":
            raise AssertionError(f"{self.name}: `{line}` ended with {match[2]}:\n{match[1]}")
        return match[1].strip()

    def start_job(self, line):
        """In the background, silently."""
        self.run(f"({line}) </dev/null >/dev/null 2>&1 &")

    def close(self):
        self.monitor.close()
        self.serial.close()

    def end(self):
        """Without a word to the guest."""
        self.close()
        self.process.child.kill()
        self.process.child.wait()


class Bystanders:
    """Two plugs of the LAN that talk to each other all the time: numbered frames of random length
    and content, each answered before the next is sent. judge() says if one was lost, doubled or
    changed. With one frame on the way, no queue can be full: what is lost is lost by the switch."""

    ETHERTYPE = b"\x88\xb6"
    SILENCE_S = 20
    PAUSE_S = 0.002

    def __init__(self, directory, seed=1):
        self._random = random.Random(seed)
        self._macs = [bytes.fromhex(f"0200000b51{at:02x}") for at in range(2)]
        self._ends = [_connect(directory / "stream") for _ in range(2)]
        self._rests = [b"", b""]
        for end in self._ends:
            end.settimeout(self.SILENCE_S)
        self._over = threading.Event()
        self._complaint = ""
        self.count = 0
        self._thread = threading.Thread(target=self._talk, daemon=True)
        self._thread.start()

    def _talk(self):
        try:
            while not self._over.is_set():
                body = struct.pack("!Q", self.count) + self._random.randbytes(
                    self._random.randint(46, 1492))
                for sender in (0, 1):
                    self._send(sender, body)
                    self._expect(1 - sender, body)
                self.count += 1
                time.sleep(self.PAUSE_S)
        except (OSError, AssertionError) as error:
            self._complaint = f"frame {self.count}: {error!r}"

    def _send(self, sender, body):
        frame = self._macs[1 - sender] + self._macs[sender] + self.ETHERTYPE + body
        self._ends[sender].sendall(struct.pack("!I", len(frame)) + frame)

    def _expect(self, receiver, body):
        """The next frame to us is this one; what the guests flood is passed over."""
        while True:
            while (frame := self._take(receiver)) is None:
                piece = self._ends[receiver].recv(1 << 18)
                if not piece:
                    raise AssertionError("the switch hung up")
                self._rests[receiver] += piece
            if frame[12:14] != self.ETHERTYPE:
                continue
            if frame[:6] != self._macs[receiver] or frame[14:] != body:
                raise AssertionError(f"another frame came in its place: {frame[:30].hex()}")
            return

    def _take(self, receiver):
        rest = self._rests[receiver]
        if len(rest) < 4 or len(rest) < 4 + int.from_bytes(rest[:4], "big"):
            return None
        size = int.from_bytes(rest[:4], "big")
        self._rests[receiver] = rest[4 + size:]
        return rest[4:4 + size]

    def still_talk(self):
        """They have not complained, and exchange a few more frames."""
        before = self.count
        wait_for(lambda: self._complaint or self.count >= before + 5,
                 "the bystanders' next frames", 2 * self.SILENCE_S)
        if self._complaint:
            raise AssertionError(f"a bystander noticed: {self._complaint}")

    def judge(self):
        self.still_talk()
        self._over.set()
        self._thread.join()
        self.close()
        if self._complaint:
            raise AssertionError(f"a bystander noticed: {self._complaint}")

    def close(self):
        self._over.set()
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class VhostTest(LanTest):
    """Steered guests on a LAN, and files that go from one to another."""

    def vhost_words(self, path, mac, card="", reconnect=0, queue_pairs=1, memory_mib=MEMORY_MIB):
        """QEMU's words for a card on a vhost-user socket, memory included. Without interrupt
        vectors, since QEMU before 8 crashes on them under TCG."""
        again = f",reconnect={reconnect}" if reconnect else ""
        queues = f",queues={queue_pairs}" if queue_pairs > 1 else ""
        return ["-object", f"memory-backend-memfd,id=mem,share=on,size={memory_mib}M",
                "-machine", "memory-backend=mem",
                "-chardev", f"socket,id=front,path={path}{again}",
                "-netdev", f"vhost-user,chardev=front,id=net0{queues}",
                "-device", f"virtio-net-pci,id=card0,netdev=net0,vectors=0,mac={mac}{card}"]

    def spawn(self, name, address, words, memory_mib=MEMORY_MIB, memory_slots=0):
        """A steered guest that has yet to boot, with a network of these words. It survives its own
        reboots, and has slots for memory that is plugged in later."""
        line = self.guest_words([_SERVE_LINES], "--memory", str(memory_mib), "--name", name,
                                "--ip", f"{address}/24", "--gateway", "10.0.2.2")
        line.remove("-no-reboot")
        if memory_slots:
            line[line.index("-m") + 1] += f",slots={memory_slots},maxmem=4G"
        for suffix in ("tty", "qmp"):
            (self.folder / f"{name}.{suffix}").unlink(missing_ok=True)
        process = self.start(name, [
            *line, "-serial", f"unix:{self.folder}/{name}.tty,server=on,wait=off",
            "-qmp", f"unix:{self.folder}/{name}.qmp,server=on,wait=off", *words], kind=Guest)
        guest = SteeredGuest(process, self.folder)
        self.addCleanup(guest.close)
        return guest

    def boot(self, *guests):
        for guest in guests:
            guest.wait_for_boot()

    def reload_driver(self, guest, address):
        guest.run("rmmod virtio_net && modprobe virtio_net && "
                  "while [ ! -d /sys/class/net/eth0 ]; do sleep 0.1; done; "
                  f"ip link set eth0 up && ip address add {address}/24 dev eth0")

    def make_blob_in(self, guest, mib):
        guest.run(f"head -c {mib << 20} /dev/urandom >/tmp/blob")

    def listen(self, guest, port):
        """What comes to that port goes to a file of its own."""
        guest.run(f"rm -f /tmp/got.{port} /tmp/whole.{port}")
        guest.start_job(f"nc -l -p {port} {SILENT} >/tmp/got.{port}; touch /tmp/whole.{port}")
        guest.run(f"while ! netstat -ltn | grep -q :{port}; do sleep 0.1; done")

    def received(self, guest, port):
        """The digest of what came, when all is there."""
        return guest.run(f"while [ ! -f /tmp/whole.{port} ]; do sleep 0.2; done; "
                         f"sha256sum </tmp/got.{port}; rm /tmp/got.{port}")

    def exchange(self, *pairs):
        """A file from one guest to the other and one back, at the same time, for each
        ((guest, address), (guest, address)); each judged by the receiver's own checksum."""
        port = 7000
        routes = []
        for one, other in pairs:
            for (source, _), (target, address) in ((one, other), (other, one)):
                port += 1
                self.listen(target, port)
                routes.append((source, target, address, port))
        for source, target, address, port in routes:
            source.start_job(f"nc {address} {port} </tmp/blob")
        for source, target, address, port in routes:
            wanted = source.run("sha256sum </tmp/blob")
            self.assertEqual(self.received(target, port), wanted,
                             f"{source.name} to {target.name}")

    # Random bytes without an end, over one TCP connection, until judge_stream().
    def start_stream(self, source, target, address):
        port = STREAM_PORT
        target.run("rm -f /tmp/digest")
        target.start_job(f"nc -l -p {port} {SILENT} | sha256sum >/tmp/sum.in; "
                         "mv /tmp/sum.in /tmp/digest")
        target.run(f"while ! netstat -ltn | grep -q :{port}; do sleep 0.1; done")
        source.run("rm -f /tmp/stop /tmp/sent; mkfifo /tmp/copy; "
                   "head -c 1000000 /dev/urandom >/tmp/piece")
        source.start_job("sha256sum </tmp/copy >/tmp/sum; mv /tmp/sum /tmp/sent")
        source.start_job("while [ ! -f /tmp/stop ]; do cat /tmp/piece; done | tee /tmp/copy | "
                         f"nc {address} {port}")

    def wait_for_stream(self, *guests):
        """Each receives another 1 MB."""
        count = "$(cat /sys/class/net/eth0/statistics/rx_bytes)"
        for guest in guests:
            guest.run(f"end=$(({count} + 1000000)); while [ {count} -lt $end ]; do sleep 0.2; done")

    def judge_stream(self, source, target):
        source.run("touch /tmp/stop")
        sent = source.run("while [ ! -f /tmp/sent ]; do sleep 0.2; done; cat /tmp/sent")
        received = target.run("while [ ! -f /tmp/digest ]; do sleep 0.2; done; cat /tmp/digest")
        self.assertEqual(received, sent, f"{source.name} to {target.name}")

    def assert_kernel_content(self, guest):
        """Its virtio driver and its stack had nothing to complain about."""
        said = guest.run("dmesg | grep -i -E 'virtio|watchdog|bad gso|hw csum|BUG' || true")
        for word in ("not a head", "out of range", "BUG", "WATCHDOG", "csum failure", "timed out"):
            self.assertNotIn(word, said)

    def judge_end(self, switch):
        self.assertTrue(switch.running(), switch.stderr())
        self.assertEqual(switch.stop(), 0, switch.stderr())
        self.assertNotIn("contradicts", switch.stderr())
