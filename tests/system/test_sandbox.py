"""Why can the guest not reach 8.8.8.8? Sandboxes with only "lo", and a network where it exists.

The far side of a veth pair owns 8.8.8.8 here; nothing leaves the namespaces of the test.
"""

import re

import lan_harness
from lan_harness import LanTest, NetNamespace

OUTSIDE = "8.8.8.8"
ONLY_LO = 'lanyard: 10.0.2.15 → 8.8.8.8 icmp echo: no route: this network namespace has only "lo"'
TOLD = 'The guest is told "Destination Net Unreachable". Try: '
# Host namespace: eth0 10.1.0.2, its router 10.1.0.1 on the far side, which is 8.8.8.8 as well.
FAR_SIDE = f"""
ip addr add 10.1.0.1/24 dev eth0
ip addr add {OUTSIDE}/32 dev lo
ip link set eth0 up
"""
NEAR_SIDE = """
ip addr add 10.1.0.2/24 dev eth0
ip link set eth0 up
ip route add default via 10.1.0.1
"""


def echoes_seen(namespace):
    """How many echo requests arrived there."""
    names, values = [line.split() for line in namespace.run("cat /proc/net/snmp").splitlines()
                     if line.startswith("Icmp:")]
    return int(values[names.index("InEchos")])


class OnlyLoopback(LanTest):
    def run_in_sandbox(self, env):
        host = NetNamespace()
        self.addCleanup(host.close)
        guest = self.start_guest("guest", [f"ping -c 3 -i 0.3 -W 2 {OUTSIDE}", "ping -c 1 10.0.2.2"],
                                 prefix=["env", "-u", "NIX_BUILD_TOP", *host.prefix(),
                                         "env", *env])
        console = guest.finish()
        outside, gateway = console.commands
        self.assert_command(outside, status=1)
        self.assertIn(f"From 10.0.2.2 icmp_seq=1 Destination Net Unreachable", outside.output)
        self.assertIn("3 packets transmitted, 0 received, +3 errors", outside.output)
        self.assert_command(gateway)
        explained, summary = [line for line in guest.stderr().splitlines() if OUTSIDE in line]
        self.assertEqual(summary, "lanyard: 10.0.2.15 → 8.8.8.8 icmp echo: no route: … 2 more times")
        return explained

    def test_plain_namespace(self):
        line = self.run_in_sandbox([])
        self.assertTrue(line.startswith(f"{ONLY_LO}. {TOLD}"), line)
        self.assertNotIn("NIX_BUILD_TOP", line)

    def test_nix_build_sandbox(self):
        self.assertEqual(
            self.run_in_sandbox(["NIX_BUILD_TOP=/build"]),
            f"{ONLY_LO} (a Nix build sandbox: NIX_BUILD_TOP is set). {TOLD}"
            "--option sandbox false, or keep the test offline.")


class FarSide(LanTest):
    def setUp(self):
        super().setUp()
        self.host, self.far = NetNamespace(), NetNamespace()
        self.addCleanup(self.host.close)
        self.addCleanup(self.far.close)
        self.host.run(f"ip link add eth0 type veth peer name eth0 netns {self.far.pid}")
        self.far.run(FAR_SIDE)
        self.host.run(NEAR_SIDE)

    def allow_ping(self):
        """A new namespace allows it to no group."""
        self.host.run("echo '0 0' >/proc/sys/net/ipv4/ping_group_range")

    def test_ping_with_groups_open(self):
        """The replies are the far side's own: as many as it got requests, in order, with its TTL
        less the one hop the gateway is."""
        self.allow_ping()
        guest = self.start_guest("guest", [f"ping -c 3 -i 0.3 {OUTSIDE}",
                                           f"ping -c 1 -W 2 -t 1 {OUTSIDE}"],
                                 prefix=self.host.prefix())
        ping, short = guest.finish().commands
        self.assert_command(ping)
        replies = re.findall(r"64 bytes from 8\.8\.8\.8: icmp_seq=(\d+) ttl=(\d+) ", ping.output)
        self.assertEqual(replies, [("1", "63"), ("2", "63"), ("3", "63")], ping.output)
        self.assertNotIn("DUP", ping.output)
        self.assert_command(short, status=1)
        self.assertIn("From 10.0.2.2 icmp_seq=1 Time to live exceeded", short.output)
        self.assertEqual(echoes_seen(self.far), 3)
        told = [line for line in guest.stderr().splitlines() if OUTSIDE in line]
        self.assertEqual(len(told), 1, told)  # of the second ping only
        self.assertIn("the hop limit ended at the gateway", told[0])

    def test_silence_is_no_reply(self):
        """The far side drops the request: no reply, no forged one."""
        self.allow_ping()
        self.far.run("echo 1 >/proc/sys/net/ipv4/icmp_echo_ignore_all")
        ping, = self.start_guest("guest", [f"ping -c 2 -i 0.3 -W 2 {OUTSIDE}"],
                                 prefix=self.host.prefix()).finish().commands
        self.assert_command(ping, status=1)
        self.assertIn("2 packets transmitted, 0 received, 100% packet loss", ping.output)

    def test_ping_with_groups_shut(self):
        """Explained, not sent: no raw socket takes the place of the ping socket."""
        guest = self.start_guest("guest", [f"ping -c 2 -i 0.3 -W 2 {OUTSIDE}"],
                                 prefix=self.host.prefix())
        ping, = guest.finish().commands
        self.assert_command(ping, status=1)
        self.assertIn("From 10.0.2.2 icmp_seq=1 Packet filtered", ping.output)
        explained, summary = [line for line in guest.stderr().splitlines() if OUTSIDE in line]
        said = "lanyard: 10.0.2.15 → 8.8.8.8 icmp echo: ping not permitted: "
        self.assertTrue(explained.startswith(said), explained)
        self.assertIn("ping_group_range", explained)
        self.assertEqual(summary, said + "… 1 more time")
        self.assertEqual(echoes_seen(self.far), 0)

    def test_download_from_far_side(self):
        """TCP and UDP leave through the host's own route."""
        server = self.start("far", [*self.far.prefix(), "python3", "-m", "http.server", "--bind",
                                    OUTSIDE, "--directory", self.folder, "8080"])
        (self.folder / "words").write_text("far words\n")
        guest = self.start_guest("guest", [f"wget -q -O - http://{OUTSIDE}:8080/words",
                                           f"nc -w 5 {OUTSIDE} 8081"],
                                 prefix=self.host.prefix())
        page, refused = guest.finish().commands
        self.assert_command(page)
        self.assertEqual(page.output, "far words")
        self.assert_command(refused, status=1)
        self.assertIn("refused", refused.output)
        self.assertTrue(server.running())


if __name__ == "__main__":
    lan_harness.main()
