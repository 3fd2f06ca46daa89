"""`lanyard doctor --lan`: each verdict provoked on a running LAN by frames made here, and its absence
on a LAN in order."""

import json
import os
import pty
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import lan_harness
import vde_harness
from vde_harness import BROADCAST, frame, mac

sys.path.insert(0, str(lan_harness.SOURCE_DIR / "tools" / "python"))
import lanyard  # noqa: E402

GATEWAY = "10.0.2.2"
GATEWAY_MAC = b"\x52\x55\x0a\x00\x02\x02"
CHECKS = ["leases", "guest-routes", "vlans", "macs", "ips", "loops", "plugs", "drops", "mtu",
          "forwards", "flows", "reasons", "captures", "lock"]
RUN_S = 240  # for one run of the doctor, of a debug build on a busy machine


def mac_text(octets):
    return ":".join(f"{octet:02x}" for octet in octets)


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def ethernet(source, destination, ethertype, payload, vid=None):
    tag = b"" if vid is None else struct.pack("!HH", 0x8100, vid)
    return (destination + source + tag + struct.pack("!H", ethertype) + payload).ljust(60, b"\0")


def arp(source, sender, target, vid=None):
    payload = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, source, socket.inet_aton(sender),
                          b"\0" * 6, socket.inet_aton(target))
    return ethernet(source, BROADCAST, 0x0806, payload, vid)


def udp(source, destination_mac, sender, target, ports, payload, vid=None):
    length = 8 + len(payload)
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + length, 0, 0, 64, 17, 0,
                       socket.inet_aton(sender), socket.inet_aton(target))
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return ethernet(source, destination_mac, 0x0800,
                    head + struct.pack("!HHHH", *ports, length, 0) + payload, vid)


def dhcp(source, kind, options=b"", vid=None):
    message = struct.pack("!BBBBIHH4s4s4s4s16s192sI", 1, 1, 6, 0, 0x1234, 0, 0x8000, b"\0" * 4,
                          b"\0" * 4, b"\0" * 4, b"\0" * 4, source.ljust(16, b"\0"), b"", 0x63825363)
    message += bytes([53, 1, kind]) + options + b"\xff"
    return udp(source, BROADCAST, "0.0.0.0", "255.255.255.255", (68, 67), message.ljust(300, b"\0"),
               vid)


def advertisement(source, address):
    """An unsolicited neighbour advertisement to all nodes."""
    target = socket.inet_pton(socket.AF_INET6, address)
    sender = socket.inet_pton(socket.AF_INET6, "fe80::" + f"{source[5]:x}")
    group = socket.inet_pton(socket.AF_INET6, "ff02::1")
    message = struct.pack("!BBHI16sBB6s", 136, 0, 0, 0x20000000, target, 2, 1, source)
    pseudo = sender + group + struct.pack("!II", len(message), 58)
    message = message[:2] + struct.pack("!H", checksum(pseudo + message)) + message[4:]
    head = struct.pack("!IHBB16s16s", 6 << 28, len(message), 58, 255, sender, group)
    return ethernet(source, b"\x33\x33\0\0\0\x01", 0x86dd, head + message)


class Guest:
    """A guest by hand: one plug, one MAC address."""

    def __init__(self, test, number, **options):
        self.plug = vde_harness.Plug(test.lan.directory, **options)
        test.addCleanup(self.plug.close)
        self.mac = mac(number)
        self.mac_text = mac_text(self.mac)

    def send(self, data):
        self.plug.send(data)

    def _await(self, wanted):
        """The DHCP answer of that type: its message."""
        deadline = time.monotonic() + lan_harness.READY_LIMIT_S
        while time.monotonic() < deadline:
            message = self.plug.receive()[42:]
            if message[240:243] == bytes([53, 1, wanted]) and message[28:34] == self.mac:
                return message
        raise AssertionError(f"no DHCP message {wanted}")

    def take_lease(self):
        self.send(dhcp(self.mac, 1))
        offered = self._await(2)[16:20]
        self.send(dhcp(self.mac, 3, bytes([50, 4]) + offered + bytes([54, 4])
                       + socket.inet_aton(GATEWAY)))
        self._await(5)
        self.address = socket.inet_ntoa(offered)
        self.send(arp(self.mac, self.address, GATEWAY))
        return self.address


