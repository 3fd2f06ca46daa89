"""`--capture x.pcapng`: what tshark, capinfos and tcpdump see, whole or cut, and what the log said."""

import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading

import lan_harness
from guest_frames import ICMP, arp_request, ping, query, syn
from lan_harness import LANYARD, NetNamespace, read_lines, tcpdump_lines, wait_for
from vde_harness import LIMIT_S, Plug, frame, mac

ETHERTYPE_ARP = 0x0806
EX_CANTCREAT = 73
EX_IOERR = 74
BLOCK_STATISTICS, BLOCK_FRAME = 5, 6


# --- readers ----------------------------------------------------------------------------------------
def whole_blocks(data):
    """The types of a pcapng file's whole blocks, and how many bytes stand behind them."""
    types, at = [], 0
    while at + 12 <= len(data):
        kind, length = struct.unpack_from("=II", data, at)
        if at + length > len(data):
            break
        types.append(kind)
        at += length
    return types, len(data) - at


def fields(capture, *names, only=""):
    words = ["tshark", "-n", "-r", capture, "-T", "fields", "-E", "separator=\t"]
    for name in names:
        words += ["-e", name]
    return [tuple(line.split("\t")) for line in read_lines(*words, *(["-Y", only] if only else []))]


def tcpdump_count(capture):
    """Frames, without the bytes that it prints of unknown ones."""
    return sum(not line.startswith("\t") for line in tcpdump_lines(capture))


def explanations(process):
    """What the log said of unreachable things, without the program's name and the sums of repeats."""
    return [line.removeprefix("lanyard: ") for line in process.stderr().splitlines()
            if " → " in line and " more time" not in line]


