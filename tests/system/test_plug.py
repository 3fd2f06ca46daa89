"""Plugs: interfaces of this machine on LANs that run elsewhere, ours and stock."""

import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import threading

import lan_harness
from lan_harness import LANYARD, wait_for
from plug_harness import PLUG2TAP, USAGE_STATUS, PlugTest, in_namespace_of, interfaces

BULK_SIZE = 24 * 1024 * 1024
ETH_P_ALL = 3
PACKET_AUXDATA = 8
SOL_PACKET = 263
WITHOUT_RIGHTS = ("setpriv", "--bounding-set", "-net_raw,-net_admin", "--inh-caps", "-net_raw,-net_admin")


class Interfaces(PlugTest):
    def test_tcp_in_super_frames_between_two_veths(self):
        capture = self.folder / "lan.pcap"
        directory, switch = self.start_lan("--capture", capture)
        a, _ = self.plug_node(directory, 1)
        b, plug = self.plug_node(directory, 2)
        data = os.urandom(BULK_SIZE)

        server = in_namespace_of(b.pid, lambda: socket.create_server(("10.9.0.2", 4000)))
        received = []

        def take():
            connection, _ = server.accept()
            with connection:
                digest, size = hashlib.sha256(), 0
                while piece := connection.recv(1 << 20):
                    digest.update(piece)
                    size += len(piece)
                received.append((size, digest.hexdigest()))

        taking = threading.Thread(target=take)
        taking.start()
        client = in_namespace_of(a.pid, lambda: socket.create_connection(("10.9.0.2", 4000), 20))
        with client:
            client.sendall(data)
        taking.join(60)
        server.close()
        self.assertEqual(received, [(BULK_SIZE, hashlib.sha256(data).hexdigest())])

        # The kernel did hand over super-frames, and nobody beyond us saw one.
        sent_packets = json.loads(a.run("ip -s -j link show eth0"))[0]["stats64"]["tx"]["packets"]
        self.assertLess(sent_packets, BULK_SIZE // 1448 // 4)
        plug.stop()
        switch.stop()
        bad = lan_harness.read_lines(
            "tshark", "-nr", capture, "-o", "tcp.check_checksum:TRUE", "-o",
            "ip.check_checksum:TRUE", "-Y",
            "frame.len > 1514 or tcp.checksum.status == 0 or ip.checksum.status == 0")
        self.assertEqual(bad, [])
        frames = lan_harness.read_lines("tshark", "-nr", capture, "-Y", "tcp.len == 1448")
        self.assertGreater(len(frames), BULK_SIZE // 1448 - 1000)

    def test_udp_checksums_and_ping_through_a_bridge(self):
        directory, _ = self.start_lan()
        node, _ = self.plug_node(directory, 1)
        # A bridge with two members: a container, and the far end of the plugged pair.
        subprocess.run("ip link add br0 type bridge && ip link set br0 up && "
                       "ip link add out type veth peer name in && ip link set out up && "
                       "ip link set in up && ip link set out master br0", shell=True, check=True)
        self.addCleanup(subprocess.run, "ip link del br0; ip link del out", shell=True)
        container = self.add_node(2, "member")
        subprocess.run(["ip", "link", "set", "member", "master", "br0"], check=True)
        self.plug("bridge-plug", directory, "--packet", "in")
        node.run("ping -c 2 -i 0.2 -W 5 10.9.0.2")
        container.run("ping -c 2 -i 0.2 -W 5 -s 1472 -M do 10.9.0.1")
        self.assert_udp_passes(container, "10.9.0.1", node)

    def assert_udp_passes(self, sender, address, receiver):
        """A datagram with a partial checksum arrives, and the receiver's kernel found it right."""
        def listen():
            taker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            taker.bind((address, 4001))
            taker.settimeout(10)
            return taker

        taker = in_namespace_of(receiver.pid, listen)

        def send():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as giver:
                giver.sendto(b"partial", (address, 4001))

        in_namespace_of(sender.pid, send)
        self.assertEqual(taker.recv(100), b"partial")
        taker.close()

    def test_vlan_tags_cross_both_ways(self):
        capture = self.folder / "lan.pcap"
        directory, switch = self.start_lan("--capture", capture)
        a, _ = self.plug_node(directory, 1)
        b, _ = self.plug_node(directory, 2)
        macs = (b"\x52\x54\x00\x00\x00\x02", b"\x52\x54\x00\x00\x00\x01")
        tags = {"one": [(0x8100, 0xa02a)], "service": [(0x88a8, 7), (0x8100, 42)],
                "priority": [(0x8100, 0xc000)]}

        def raw_socket():
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            raw.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
            raw.bind(("eth0", ETH_P_ALL))
            raw.settimeout(10)
            return raw

        sender = in_namespace_of(a.pid, raw_socket)
        receiver = in_namespace_of(b.pid, raw_socket)
        for name, stack in tags.items():
            text = b"tagged " + name.encode()
            frame = (b"".join(macs) + b"".join(struct.pack("!HH", *tag) for tag in stack) +
                     b"\x88\xb5" + text.ljust(46, b"\0"))
            sender.send(frame)
            while True:
                data, control, _, _ = receiver.recvmsg(2000, 256)
                if text in data:
                    break
            # The receiver's kernel has taken the outer tag out; what it says of it is ours.
            (status, _, _, _, _, tci, tpid) = struct.unpack("IIIHHHH", control[0][2])
            self.assertTrue(status & 0x10, "the frame came without its tag")
            self.assertEqual((tpid, tci), stack[0])
            self.assertEqual(data, frame[:12] + frame[16:])
        switch.stop()
        lines = lan_harness.tcpdump_lines(capture, "-e", "ether", "src", "52:54:00:00:00:01")
        self.assert_some(lines, "vlan 42, p 5")
        self.assert_some(lines, "vlan 7, p 0, ethertype 802.1Q")
        self.assert_some(lines, "vlan 0, p 6")
        sender.close()
        receiver.close()

    def test_tap_comes_carries_and_goes(self):
        lan_harness.need_tun(self)
        directory, _ = self.start_lan()
        node, _ = self.plug_node(directory, 1)
        plug = self.plug("tap", directory, "--tap", "tap5")
        subprocess.run("ip address add 10.9.0.5/24 dev tap5 && ip link set tap5 up", shell=True,
                       check=True)
        node.run("ping -c 2 -i 0.2 -W 5 10.9.0.5")
        self.assertEqual(plug.stop(), 0)
        self.assertNotIn("tap5", interfaces())

    def test_ends_and_their_statuses(self):
        directory, switch = self.start_lan()
        _, first = self.plug_node(directory, 1)
        _, second = self.plug_node(directory, 2)
        subprocess.run(["ip", "link", "set", "plug1", "down"], check=True)
        self.assertEqual(first.wait(10), 69)  # EX_UNAVAILABLE: our own end broke
        self.assertIn("interface plug1: the interface went down", first.stderr())
        switch.stop()
        self.assertEqual(second.wait(10), 0)  # as vde_plug2tap: the LAN has ended
        self.assertIn("has ended", second.stderr())

    def test_a_face_ends_as_the_stock_ones_do_when_its_own_end_breaks(self):
        directory, _ = self.start_lan()
        plug = self.start_face("plug", [PLUG2TAP, "-s", directory, "tap6"], lambda _: "tap6" in interfaces())
        subprocess.run(["ip", "link", "del", "tap6"], check=True)
        self.assertEqual(plug.wait(10), 1)

    def test_what_cannot_be_plugged_in(self):
        directory, _ = self.start_lan()
        self.assert_ends([LANYARD, "plug", directory], 64, "--packet INTERFACE or --tap")
        self.assert_ends([LANYARD, "plug", "--packet", "none", directory], 69,
                         "cannot join interface none", "`ip link` lists")
        self.assert_ends([LANYARD, "plug", "--packet", "lo", directory], 69, "no Ethernet")
        self.assert_ends([LANYARD, "plug", "--packet", "lo", self.folder], 69,
                         "is the switch running?")
        subprocess.run("ip link add up0 type veth peer name up1 && ip link set up0 up", shell=True,
                       check=True)
        self.addCleanup(subprocess.run, ["ip", "link", "del", "up0"])
        self.assert_ends([*WITHOUT_RIGHTS, LANYARD, "plug", "--packet", "up0", directory], 69,
                         "CAP_NET_RAW")

    def test_a_tap_takes_a_capability(self):
        lan_harness.need_tun(self)
        directory, _ = self.start_lan()
        self.assert_ends([*WITHOUT_RIGHTS, LANYARD, "plug", "--tap", "tap0", directory], 69,
                         "CAP_NET_ADMIN")


class Plug2Tap(PlugTest):
    def started(self, process):
        return "tap3" in interfaces()

    def ping_tap(self, node, name="tap3"):
        subprocess.run(f"ip address add 10.9.0.3/24 dev {name} && ip link set {name} up",
                       shell=True, check=True)
        node.run("ping -c 2 -i 0.2 -W 5 10.9.0.3")

    def test_on_a_stock_switch_until_it_ends(self):
        directory, pid = self.start_stock_switch()
        node, _ = self.plug_node(directory, 1)
        face = self.start_face("plug2tap", [PLUG2TAP, "--sock", directory, "--port", "7", "--mod",
                                            "0700", "tap3"], self.started)
        self.ping_tap(node)
        listing = self.ask_stock_switch("port/allprint")
        self.assertIn("vde_plug2tap: user=", listing)
        self.assertRegex(listing, r"Port 0*7 ")
        os.kill(pid, signal.SIGTERM)
        self.assertEqual(face.wait(10), 0)
        self.assertNotIn("tap3", interfaces())

    def test_in_the_background_with_a_pid_file(self):
        directory, switch = self.start_lan()
        node, _ = self.plug_node(directory, 1)
        pid_file = self.folder / "plug.pid"
        command = [PLUG2TAP, "-s", directory, "-d", "-P", pid_file, "tap3"]
        subprocess.run([str(word) for word in command], check=True, timeout=20)
        pid = int(pid_file.read_text())  # it works by the time it is in the background
        self.ping_tap(node)
        self.assert_ends([*command[:-1], "tap4"], 1, "pid file", "File exists")
        self.assertEqual(int(pid_file.read_text()), pid)
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not pid_file.exists() and "tap3" not in interfaces(), "its end")

    def test_as_a_plug_of_dpipe(self):
        directory, _ = self.start_lan()
        node, _ = self.plug_node(directory, 1)
        pipe = self.start_face("dpipe", ["dpipe", "vde_plug", directory, "=", PLUG2TAP, "-s", "-",
                                         "tap3"], self.started)
        self.ping_tap(node)
        node.run("ping -c 2 -i 0.2 -W 5 -s 1472 10.9.0.3")
        pipe.stop()
        wait_for(lambda: "tap3" not in interfaces(), "the end of vde_plug2tap")

    @contextlib.contextmanager
    def without_tun(self):
        subprocess.run(["mount", "--bind", "/dev/null", "/dev/net/tun"], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", "/dev/net/tun"], check=True)

    def test_without_tun_a_veth_pair_does_it(self):
        directory, _ = self.start_lan()
        node, _ = self.plug_node(directory, 1)
        before = interfaces()
        with self.without_tun():
            face = self.start_face("plug2tap", [PLUG2TAP, "-s", directory, "tap3"],
                                   lambda process: "veth pair" in process.stderr())
            self.assertEqual(len(face.stderr().splitlines()), 1)
            self.assertIn("/dev/net/tun cannot be used", face.stderr())
            # As the NixOS driver uses it: the interface becomes a bridge's, which has the address.
            subprocess.run("ip link add br1 type bridge && ip address add 10.9.0.3/24 dev br1 && "
                           "ip link set br1 up && ip link set tap3 up master br1", shell=True,
                           check=True)
            self.addCleanup(subprocess.run, ["ip", "link", "del", "br1"])
            node.run("ping -c 2 -i 0.2 -W 5 10.9.0.3")
            # One answer: the inner end of the pair is deaf.
            answers = node.run("arping -c 1 -w 2 -I eth0 10.9.0.3 || busybox arping -c 1 -w 2 "
                               "-I eth0 10.9.0.3")
            bridge = json.loads(subprocess.check_output(["ip", "-j", "link", "show", "br1"]))
            macs = set(re.findall(r"\[(\S+:\S+)\]", answers.lower()))
            self.assertEqual(macs, {bridge[0]["address"]})
            inner = (interfaces() - before - {"tap3", "br1"}).pop()
            self.assertEqual(subprocess.run(["ip", "-o", "address", "show", "dev", inner],
                                            stdout=subprocess.PIPE).stdout, b"")
            subprocess.run(["ip", "link", "set", "tap3", "netns", str(node.pid)], check=True)
            self.assertEqual(face.stop(), 0)
            self.assertEqual(interfaces() - before, {"br1"})
            node.run("! ip link show tap3")
            self.assert_ends(["setpriv", "--bounding-set", "-net_admin", "--inh-caps",
                              "-net_admin", PLUG2TAP, "-s", directory, "tap3"], 1,
                             "CAP_NET_ADMIN")
            self.assert_ends([PLUG2TAP, "-s", directory, "lo"], 1, "there is an interface of that")
            self.assert_ends([LANYARD, "plug", "--tap", "tap3", directory], 69,
                             "lanyard plug --packet")

    def test_command_line(self):
        done = subprocess.run([PLUG2TAP, "--help"], text=True, stdout=subprocess.PIPE)
        self.assertEqual(done.returncode, USAGE_STATUS)
        for option in ("--sock", "--port", "--mod", "--group", "--daemon", "--pidfile"):
            self.assertIn(option, done.stdout)
        self.assert_ends([PLUG2TAP], USAGE_STATUS, "0 interfaces are named")
        self.assert_ends([PLUG2TAP, "-z", "t"], USAGE_STATUS, "there is no option -z")
        self.assert_ends([PLUG2TAP, "t", "--bogus"], USAGE_STATUS, "there is no option --bogus")
        self.assert_ends([PLUG2TAP, "t", "-s"], USAGE_STATUS, "-s needs a value")
        self.assert_ends([PLUG2TAP, "-m", "9", "t"], USAGE_STATUS, "mode")
        self.assert_ends([PLUG2TAP, "-g", "no-such-group", "t"], 1, "no such group")
        self.assert_ends([PLUG2TAP, "-s", "/nowhere", "t"], 1, "/nowhere", "is it running?")
        self.assert_ends([PLUG2TAP, "-d", "-s", "/nowhere", "t"], 1, "/nowhere")
        self.assert_ends([PLUG2TAP, "-d", "-s", "-", "t"], USAGE_STATUS, "leave out -d")


if __name__ == "__main__":
    lan_harness.main()
