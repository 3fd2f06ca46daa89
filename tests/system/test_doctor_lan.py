"""`lanyard doctor --lan`: each verdict on guests, provoked on a running LAN by frames made here."""

import socket
import struct
import subprocess
import threading
import time

import lan_harness
from doctor_lan_bed import GATEWAY, GATEWAY_MAC, LanCase, advertisement, arp, checksum, dhcp, ethernet, mac_text, \
    run_doctor, udp
from vde_harness import frame, mac


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
        self.assertIn("asked for a lease 1 time,", finding["fact"])

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
        self.assertEqual(len(found), 6)
        self.assertEqual((found[-1]["fact"], found[-1]["more"]), ("and 7 more such warnings", 7))
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
        self.settle(2, 5)
        check, = self.checks("flows")
        self.assertEqual((check["mark"], check["cause"]), ("warning", "policy-denied"))
        self.assertIn("none of its flows", check["fact"])
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
        self.assertIn(f"declined a lease of {address} (1 time,", finding["fact"])
        self.assertIn(two.mac_text, finding["fact"])
        ctl = subprocess.run([lan_harness.LANYARD, "ctl", self.lan.directory, "guests"], text=True,
                             capture_output=True, check=True, timeout=20).stdout
        self.assertIn(f"1 lease declined, the last {address}", ctl)

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

    def test_a_guest_that_claims_many_addresses(self):
        one, two = self.guest(1), self.guest(2)
        for number in range(30, 36):
            one.send(arp(one.mac, f"10.0.2.{number}", GATEWAY))
        self.settle(2, 6)
        check, = self.checks("ips")
        self.assertEqual((check["mark"], check["address"]), ("warning", one.mac_text))
        self.assertRegex(check["fact"], r"on port 2 claims 6 addresses without a lease: 10\.0\.2\.30, .* and 3 more")
        for guest, port, frames in ((two, 3, 1), (one, 2, 7)):
            guest.send(arp(guest.mac, "10.0.2.35", GATEWAY))
            self.settle(port, frames)
        finding = self.expect("duplicate-ip", address=one.mac_text)
        self.assertIn(f"1 of them is another's, such as 10.0.2.35 of {two.mac_text}", finding["fact"])
        self.assertEqual(len(self.found("duplicate-ip")), 1)

    def test_one_ipv6_address_of_two_guests(self):
        one, two = self.guest(1), self.guest(2)
        for guest, port in ((one, 2), (two, 3), (one, 2)):
            before = self.lan.port(port)["counters"]["ingress_frames"]
            guest.send(advertisement(guest.mac, "fec0::77"))
            self.settle(port, before + 1)
        finding = self.expect("duplicate-ip", address=one.mac_text)
        self.assertIn("fec0::77", finding["fact"])

    def test_the_gateways_own_addresses(self):
        for number, address in enumerate((GATEWAY, "10.0.2.3"), 1):
            one = self.guest(number)
            one.send(arp(one.mac, address, "10.0.2.15"))
            finding = self.expect("duplicate-ip", address=one.mac_text)
            self.assertIn(f"{address} is claimed by {one.mac_text}", finding["fact"])
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


if __name__ == "__main__":
    lan_harness.main()