def run_doctor(*words, prefix=(), env=None, stdout=subprocess.PIPE):
    return subprocess.run([*prefix, lan_harness.LANYARD, "doctor", *map(str, words)], text=True,
                          env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})}, stdout=stdout,
                          stderr=subprocess.PIPE, timeout=RUN_S, check=False)


class LanCase(unittest.TestCase):
    nat = True
    options = ()

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="doctor.")
        self.addCleanup(folder.cleanup)
        self.lan = lanyard.Lan(f"{folder.name}/lan", nat=self.nat, options=self.options,
                               program=lan_harness.LANYARD)
        self.addCleanup(self.lan.stop)

    def guest(self, number, **options):
        return Guest(self, number, **options)

    def doctor(self, wait_s=0):
        """The verdict as JSON, checked for shape and agreement with the exit status."""
        done = run_doctor("--lan", self.lan.directory, "--json", "--wait", wait_s)
        self.assertEqual(done.stderr, "")
        verdict = json.loads(done.stdout)
        self.assertEqual(set(verdict), {"verdict", "lan", "program", "gateway", "ports", "checks"})
        marks = [check["mark"] for check in verdict["checks"]]
        self.assertEqual(verdict["verdict"],
                         max(marks, key=["ok", "warning", "problem"].index))
        self.assertEqual(done.returncode, 1 if "problem" in marks else 0)
        self.assertEqual(list(dict.fromkeys(check["id"] for check in verdict["checks"])), CHECKS)
        for check in verdict["checks"]:
            self.assertNotEqual(check["fact"], "")
            self.assertEqual(check["ok"], check["mark"] == "ok")
            self.assertEqual(check["cure"] is None, check["ok"], check)
        return verdict

    def best_verdict(self):
        """A kernel without Landlock or seccomp costs a warning, whatever the LAN is like."""
        return "warning" if self.lan.about()["sandbox"]["gaps"] else "ok"

    def found(self, cause, wait_s=0):
        """The checks of that cause."""
        return [check for check in self.doctor(wait_s)["checks"] if check["cause"] == cause]

    def expect(self, cause, mark="problem", address=None, wait_s=0):
        """Waits for a finding of that cause and mark; returns it."""
        deadline = time.monotonic() + lan_harness.READY_LIMIT_S
        while True:
            found = [check for check in self.found(cause, wait_s) if check["mark"] == mark
                     and (address is None or check["address"] == address)]
            if found:
                return found[0]
            if time.monotonic() > deadline:
                raise AssertionError(f"no {mark} {cause} for {address}: {self.doctor(wait_s)}")

    def checks(self, check_id, wait_s=0):
        return [check for check in self.doctor(wait_s)["checks"] if check["id"] == check_id]

    def settle(self, port, frames):
        """Until the switch has taken so many frames from the port."""
        lan_harness.wait_for(
            lambda: self.lan.port(port)["counters"]["ingress_frames"] >= frames,
            f"{frames} frames from port {port}")


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
        self.assertIn("2 ports, 1 guests, gateway 10.0.2.2 of 10.0.2.0/24", lines[0])
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


