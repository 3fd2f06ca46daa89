"""One real guest behind `lanyard run`: lease, ping, download, IPv6, forwards, capture, status."""

import re
import socket
import time

import lan_harness
from lan_harness import LanTest, make_blob, read_lines, tcpdump_lines, web_server
from name_server import NameServer

BLOB_SIZE = 8 * 1000 * 1000
FORWARDED_WORDS = "from inside the guest"


class OneGuest(LanTest):
    def test_lease_ping_download_capture(self):
        served = self.folder / "served"
        served.mkdir()
        checksum = make_blob(served / "blob", BLOB_SIZE)
        capture = self.folder / "capture.pcap"
        with web_server(served) as port:
            guest = self.start_guest("guest", [
                "ping -c 3 -i 0.2 10.0.2.2",
                f"wget -q -O - http://10.0.2.2:{port}/blob | sha256sum",
                "cat /etc/resolv.conf",
            ], run_options=["--capture", capture])
            console = guest.finish()

        self.assertIsNotNone(console.lease, guest.stdout())
        self.assertEqual(console.lease.address, "10.0.2.15")
        self.assertEqual(console.lease.gateway, "10.0.2.2")
        self.assertEqual(console.lease.name_servers, ["10.0.2.3"])
        ping, download, resolv = console.commands
        self.assert_command(ping)
        self.assertIn("3 packets transmitted, 3 received, 0% packet loss", ping.output)
        self.assertNotIn("DUP", ping.output)
        self.assert_command(download)
        self.assertEqual(download.output.split()[0], checksum)
        self.assertIn("nameserver 10.0.2.3", resolv.output)
        self.judge_capture(capture)
        self.assert_nothing_left()

    def judge_capture(self, capture):
        """Both readers find the conversation, whole: no frame cut, each request with its answer."""
        lines = tcpdump_lines(capture)
        for pattern in ("BOOTP/DHCP, Request", "BOOTP/DHCP, Reply", "ARP, Request who-has 10.0.2.2",
                        "ARP, Reply 10.0.2.2 is-at", "Flags [S]", "Flags [S.]"):
            self.assert_some(lines, pattern)
        self.assertEqual(sum("ICMP echo request" in line for line in lines), 3)
        self.assertEqual(sum("ICMP echo reply" in line for line in lines), 3)
        fields = read_lines("tshark", "-n", "-r", capture, "-T", "fields", "-e",
                            "_ws.col.Protocol", "-e", "frame.len", "-e", "frame.cap_len",
                            "-e", "frame.time_epoch")
        self.assertEqual(len(fields), len(lines))
        rows = [field.split("\t") for field in fields]
        self.assertLessEqual({"DHCP", "ARP", "ICMP", "TCP"}, {row[0] for row in rows})
        self.assertTrue(all(length == kept for _, length, kept, _ in rows))
        received = tcpdump_lines(capture, "src host 10.0.2.2 and tcp")
        payload = sum(int(re.search(r"length (\d+)", line)[1]) for line in received)
        self.assertGreaterEqual(payload, BLOB_SIZE)
        moments = [float(row[3]) for row in rows]
        self.assertLess(abs(moments[-1] - time.time()), lan_harness.GUEST_LIMIT_S)

    def test_ipv6_address_and_gateway(self):
        console = self.start_guest("guest", [
            "retry 15 sh -c 'ip -6 address show dev eth0 scope site | grep -v tentative | "
            "grep -o fec0::[0-9a-f:]*'",
            "retry 15 ping -6 -c 1 -W 1 fec0::2",
            "ip -6 route show default",
        ]).finish()
        address, ping, route = console.commands
        self.assert_command(address)
        self.assertIn("fec0::", address.output)
        self.assert_command(ping)
        self.assertIn("1 received", ping.output)
        self.assertIn("default via fe80::2", route.output)

    def test_names(self):
        """Questions to 10.0.2.3 reach the first nameserver of resolv.conf, and its answers return."""
        server = NameServer({"files.lanyard.test": ["203.0.113.10", "2001:db8::10"]})
        self.addCleanup(server.close)
        lan_harness.use_resolv_conf("nameserver 127.0.0.1\n")
        known, absent = self.start_guest("guest", ["nslookup files.lanyard.test",
                                                   "nslookup absent.lanyard.test"]).finish().commands
        self.assert_command(known)
        self.assertIn("Address: 203.0.113.10", known.output)
        self.assertIn("Address: 2001:db8::10", known.output)
        self.assert_command(absent, status=1)
        self.assertIn("NXDOMAIN", absent.output)
        self.assertIn(("files.lanyard.test", 1), server.queries)

    def test_other_network(self):
        console = self.start_guest("guest", ["ping -c 1 192.168.77.2"],
                                   run_options=["--net", "192.168.77.0/24"]).finish()
        self.assertEqual(console.lease.address, "192.168.77.15")
        self.assertEqual(console.lease.gateway, "192.168.77.2")
        self.assert_command(console.commands[0])

    def test_forward_into_the_guest(self):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        guest = self.start_guest("guest", [f"echo {FORWARDED_WORDS} | nc -l -p 22"],
                                 run_options=["--hostfwd", f"tcp:127.0.0.1:{port}-:22"])
        heard = self.listen_to(port)
        console = guest.finish()
        self.assertEqual(heard.strip(), FORWARDED_WORDS)
        self.assert_command(console.commands[0])

    def listen_to(self, port):
        """What the forward says once the guest listens: until then it is refused or empty."""
        heard = []

        def attempt():
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                    connection.shutdown(socket.SHUT_WR)
                    heard.append(connection.makefile("r").read())
            except OSError:
                return False
            return bool(heard[-1])

        lan_harness.wait_for(attempt, "the forwarded connection", lan_harness.GUEST_LIMIT_S)
        return heard[-1]

    def test_status_of_qemu_passes_through(self):
        """A wrapper gets the card like QEMU itself, and its status comes out."""
        wrapper = self.folder / "wrapper"
        wrapper.write_text('#!/bin/sh\n"$@" || exit\nexit 43\n')
        wrapper.chmod(0o755)
        words = self.guest_words(["ping -c 1 10.0.2.2"])
        guest = self.start("guest", [lan_harness.LANYARD, "run", "--", wrapper, *words],
                           kind=lan_harness.Guest)
        self.assertEqual(guest.wait(lan_harness.GUEST_LIMIT_S), 43, guest.stderr())
        self.assertTrue(guest.console().done)
        self.assert_command(guest.console().commands[0])
        self.assert_nothing_left()


if __name__ == "__main__":
    lan_harness.main()
