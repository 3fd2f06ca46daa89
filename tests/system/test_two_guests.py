"""Two real guests on one LAN reach each other, and the gateway, over every kind of plug."""

import lan_harness
from lan_harness import LanTest, tcpdump_lines

ADDRESS_A, ADDRESS_B = "10.0.2.50", "10.0.2.51"
MAC_A, MAC_B = "52:54:00:00:0a:01", "52:54:00:00:0b:02"
MEETING_PORT = 9


def commands_of_a(peer):
    """A leaves last: it waits at MEETING_PORT until B has said it is through."""
    return [f"retry 60 ping -c 1 -W 1 {peer}", f"ping -c 5 -i 0.2 {peer}", "ping -c 2 -i 0.2 10.0.2.2",
            f"nc -l -p {MEETING_PORT}"]


def commands_of_b(peer):
    return [f"retry 60 ping -c 1 -W 1 {peer}", f"ping -c 5 -i 0.2 {peer}", "ping -c 2 -i 0.2 10.0.2.2",
            f"retry 60 sh -c 'echo through | nc -w 5 {peer} {MEETING_PORT}'"]


class TwoGuests(LanTest):
    def judge(self, a, b):
        consoles = a.finish(), b.finish()
        for console in consoles:
            first, pings, gateway, meeting = console.commands
            self.assert_command(first)
            self.assert_command(pings)
            self.assertIn("5 packets transmitted, 5 received, 0% packet loss", pings.output)
            self.assertNotIn("DUP", pings.output)
            self.assert_command(gateway)
            self.assertIn("2 received", gateway.output)
            self.assert_command(meeting)
        self.assertIn("through", consoles[0].commands[3].output)
        return consoles

    def judge_end(self, directory, switch):
        self.assertTrue(switch.running(), switch.stderr())
        self.assertEqual(switch.stop(), 0, switch.stderr())
        self.assertFalse(directory.exists(), "the LAN's directory is still there")

    def test_joined_by_lanyard_run(self):
        """One static and one leased address, cards of lanyard's choice, and a capture of both."""
        capture = self.folder / "lan.pcap"
        directory, switch = self.start_lan("--nat", "--capture", capture)
        a = self.start_guest("a", commands_of_a("10.0.2.15"), ["--lan", directory],
                             ["--name", "a", "--ip", f"{ADDRESS_A}/24"])
        b = self.start_guest("b", commands_of_b(ADDRESS_A), ["--lan", directory],
                             ["--name", "b"])
        _, console_b = self.judge(a, b)
        self.assertEqual(console_b.lease.address, "10.0.2.15")
        self.judge_end(directory, switch)
        a_to_b = tcpdump_lines(capture, "icmp[icmptype] == icmp-echo and "
                               f"src host {ADDRESS_A} and dst host 10.0.2.15")
        self.assertGreaterEqual(len(a_to_b), 6)
        self.assertEqual(len(a_to_b), len(set(a_to_b)), "a frame was captured twice")

    def test_stock_qemu_plugs(self):
        """QEMU by itself: -netdev vde on one side, -netdev stream on the other."""
        directory, switch = self.start_lan("--nat")
        a = self.start_stock_guest("a", commands_of_a(ADDRESS_B), f"vde,sock={directory}", MAC_A,
                                   ["--name", "a", "--ip", f"{ADDRESS_A}/24"])
        b = self.start_stock_guest(
            "b", commands_of_b(ADDRESS_A),
            f"stream,server=off,addr.type=unix,addr.path={directory}/stream", MAC_B,
            ["--name", "b", "--ip", f"{ADDRESS_B}/24"])
        self.judge(a, b)
        self.judge_end(directory, switch)

    def test_vde_beside_lanyard_run(self):
        """A stock VDE guest leases from the gateway and meets one that joined by lanyard run."""
        directory, switch = self.start_lan("--nat")
        a = self.start_stock_guest("a", commands_of_a(ADDRESS_B), f"vde,sock={directory}", MAC_A,
                                   ["--name", "a"])
        b = self.start_guest("b", commands_of_b("10.0.2.15"), ["--lan", directory],
                             ["--name", "b", "--ip", f"{ADDRESS_B}/24"])
        console_a, _ = self.judge(a, b)
        self.assertEqual(console_a.lease.address, "10.0.2.15")
        self.judge_end(directory, switch)


if __name__ == "__main__":
    lan_harness.main()
