"""Names and leases as real guests see them: stock udhcpc and nslookup behind the gateway."""

import lan_harness
from lan_harness import LanTest, tcpdump_lines
from name_server import NameServer

MEETING_PORT = 9
MAC = "52:54:00:00:0a:09"


class Names(LanTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        lan_harness.use_resolv_conf("nameserver 127.0.0.1\n")

    def test_one_guest_with_all_options(self):
        """A static lease, the options it tells, and every kind of local name."""
        capture = self.folder / "lan.pcap"
        guest = self.start_guest(
            "web", ["cat /etc/resolv.conf", "cat /sys/class/net/eth0/mtu", "nslookup web.lab.test",
                    "nslookup db.lab.test", "nslookup 10.0.2.9", "nslookup absent.lab.test",
                    "retry 15 nslookup gateway.lab.test fec0::3", "nslookup example.com",
                    "udhcpc -i eth0 -n -q -f -t 3 -T 1 -R", "nslookup web.lab.test"],
            ["--mac", MAC, "--lease", f"{MAC}=10.0.2.9", "--domain", "lab.test", "--host",
             "db=10.0.2.20", "--host", "db=2001:db8::20", "--mtu", "1400", "--capture", capture],
            ["--name", "web"])
        console = guest.finish()
        self.assertEqual(console.lease.address, "10.0.2.9")
        resolv, mtu, own, db, reverse, absent, gateway6, outside, renewed, gone = console.commands
        self.assertIn("search lab.test", resolv.output)
        self.assertEqual(mtu.output.strip(), "1400")
        self.assert_command(own)
        self.assertIn("Address: 10.0.2.9", own.output)
        self.assert_command(db)
        self.assertIn("Address: 10.0.2.20", db.output)
        self.assertIn("Address: 2001:db8::20", db.output)
        self.assert_command(reverse)
        self.assertIn("name = web.lab.test", reverse.output)
        self.assert_command(absent, status=1)
        self.assertIn("NXDOMAIN", absent.output)
        self.assert_command(gateway6)
        self.assertIn("Address: 10.0.2.2", gateway6.output)
        self.assert_command(outside, status=1)
        self.assertIn("nobody listens at 127.0.0.1 of /etc/resolv.conf", guest.stderr())
        self.assertIn('The guest is told "Destination Port Unreachable"', guest.stderr())
        self.assert_command(renewed)
        self.assertIn("lease of 10.0.2.9 obtained", renewed.output)
        self.assert_command(gone, status=1)  # -R gave the lease back, and the name with it
        verbose = "\n".join(tcpdump_lines(capture, "port 67 or port 68"))
        self.assertIn("BOOTP/DHCP, Reply", verbose)

    def test_two_guests_know_each_other(self):
        """Host names go from the leases into the DNS; other names go to the host's nameserver."""
        server = NameServer({"files.lanyard.test": ["203.0.113.10"]})
        self.addCleanup(server.close)
        directory, switch = self.start_lan("--nat")
        a = self.start_guest("a", ["retry 60 nslookup beta.lan", f"nc -l -p {MEETING_PORT}"],
                             ["--lan", directory], ["--name", "alpha"])
        b = self.start_guest("b", ["retry 60 nslookup alpha.lan", "nslookup files.lanyard.test",
                                   f"retry 60 sh -c 'nslookup alpha.lan | sed -n \"s/^Address: //p\" "
                                   f"| tail -n 1 >/tmp/a; echo hello | nc -w 5 $(cat /tmp/a) "
                                   f"{MEETING_PORT}'"],
                             ["--lan", directory], ["--name", "beta"])
        consoles = a.finish(), b.finish()
        addresses = {console.lease.address for console in consoles}
        self.assertEqual(addresses, {"10.0.2.15", "10.0.2.16"})
        for console in consoles:
            for command in console.commands:
                self.assert_command(command)
        self.assertIn(f"Address: {consoles[1].lease.address}", consoles[0].commands[0].output)
        self.assertIn("hello", consoles[0].commands[1].output)
        self.assertIn("Address: 203.0.113.10", consoles[1].commands[1].output)
        asked = {name for name, _ in server.queries}
        self.assertFalse({name for name in asked if name.endswith(".lan")}, "names left the LAN")
        self.assertTrue(switch.running(), switch.stderr())


if __name__ == "__main__":
    lan_harness.main()