class LeaseTest(LanCase):
    def test_a_guest_that_never_asked(self):
        one = self.guest(1)
        one.send(frame(one.mac))
        finding = self.expect("no-lease", address=one.mac_text)
        self.assertIn("never asked", finding["fact"])
        self.assertEqual(finding["port"], 2)
        done = run_doctor("--lan", self.lan.directory, "--wait", "0")
        self.assertEqual(done.returncode, 1)
        self.assertIn("[no-lease]", done.stdout)
        self.assertRegex(done.stdout, r"└─ ✗ port 2 ")
        self.assertIn("1 problem, 0 warnings.", done.stdout)

    def test_a_guest_that_asked_and_took_nothing(self):
        one = self.guest(1)
        one.send(dhcp(one.mac, 1))
        finding = self.expect("no-lease", address=one.mac_text)
        self.assertIn("was offered 10.0.2.15", finding["fact"])

    def test_a_guest_that_asks_in_vain(self):
        one = self.guest(1)
        one.send(dhcp(one.mac, 3, bytes([50, 4]) + socket.inet_aton("192.168.9.9")))
        finding = self.expect("no-lease", address=one.mac_text)
        self.assertIn("asked for a lease 1 times", finding["fact"])

    def test_a_guest_with_an_address_of_elsewhere(self):
        one = self.guest(1)
        one.send(udp(one.mac, GATEWAY_MAC, "192.168.7.7", "8.8.8.8", (1, 2), b"x"))
        finding = self.expect("no-lease", address=one.mac_text)
        self.assertIn("192.168.7.7, which is not of 10.0.2.0/24", finding["fact"])

    def test_an_address_by_hand_is_no_trouble(self):
        one = self.guest(1)
        one.send(arp(one.mac, "10.0.2.9", GATEWAY))
        self.settle(2, 1)
        self.assertEqual(self.found("no-lease"), [])
        self.assertIn("1 an address by hand", self.checks("leases")[0]["fact"])

    def test_a_released_lease(self):
        one = self.guest(1)
        address = one.take_lease()
        self.assertEqual(self.found("no-lease"), [])
        message = bytearray(dhcp(one.mac, 7))
        message[42 + 12:42 + 16] = socket.inet_aton(address)
        one.send(bytes(message))
        lan_harness.wait_for(lambda: self.lan.request("GET", "/leases")[0]["state"] == "ended",
                             "the end of the lease")
        # The address it claimed by ARP is still its own, as far as anyone can see.
        self.assertEqual(self.found("no-lease"), [])


class RouteTest(LanCase):
    def test_a_guest_without_default_route(self):
        one, two = self.guest(1), self.guest(2)
        one.take_lease()
        two.take_lease()
        one.send(arp(one.mac, one.address, two.address))
        self.settle(2, 4)
        self.assertEqual(self.found("no-guest-route"), [])
        one.send(arp(one.mac, one.address, "8.8.8.8"))
        finding = self.expect("no-guest-route", address=one.mac_text)
        self.assertIn("looks for 8.8.8.8", finding["fact"])
        self.assertIn(f"default via {GATEWAY}", finding["cure"])
        self.assertEqual(len(self.found("no-guest-route")), 1)


class ForwardTest(LanCase):
    options = ("--hostfwd", "tcp:127.0.0.1:0-10.0.2.15:22")

    def answer(self, guest, flags):
        """Answers the gateway's next SYN to port 22."""
        deadline = time.monotonic() + lan_harness.READY_LIMIT_S
        while time.monotonic() < deadline:
            got = guest.plug.receive()
            if got[12:14] != b"\x08\0" or got[23] != 6 or got[36:38] != struct.pack("!H", 22):
                continue
            sequence = struct.unpack("!I", got[38:42])[0]
            segment = struct.pack("!HHIIBBHHH", 22, struct.unpack("!H", got[34:36])[0], 7,
                                  sequence + 1 & 0xffffffff, 5 << 4, flags, 1000, 0, 0)
            pseudo = got[30:34] + got[26:30] + struct.pack("!HH", 6, len(segment))
            segment = segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:]
            head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 0, 0, 64, 6, 0, got[30:34], got[26:30])
            head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
            return guest.send(ethernet(guest.mac, got[6:12], 0x0800, head + segment))
        raise AssertionError("the gateway asked nothing")

    def test_without_and_with_a_guest_that_listens(self):
        self.assertIn("10.0.2.15:22 lets nobody in",
                      self.expect("forward-unanswered", mark="warning")["fact"])
        one = self.guest(1)
        self.assertEqual(one.take_lease(), "10.0.2.15")
        self.answer(one, 0x14)  # RST, ACK
        self.assertIn("start the server", self.expect("forward-unanswered")["cure"])
        self.answer(one, 0x12)  # SYN, ACK
        lan_harness.wait_for(lambda: not self.found("forward-unanswered"), "a forward in order")


