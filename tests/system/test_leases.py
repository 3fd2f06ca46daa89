"""Leases when the switch is started again: its guests go on with the addresses they have."""

import socket

import lan_harness
from doctor_lan_bed import GATEWAY, GATEWAY_MAC, LanCase, dhcp, lanyard, udp


class RestartTest(LanCase):
    def start_again(self):
        directory = self.lan.directory
        self.lan.stop()
        self.lan = lanyard.Lan(directory, nat=True, program=lan_harness.LANYARD)
        self.addCleanup(self.lan.stop)

    def test_a_newcomer_is_not_given_an_address_in_use(self):
        address = self.guest(1).take_lease()
        self.start_again()
        old = self.guest(1)
        old.send(udp(old.mac, GATEWAY_MAC, address, GATEWAY, (1, 99), b"x"))  # it goes on as before
        self.settle(2, 1)
        self.assertEqual(self.guest(2).take_lease(), "10.0.2.16")
        old.send(dhcp(old.mac, 3, bytes([50, 4]) + socket.inet_aton(address)))  # it boots, and remembers
        old.await_dhcp(5)


if __name__ == "__main__":
    lan_harness.main()