class PcapngTest(lan_harness.LanTest):
    @classmethod
    def setUpClass(cls):  # no guest of QEMU's is needed here
        for program in ("tshark", "capinfos", "tcpdump", LANYARD):
            if shutil.which(program) is None:
                raise AssertionError(f"{program} is missing: tools/check installs and builds it")

    def setUp(self):
        super().setUp()
        self.capture = self.folder / "x.pcapng"

    def start_captured(self, prefix=()):
        """A LAN, and a guest that the gateway has heard of: two frames are in the capture."""
        directory, switch = self.start_lan("--nat", "--capture", self.capture, prefix=prefix)
        plug = self.plug(directory)
        self.ask(plug, arp_request(), ETHERTYPE_ARP)
        return plug, switch

    def plug(self, directory, description=b"test plug"):
        plug = Plug(directory, description=description)
        self.addCleanup(plug.close)
        return plug

    def ask(self, plug, data, kind):
        """Sends, and receives until a frame of that ethertype or IP protocol comes."""
        plug.send(data)
        while True:
            reply = plug.receive()
            ethertype = struct.unpack_from("!H", reply, 12)[0]
            if kind in (ethertype, reply[23] if ethertype == 0x0800 else None):
                return reply

    def assert_sound(self, frame_count):
        """All three readers take the file without a complaint."""
        self.assertEqual(fields(self.capture, "frame.number", only="_ws.malformed"), [])
        self.assertEqual(len(fields(self.capture, "frame.number")), frame_count)
        self.assertEqual(tcpdump_count(self.capture), frame_count)
        self.assert_some(read_lines("capinfos", "-c", self.capture), f"packets:   {frame_count}")

    # --- what is in it ---
    def test_the_reason_is_the_comment_of_the_icmp_frame(self):
        plug, switch = self.start_captured()
        for sequence in range(3):
            self.assertEqual(self.ask(plug, ping("8.8.8.8", sequence), ICMP)[34:36], b"\x03\x00")
        self.ask(plug, ping("10.0.2.2"), ICMP)
        self.assertEqual(switch.stop(), 0)

        said = explanations(switch)
        self.assertEqual(len(said), 1, switch.stderr())
        self.assertIn("8.8.8.8 icmp echo: no route", said[0])
        told = fields(self.capture, "frame.interface_name", "frame.comment", only="icmp.type == 3")
        self.assertEqual(told, [("gateway", said[0])] * 3)
        self.assertEqual(fields(self.capture, "icmp.type", only="frame.comment"), [("3,8",)] * 3)

        rows = fields(self.capture, "frame.interface_name", "frame.interface_description",
                      "frame.packet_flags_direction")
        self.assertEqual(rows, [("vde 1 test plug", "port 2 of the switch", "0x00000001"),
                                ("gateway", "port 1 of the switch", "0x00000001")] * 5)
        self.assert_sound(10)
        about = "\n".join(read_lines("capinfos", self.capture))
        self.assertRegex(about, r"Capture application: lanyard \d")
        self.assertIn("nanoseconds (9)", about)
        self.assertIn("Number of interfaces in file: 2", about)

    def test_failures_that_come_later_have_their_comment(self):
        outside = NetNamespace()
        self.addCleanup(outside.close)
        outside.run("ip link add out type veth peer name far; ip link set far up; "
                    "ip addr add 192.0.2.1/24 dev out; ip link set out up; "
                    "ip route add default via 192.0.2.254")
        plug, switch = self.start_captured(prefix=outside.prefix())
        self.ask(plug, syn("192.0.2.9", 443), ICMP)  # nobody there answers ARP
        self.ask(plug, query("example.org"), ICMP)   # nobody listens at 127.0.0.1
        self.assertEqual(switch.stop(), 0)
        said = explanations(switch)
        self.assertEqual(len(said), 2, switch.stderr())
        told = fields(self.capture, "frame.comment", only="icmp.type == 3")
        self.assertEqual(told, [(line,) for line in said])
        self.assertIn("192.0.2.9", said[0])
        self.assertIn("nameserver", said[1])

    def test_ports_that_come_later_are_interfaces_of_their_own(self):
        directory, switch = self.start_lan("--capture", self.capture)
        first = self.plug(directory, b"first")
        first.send(frame(mac(1)))
        wait_for(lambda: self.capture.stat().st_size > 100, "the first frame")
        first.close()
        wait_for(lambda: not list(directory.glob("001.*")), "the plug's end")
        second = self.plug(directory, b"second")
        third = self.plug(directory, b"third")
        second.send(frame(mac(2)))
        third.send(frame(mac(3)))
        second.receive()
        self.assertEqual(switch.stop(), 0)
        self.assertEqual(fields(self.capture, "frame.interface_name", "frame.interface_description"),
                         [("vde 1 first", "port 1 of the switch"),
                          ("vde 2 second", "port 1 of the switch"),
                          ("vde 3 third", "port 2 of the switch")])
        self.assert_sound(3)

    def test_other_names_stay_pcap(self):
        directory, switch = self.start_lan("--capture", "-")
        self.plug(directory).send(frame(mac(1)))
        out = self.folder / "switch.out"
        wait_for(lambda: out.stat().st_size > 24, "a frame on standard output")
        self.assertEqual(switch.stop(), 0)
        self.assertEqual(out.read_bytes()[:4], struct.pack("=I", 0xa1b23c4d))
        self.assertEqual(tcpdump_count(out), ICMP)

    # --- while it grows ---
    def test_it_is_read_live_from_a_fifo(self):
        os.mkfifo(self.capture)
        reader = self.start("tshark", ["tshark", "-l", "-n", "-i", self.capture, "-T", "fields",
                                       "-e", "frame.interface_name", "-e", "frame.comment"])

        def start():  # refused until tshark's capturing child has opened the FIFO
            self.lan = self.folder / "lan"
            self.switch = self.start("switch", [LANYARD, "switch", self.lan, "--nat", "--capture",
                                                self.capture])
            wait_for(lambda: (self.lan / "ctl").exists() or not self.switch.running(), "the LAN")
            return self.switch.running()
        wait_for(start, "tshark to open the FIFO")
        plug = self.plug(self.lan)
        self.ask(plug, ping("8.8.8.8"), ICMP)
        wait_for(lambda: reader.stdout().count("\n") == 2, f"two frames in {reader.stdout()}")
        late = self.plug(self.lan, b"late")
        late.send(frame(mac(2)))
        wait_for(lambda: reader.stdout().count("\n") == 3, "a frame of a new interface")
        self.assertEqual(self.switch.stop(), 0)
        reader.wait(LIMIT_S)
        lines = reader.stdout().splitlines()
        self.assertEqual(lines[0], "vde 1 test plug\t")
        self.assertEqual(lines[1], "gateway\t" + explanations(self.switch)[0])
        self.assertEqual(lines[2], "vde 2 late\t")

    def test_it_is_read_live_from_the_growing_file(self):
        plug, switch = self.start_captured()
        reader = self.start("tail", ["sh", "-c", 'tail -c +1 -f --pid="$2" "$1" | exec tshark -l -n -r - -T '
                                     "fields -e frame.interface_name", "sh", self.capture, str(os.getpid())])
        self.ask(plug, ping("8.8.8.8"), ICMP)
        wait_for(lambda: reader.stdout() == "vde 1 test plug\ngateway\n" * 2, "four frames")
        self.ask(plug, ping("10.0.2.2"), ICMP)
        wait_for(lambda: reader.stdout().count("\n") == 6, "six frames")
        self.assertEqual(switch.stop(), 0)

    # --- cut short ---
    def test_sigkill_leaves_a_file_readable_to_its_last_whole_block(self):
        plug, switch = self.start_captured()
        stopped = threading.Event()

        def load():
            data = frame(mac(1), size=1500)
            while not stopped.is_set():
                try:
                    plug.send(data)
                except OSError:
                    return
        sender = threading.Thread(target=load)
        sender.start()
        try:
            wait_for(lambda: self.capture.stat().st_size > 4 << 20, "4 MiB of frames")
            switch.child.send_signal(signal.SIGKILL)
            switch.wait(LIMIT_S)
        finally:
            stopped.set()
            sender.join()
        types, _ = whole_blocks(self.capture.read_bytes())
        whole = types.count(BLOCK_FRAME)
        self.assertNotIn(BLOCK_STATISTICS, types)
        for size in (0, 1, 700, 1400):  # a kill falls anywhere: so do these cuts
            with open(self.capture, "r+b") as file:
                file.truncate(self.capture.stat().st_size - size)
            types, rest = whole_blocks(self.capture.read_bytes())
            done = subprocess.run(["tshark", "-n", "-r", self.capture, "-T", "fields", "-e",
                                   "frame.number"], text=True, timeout=120,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            self.assertEqual(done.stdout.count("\n"), types.count(BLOCK_FRAME))
            self.assertEqual("cut short" in done.stderr, rest > 0, done.stderr)
        self.assertGreater(whole, types.count(BLOCK_FRAME))

    def test_a_file_that_may_not_grow_is_whole(self):
        plug, switch = self.start_captured(prefix=["prlimit", "--fsize=20000"])
        for sequence in range(200):
            self.ask(plug, ping("8.8.8.8", sequence), ICMP)
        self.assertEqual(switch.stop(), 0)
        types, rest = whole_blocks(self.capture.read_bytes())
        self.assertEqual(rest, 0)
        self.assertLessEqual(self.capture.stat().st_size, 20000)
        whole = types.count(BLOCK_FRAME)
        self.assertGreater(whole, 20)
        self.assertLess(whole, 402)
        self.assertIn(f"{402 - whole} of 402 frames are not in it", switch.stderr())
        self.assert_sound(whole)

    def test_a_disk_that_is_full_at_the_start_is_told_then(self):
        self.capture.symlink_to("/dev/full")
        switch = self.start("switch", [LANYARD, "switch", self.folder / "lan", "--capture", self.capture])
        self.assertEqual(switch.wait(LIMIT_S), EX_IOERR)
        self.assertEqual(switch.stderr(), f"lanyard: cannot write capture {self.capture}: No space left on "
                         "device; make room or choose another file\n")
        self.assertFalse((self.folder / "lan").exists())

    def test_a_start_that_is_refused_leaves_the_file_as_it_was(self):
        directory, _ = self.start_lan("--vhost-user", self.folder / "taken")
        nowhere, new = self.folder / "absent" / "x", self.folder / "new.pcap"
        self.capture.write_bytes(b"of before")
        other = [LANYARD, "switch", self.folder / "other"]
        for name, words, part in (
                ("busy", [LANYARD, "switch", directory], "in use"),
                ("vhost", [*other, "--vhost-user", nowhere], "absent"),
                ("hostfwd", [*other, "--nat", "--hostfwd", f"unix:{nowhere}-:22"], "absent"),
                ("run", [LANYARD, "run", "--control", nowhere], "absent")):
            for file in (self.capture, new):
                guest = ["--", "/bin/true"] if name == "run" else []
                refused = self.start(name, [*words, "--capture", file, *guest])
                self.assertNotEqual(refused.wait(LIMIT_S), 0, name)
                self.assertIn(part, refused.stderr(), name)
            self.assertEqual(self.capture.read_bytes(), b"of before", name)
            self.assertFalse(new.exists(), name)

    def test_a_start_without_its_capture_never_looks_ready(self):
        os.mkfifo(self.capture)  # that nobody reads
        (self.folder / "lan").mkdir()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as killed:
            killed.bind(str(self.folder / "lan" / "ctl"))
        before = (self.folder / "lan" / "ctl").stat()
        refused = self.start("switch", [LANYARD, "switch", self.folder / "lan", "--capture", self.capture])
        self.assertEqual(refused.wait(LIMIT_S), EX_CANTCREAT)
        self.assertEqual((self.folder / "lan" / "ctl").stat(), before)

    def test_a_new_file_that_takes_nothing_is_taken_away_again(self):
        refused = self.start("switch", ["prlimit", "--fsize=10", LANYARD, "switch", self.folder / "lan",
                                        "--capture", self.capture])
        self.assertEqual(refused.wait(LIMIT_S), EX_IOERR)
        self.assertFalse(self.capture.exists())

    # --- one writer ---
    def test_a_second_switch_is_kept_from_the_file(self):
        plug, first = self.start_captured()
        self.ask(plug, ping("10.0.2.2"), ICMP)
        wait_for(lambda: whole_blocks(self.capture.read_bytes())[0].count(BLOCK_FRAME) == 4,
                 "four frames in the file")
        second = self.start("second", [LANYARD, "switch", self.folder / "other", "--capture",
                                       self.capture])
        self.assertEqual(second.wait(LIMIT_S), EX_CANTCREAT)
        self.assertEqual(second.stderr(),
                         f"lanyard: cannot write capture {self.capture}: another capture is being "
                         "written to it; choose another file, or end that one first\n")
        self.assertFalse((self.folder / "other").exists())
        self.ask(plug, ping("10.0.2.2"), ICMP)
        first.child.kill()  # gives the file free, however it ends
        first.wait(LIMIT_S)
        third = self.start("third", [LANYARD, "switch", self.folder / "third", "--capture",
                                     self.capture])
        wait_for(lambda: (self.folder / "third" / "ctl").exists(), "the third LAN")
        self.assertEqual(third.stop(), 0)
        self.assert_sound(0)


if __name__ == "__main__":
    if pathlib.Path("/etc/resolv.conf").exists() is False:
        sys.exit("there is no /etc/resolv.conf to put a test's own in the place of")
    lan_harness.in_namespace()
    lan_harness.use_resolv_conf("nameserver 127.0.0.1\n")
    lan_harness.unittest.main()