class ReasonTest(LanCase):
    def test_what_a_guest_was_told(self):
        one = self.guest(1)
        one.take_lease()
        self.settle(2, 3)
        self.assertEqual(self.checks("reasons")[0]["mark"], "ok")
        for number in range(12):
            one.send(udp(one.mac, GATEWAY_MAC, one.address, f"8.8.8.{number}", (1, 99), b"x"))
        self.settle(2, 15)
        summary = self.expect("only-loopback")
        self.assertEqual((summary["id"], summary["address"]), ("flows", one.mac_text))
        self.assertIn(f"{one.mac_text} ({one.address}) on port 2: none of its flows came through (12 unreachable; "
                      "12 only-loopback), the last to 8.8.8.11 port 99 udp: ", summary["fact"])
        found = self.checks("reasons")
        self.assertEqual(summary["cure"], found[0]["cure"])
        self.assertIn(f"{one.address} → 8.8.8.11 port 99 udp", found[0]["fact"])
        self.assertIn('has only "lo"', found[0]["fact"])
        self.assertEqual(len(found), 10)
        self.assertIn("(and 2 before)", found[-1]["fact"])
        self.assertEqual({check["mark"] for check in found}, {"warning"})
        self.assertEqual(self.doctor()["verdict"], "problem")  # doctor() checks the exit status

    def test_one_place_is_all_that_a_guest_tries(self):
        one = self.guest(1)
        one.take_lease()
        one.send(udp(one.mac, GATEWAY_MAC, one.address, "8.8.8.8", (1, 99), b"x"))
        self.assertEqual(self.expect("only-loopback")["id"], "flows")

    def test_a_guest_that_is_denied_all_is_a_warning(self):
        self.lan.add_rule("deny", "any")
        one = self.guest(1)
        one.take_lease()
        for number in range(2):
            one.send(udp(one.mac, GATEWAY_MAC, one.address, f"8.8.8.{number}", (1, 99), b"x"))
        self.assertIn("none of its flows", self.expect("policy-denied", "warning", one.mac_text)["fact"])
        self.assertEqual(self.doctor()["verdict"], "warning")

    def test_a_guest_of_whose_flows_one_came_through_is_not_named(self):
        one = self.guest(1)
        one.take_lease()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            server.settimeout(10)
            port = server.getsockname()[1]
            for target, to in (("8.8.8.8", 99), ("8.8.4.4", 99), (GATEWAY, port)):
                one.send(udp(one.mac, GATEWAY_MAC, one.address, target, (1, to), b"x"))
            _, peer = server.recvfrom(100)
            server.sendto(b"y", peer)
        lan_harness.wait_for(lambda: any(flow["bytes_in"] for flow in self.lan.flows()["flows"]), "the answer")
        self.assertIn("none fails in all it tries", self.checks("flows")[0]["fact"])
        self.assertEqual(len(self.checks("reasons")), 2)


class VlanTest(LanCase):
    def test_a_guest_that_calls_the_gateway_in_a_vlan(self):
        for number, call in enumerate((lambda m: dhcp(m, 1, vid=5),
                                       lambda m: arp(m, "10.0.2.40", GATEWAY, vid=5),
                                       lambda m: udp(m, GATEWAY_MAC, "10.0.2.40", "8.8.8.8", (1, 2),
                                                     b"x", vid=5)), 1):
            with self.subTest(number):
                guest = self.guest(number)
                guest.send(call(guest.mac))
                finding = self.expect("wrong-vlan", address=guest.mac_text)
                self.assertIn("in VLAN 5", finding["fact"])
                self.assertIn("the gateway is untagged", finding["fact"])
        self.assertEqual(self.found("no-lease"), [])

    def test_guests_that_speak_in_a_vlan_among_themselves(self):
        one = self.guest(1)
        one.send(arp(one.mac, "172.16.0.1", "172.16.0.2", vid=7))
        finding = self.expect("wrong-vlan", mark="warning", address=one.mac_text)
        self.assertIn("is heard only in VLAN 7", finding["fact"])

    def test_a_trunk_beside_a_lease(self):
        one = self.guest(1)
        one.take_lease()
        one.send(arp(one.mac, "172.16.0.1", "172.16.0.2", vid=7))
        self.settle(2, 4)
        self.assertEqual(self.found("wrong-vlan"), [])
        one.send(dhcp(one.mac, 1, vid=7))
        self.expect("wrong-vlan", mark="warning", address=one.mac_text)


class DuplicateTest(LanCase):
    def test_one_mac_address_behind_two_ports(self):
        one, two = self.guest(1), self.guest(1)
        one.send(frame(one.mac))
        self.settle(2, 1)
        two.send(frame(two.mac))
        self.settle(3, 1)
        self.assertEqual(self.found("duplicate-mac"), [])  # it may have moved
        one.send(frame(one.mac))
        finding = self.expect("duplicate-mac", address=one.mac_text)
        self.assertIn("from port 3 and from port 2 by turns", finding["fact"])
        self.assertEqual(self.lan.stations()[0]["moves"], 2)

    def test_a_guest_that_declines_its_lease(self):
        one, two = self.guest(1), self.guest(2)
        address = one.take_lease()
        two.send(arp(two.mac, address, address))
        self.settle(3, 1)
        one.send(dhcp(one.mac, 4, bytes([50, 4]) + socket.inet_aton(address) + bytes([54, 4])
                      + socket.inet_aton(GATEWAY)))
        finding = self.expect("duplicate-ip", address=one.mac_text)
        self.assertIn(f"declined a lease of {address} (1 times", finding["fact"])
        self.assertIn(two.mac_text, finding["fact"])
        ctl = subprocess.run([lan_harness.LANYARD, "ctl", self.lan.directory, "guests"], text=True,
                             capture_output=True, check=True, timeout=20).stdout
        self.assertIn(f"1 leases declined, the last {address}", ctl)

    def test_one_ip_address_of_two_guests(self):
        one, two = self.guest(1), self.guest(2)
        one.send(arp(one.mac, "10.0.2.30", GATEWAY))
        self.settle(2, 1)
        two.send(arp(two.mac, "10.0.2.30", GATEWAY))
        self.settle(3, 1)
        self.assertEqual(self.found("duplicate-ip"), [])  # it may have been taken over
        self.assertIn(f"1 changed hands, the last 10.0.2.30 from {one.mac_text} to {two.mac_text}",
                      self.checks("ips")[0]["fact"])
        one.send(arp(one.mac, "10.0.2.31", GATEWAY))  # it is still there
        self.assertIn(f"10.0.2.30 went from {one.mac_text} to {two.mac_text}",
                      self.expect("duplicate-ip", mark="warning", address=two.mac_text)["fact"])
        one.send(arp(one.mac, "10.0.2.30", GATEWAY))
        finding = self.expect("duplicate-ip", address=one.mac_text)
        self.assertIn(f"10.0.2.30 is claimed by {one.mac_text} and by {two.mac_text}",
                      finding["fact"])

    def test_one_ipv6_address_of_two_guests(self):
        one, two = self.guest(1), self.guest(2)
        for guest, port in ((one, 2), (two, 3), (one, 2)):
            before = self.lan.port(port)["counters"]["ingress_frames"]
            guest.send(advertisement(guest.mac, "fec0::77"))
            self.settle(port, before + 1)
        finding = self.expect("duplicate-ip", address=one.mac_text)
        self.assertIn("fec0::77", finding["fact"])

    def test_the_gateways_own_address(self):
        one = self.guest(1)
        one.send(arp(one.mac, GATEWAY, "10.0.2.15"))
        finding = self.expect("duplicate-ip", address=one.mac_text)
        self.assertIn("the gateway", finding["fact"])


class PlugTest(LanCase):
    def flood(self, guest, frames, size=1500):
        for _ in range(frames):
            guest.send(frame(guest.mac, size=size))

    def drain(self, guest, port):
        lan_harness.wait_for(
            lambda: not guest.plug.receive_all()
            and self.lan.port(port)["plugs"][0]["waiting_frames"] == 0, "the queue to be empty")

    def test_a_plug_that_takes_nothing(self):
        one, stuck, well = self.guest(1), self.guest(2), self.guest(3)
        for guest in (stuck, well):
            guest.take_lease()
        one.take_lease()
        self.flood(one, 200, size=9000)
        self.settle(2, 203)
        self.drain(well, 4)
        finding = self.expect("plug-dead", wait_s=0.3)
        self.assertEqual(finding["port"], 3)
        self.assertIn("takes nothing", finding["fact"])
        self.assertEqual(len(self.found("plug-dead", wait_s=0.3)), 1)
        # It reads on, and all is well.
        self.drain(stuck, 3)
        self.assertEqual(self.found("plug-dead", wait_s=0.3), [])

    def test_a_receiver_that_loses_frames(self):
        one, stuck = self.guest(1), self.guest(2)
        self.flood(one, 600, size=9000)
        lan_harness.wait_for(lambda: self.lan.port(3)["counters"]["drops"].get("queue-full"),
                             "a full queue")
        drops = self.checks("drops")
        self.assertEqual([check["port"] for check in drops], [3])
        self.assertIn("queue-full", drops[0]["fact"])
        self.assertEqual(drops[0]["mark"], "warning")
        stuck.plug.receive_all()

    def test_a_front_end_whose_guest_does_not_drive_its_card(self):
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.connect(f"{self.lan.directory}/vhost-user")
        finding = self.expect("plug-dead", mark="warning")
        self.assertIn("does not use its network card", finding["fact"])

    def test_a_plug_that_never_sends(self):
        one, mute = self.guest(1), self.guest(2)
        one.take_lease()
        finding = self.expect("plug-dead", mark="warning")
        self.assertIn("has never sent a frame", finding["fact"])
        self.assertEqual(finding["port"], 3)
        mute.take_lease()
        self.assertEqual(self.found("plug-dead"), [])

    def test_a_link_that_is_down(self):
        one = self.guest(1)
        one.take_lease()
        self.lan.set_link(2, up=False)
        link = self.checks("plugs")[0]
        self.assertEqual((link["mark"], link["port"]), ("warning", 2))
        self.assertIn("link 2 up", link["cure"])
        self.lan.set_link(2, up=True)
        self.assertEqual(self.checks("plugs")[0]["mark"], "ok")

    def test_frames_too_long_for_a_port(self):
        one = self.guest(1)
        one.take_lease()
        self.assertEqual(self.checks("mtu")[0]["mark"], "ok")
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect(f"{self.lan.directory}/stream")
            long = frame(mac(9), size=20000)
            stream.sendall(struct.pack("!I", len(long)) + long)
            lan_harness.wait_for(lambda: self.lan.port(2)["counters"]["drops"].get("too-long"),
                                 "a frame that is too long")
        finding = self.checks("mtu")[0]
        self.assertEqual((finding["mark"], finding["port"]), ("warning", 2))

    def test_packets_beyond_the_networks_mtu(self):
        one = self.guest(1)
        one.take_lease()
        one.send(udp(one.mac, GATEWAY_MAC, one.address, GATEWAY, (1, 2), bytes(3000)))
        self.settle(2, 4)
        finding = self.checks("mtu")[0]
        self.assertEqual(finding["mark"], "warning")
        self.assertIn("frames of 3042 bytes; the network's MTU is 1500", finding["fact"])

    def test_two_ports_wired_together(self):
        one, left, right = self.guest(1), self.guest(2), self.guest(3)
        one.take_lease()
        over = threading.Event()
        self.addCleanup(over.set)

        def carry(source, sink):
            source.plug.data.settimeout(0.05)
            while not over.is_set():
                try:
                    sink.plug.data.send(source.plug.data.recv(70000))
                except OSError:
                    pass

        carriers = [threading.Thread(target=carry, args=ends, daemon=True)
                    for ends in ((left, right), (right, left))]
        for carrier in carriers:
            carrier.start()
        deadline = time.monotonic() + lan_harness.READY_LIMIT_S
        while self.checks("loops")[0]["mark"] != "problem":
            self.assertLess(time.monotonic(), deadline)
            for number in range(20):
                one.send(frame(one.mac, mark=struct.pack("!Q", time.monotonic_ns() + number)))
        loop = self.checks("loops")[0]
        self.assertRegex(loop["fact"], r"through ports .*[34]")
        self.assertEqual(self.found("duplicate-mac"), [])
        over.set()
        for carrier in carriers:
            carrier.join()


class CaptureTest(LanCase):
    nat = False
    options = ("--capture", "/dev/full")

    def test_a_capture_on_a_full_disk(self):
        self.assertIn("1 run and miss nothing", self.checks("captures")[0]["fact"])
        one = self.guest(1)
        lan_harness.wait_for(lambda: one.send(frame(one.mac)) or self.lan.captures()[0]["trouble"],
                             "a capture that finds its disk full")
        one.send(frame(one.mac))
        event = self.lan.wait_for_event("capture-incomplete")
        self.assertEqual((event["file"], event["why"]), ("/dev/full", "No space left on device"))
        check, = self.checks("captures")
        self.assertEqual(check["mark"], "warning")
        self.assertRegex(check["fact"], r"capture 1 to /dev/full misses \d+ frames: No space left on device")


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
        self.assertIn("1 ports, 1 guests, no gateway", done.stdout)

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
        for answer, status in ((b"hello\r\n\r\n", 76), (self.http(b"not json"), 76),
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
                directory = self.serve(lambda path: self.http(bodies.get(path, thing)))
                with self.subTest(value=value, words=words):
                    done = run_doctor("--lan", directory, "--wait", "0", *words)
                    self.assertIn(done.returncode, (0, 1), done.stderr)
                    self.assertNotIn("\x1b", done.stdout)


class UserTest(LanCase):
    @unittest.skipUnless(os.getuid() == 0, "only root can become nobody")
    def test_as_nobody(self):
        os.chmod(os.path.dirname(self.lan.directory), 0o711)
        nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
        mine = tempfile.TemporaryDirectory(prefix="nobody.")
        self.addCleanup(mine.cleanup)
        os.chown(mine.name, 65534, 65534)
        lan = subprocess.Popen([*nobody, lan_harness.LANYARD, "switch", f"{mine.name}/lan", "--nat"],
                               stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               preexec_fn=lan_harness.die_with_parent)
        self.addCleanup(lan.wait)
        self.addCleanup(lan.terminate)
        lan_harness.wait_for(lambda: os.path.exists(f"{mine.name}/lan/ctl"), "the LAN")
        done = run_doctor("--lan", f"{mine.name}/lan", "--wait", "0", prefix=nobody)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        closed = run_doctor("--lan", self.lan.directory, "--wait", "0", prefix=nobody)
        self.assertEqual((closed.returncode, closed.stdout), (69, ""))
        host = run_doctor("--json", prefix=nobody)
        self.assertIn(host.returncode, (0, 1))
        self.assertEqual(json.loads(host.stdout)["checks"][0]["id"], "ipv4-route")


if __name__ == "__main__":
    lan_harness.main()
