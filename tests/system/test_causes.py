"""Every cause of unreachability in namespaces made for it, and the same verdict in all five places:
what the guest gets (ICMP), the log, the events, `lanyard doctor`, and the comment of the packet in
the capture. The guest is this program: crafted frames through a VDE plug.
"""

import subprocess
import sys

import lan_harness
from causes_bed import (BEYOND, BEYOND6, NARROW, OUTSIDE, OUTSIDE6, PARAMETER6, ROUTER, ROUTER6, TIME_EXCEEDED,
                        TIME_EXCEEDED6, TOO_BIG6, UNREACHABLE, UNREACHABLE6, CauseTest, forbid)
from guest_frames import ipv4, ipv6, neighbour_advertisement, ping, ping6, query, syn, syn6, udp, udp6
from lan_harness import wait_for


class NoWay(CauseTest):
    def test_only_loopback(self):
        self.start_gateway()
        self.five("only-loopback", (UNREACHABLE, 0), ping(OUTSIDE), errno="ENETUNREACH")
        self.told(udp(OUTSIDE, 123), (UNREACHABLE, 0))
        self.told(syn(OUTSIDE, 443), (UNREACHABLE, 0))
        self.five("only-loopback", (UNREACHABLE6, 0), ping6(OUTSIDE6), to=OUTSIDE6)
        self.told(udp6(OUTSIDE6, 123), (UNREACHABLE6, 0))
        self.check_capture()

    def test_fixed_output_offline(self):
        self.environment = {"NIX_BUILD_TOP": "/build", "NIX_OUTPUT_CHECKED": "1"}
        self.start_gateway()
        self.five("fixed-output-offline", (UNREACHABLE, 0), ping(OUTSIDE))
        self.check_capture()

    def test_no_default_route(self):
        self.connect_far(routes=None)
        self.start_gateway()
        event, _ = self.five("no-default-route", (UNREACHABLE, 0), ping(OUTSIDE))
        self.assertIn('"eth0"', event["fact"])
        self.check_capture()

    def test_proxy_only(self):
        self.connect_far(routes=None)
        self.environment = {"https_proxy": "http://me:secret@10.1.0.1:3128/"}
        self.start_gateway()
        event, _ = self.five("proxy-only", (UNREACHABLE, 0), syn(OUTSIDE, 443))
        self.assertIn("https_proxy names 10.1.0.1:3128", event["fact"])
        self.assertNotIn("secret", self.switch.stderr())
        self.check_capture()

    def test_ipv6_only(self):
        self.connect_far()
        self.host.run("ip addr flush dev eth0 scope global; ip -6 addr add fd00::2/64 dev eth0 nodad;"
                      f"ip -6 route replace default via {ROUTER6}; ip route flush table main")
        self.start_gateway()
        self.five("ipv6-only", (UNREACHABLE, 0), ping(OUTSIDE))
        self.check_capture()

    def test_refusing_routes(self):
        self.connect_far()
        self.host.run("ip route add unreachable 8.8.1.0/24; ip route add prohibit 8.8.2.0/24;"
                      "ip route add blackhole 8.8.3.0/24; ip -6 route add unreachable 2001:db8:1::/48;"
                      "ip -6 route add prohibit 2001:db8:2::/48; ip -6 route add blackhole 2001:db8:3::/48")
        self.start_gateway()
        for third, kind, errno, code, code6 in (("1", "unreachable", "EHOSTUNREACH", 1, 3),
                                                ("2", "prohibit", "EACCES", 13, 1),
                                                ("3", "blackhole", "EINVAL", 1, 3)):
            with self.subTest(kind):
                to, to6 = f"8.8.{third}.8", f"2001:db8:{third}::1"
                event, _ = self.five(f"route-{kind}", (UNREACHABLE, code), ping(to), to=to, errno=errno)
                self.assertIn(f"{kind} 8.8.{third}.0/24", event["fact"])
                self.told(udp(to, 9), (UNREACHABLE, code))
                self.told(syn(to, 9), (UNREACHABLE, code))
                self.five(f"route-{kind}", (UNREACHABLE6, code6), ping6(to6), to=to6)
        self.check_capture()

    def test_refusing_rules(self):
        self.connect_far()
        self.host.run("ip rule add to 8.8.1.8 unreachable priority 101; ip rule add to 8.8.2.0/24 prohibit priority"
                      " 102; ip -6 rule add to 2001:db8:1::/48 unreachable priority 103")
        self.start_gateway()
        event, _ = self.five("route-unreachable", (UNREACHABLE, 1), ping("8.8.1.8"), to="8.8.1.8",
                             errno="ENETUNREACH")
        self.assertIn('rule "101: to 8.8.1.8/32 unreachable" covers 8.8.1.8', event["fact"])
        self.assertIn("ip rule del priority 101", event["cure"])
        self.five("route-prohibit", (UNREACHABLE, 13), udp("8.8.2.8", 9), to="8.8.2.8", errno="EACCES")
        self.five("route-unreachable", (UNREACHABLE6, 3), ping6("2001:db8:1::1"), to="2001:db8:1::1")
        self.check_capture()


class BrokenWay(CauseTest):
    def test_carrier_lost(self):
        self.connect_far()
        self.far.run("ip link set eth0 down")
        self.start_gateway()
        event, _ = self.five("carrier-lost", (UNREACHABLE, 1), ping(OUTSIDE))
        self.assertIn('"eth0", which has no carrier', event["fact"])
        self.check_capture()

    def test_neighbour_dead(self):
        self.connect_far()
        self.far.run(f"ip addr del {ROUTER}/24 dev eth0; ip -6 addr del {ROUTER6}/64 dev eth0")
        self.start_gateway()
        event, _ = self.five("neighbour-dead", (UNREACHABLE, 1), ping(OUTSIDE), errno="EHOSTUNREACH")
        self.assertIn(f"router {ROUTER}", event["fact"])
        self.assertIn("does not answer ARP", event["fact"])
        self.told(udp(OUTSIDE, 9), (UNREACHABLE, 1))
        self.told(syn(OUTSIDE, 9), (UNREACHABLE, 1))
        self.five("neighbour-dead", (UNREACHABLE6, 3), ping6(OUTSIDE6), to=OUTSIDE6)
        self.check_capture()


class ThisHost(CauseTest):
    def test_ping_not_permitted(self):
        self.connect_far(ping_open=False)  # a new namespace has the range closed
        self.start_gateway()
        self.five("ping-not-permitted", (UNREACHABLE, 13), ping(OUTSIDE), errno="EACCES")
        self.check_capture()

    def test_sockets_forbidden(self):
        self.connect_far()
        self.start_gateway(before=forbid(1))
        self.five("sockets-forbidden", (UNREACHABLE, 13), ping(OUTSIDE), before=forbid(1), errno="EPERM")
        self.told(udp(OUTSIDE, 9), (UNREACHABLE, 13))
        self.check_capture()

    def test_unknown(self):
        self.connect_far()
        self.start_gateway(before=forbid(12))
        event, _ = self.five("unknown", (UNREACHABLE, 0), ping(OUTSIDE), before=forbid(12), errno="ENOMEM")
        self.assertIn("ENOMEM", event["fact"])
        self.check_capture()

    def test_descriptors_exhausted(self):
        self.connect_far()
        self.start_gateway(before=["prlimit", "--nofile=100"])
        wait_for(lambda: self.events, "the first event")
        for identity in range(30):
            self.plug.send(ping(BEYOND, identity=identity))
        self.assertEqual(self.answer()[:2], (UNREACHABLE, 1))
        event = self.event("descriptors-exhausted")
        self.assertEqual(event["errno"], "EMFILE")
        self.assertIn("100 file descriptors", event["fact"])
        for port in (1001, 1002):  # libslirp says nothing of these by itself
            self.plug.send(udp(OUTSIDE, 9, source=port))
            self.plug.send(syn(OUTSIDE, 9, source=port))
        wait_for(lambda: {"udp", "tcp"} <= {event["target"]["protocol"] for event in self.events
                                            if event.get("cause") == "descriptors-exhausted"},
                 "an event for each protocol")
        self.assertIn("no file descriptor left", self.switch.stderr())

    def test_ports_exhausted(self):
        self.connect_far()
        self.far.run("ip neigh add 9.9.9.9 lladdr 02:00:00:00:00:09 dev x0 nud permanent")
        self.host.run("echo '40000 40001' >/proc/sys/net/ipv4/ip_local_port_range")
        self.start_gateway()
        for source in (1001, 1002):
            self.plug.send(syn(BEYOND, 9, source=source))
        self.five("ports-exhausted", (UNREACHABLE, 1), syn(BEYOND, 9, source=1003), doctor="",
                  errno="EADDRNOTAVAIL")
        self.check_capture()


class Firewall(CauseTest):
    """Of the host itself: nftables, where the kernel has it."""

    def rules(self, namespace, hook, *rules):
        try:
            namespace.run("nft add table inet t\n"
                          f"nft 'add chain inet t c {{ type filter hook {hook} priority 0; }}'\n" +
                          "\n".join(f"nft add rule inet t c {rule}" for rule in rules))
        except AssertionError as error:
            print(f"\n*** NO NFTABLES HERE: {self.id()} proves nothing. explain_test shows the judgement on facts, "
                  f"RemoteTest the errors of others.\n*** {error}", file=sys.stderr, flush=True)
            self.skipTest("this kernel or user has no nftables")

    def test_drops(self):
        self.connect_far()
        self.rules(self.host, "output", f"ip daddr {OUTSIDE} drop", f"ip6 daddr {OUTSIDE6} drop")
        self.start_gateway()
        event, _ = self.five("firewall-drops", (UNREACHABLE, 13), ping(OUTSIDE), errno="EPERM")
        self.assertIn("this host's own firewall", event["fact"])
        self.told(udp(OUTSIDE, 9), (UNREACHABLE, 13))
        self.plug.send(neighbour_advertisement())
        # Linux keeps the refusal of an ICMPv6 echo to itself: there, a drop is silence.
        self.five("firewall-drops", (UNREACHABLE6, 1), udp6(OUTSIDE6, 9), to=OUTSIDE6, doctor="no-answer")
        event, _ = self.five("firewall-drops", (UNREACHABLE, 13), syn(OUTSIDE, 443), doctor="")
        self.assertIn("TCP_INFO", event["fact"])  # no call has failed
        self.check_capture()

    def test_rejects(self):
        self.connect_far()
        self.rules(self.host, "output", f"ip daddr {OUTSIDE} reject with icmp type host-prohibited",
                   f"ip6 daddr {OUTSIDE6} reject with icmpv6 type admin-prohibited")
        self.start_gateway()
        self.five("firewall-rejects", (UNREACHABLE, 10), ping(OUTSIDE), errno="EHOSTUNREACH")
        self.told(udp(OUTSIDE, 9), (UNREACHABLE, 10))
        self.told(syn(OUTSIDE, 443), (UNREACHABLE, 10))
        self.assertNotIn("firewall-drops", [event.get("cause") for event in self.events])
        self.five("firewall-rejects", (UNREACHABLE6, 1), ping6(OUTSIDE6), to=OUTSIDE6)
        self.check_capture()


class Elsewhere(CauseTest):
    def test_remote_prohibited(self):
        self.connect_far()
        self.far.run("ip route add prohibit 8.8.2.0/24; ip -6 route add prohibit 2001:db8:2::/48")
        self.start_gateway()
        event, _ = self.five("remote-prohibited", (UNREACHABLE, 13), ping("8.8.2.8"), to="8.8.2.8", sender=ROUTER)
        self.assertIn(ROUTER, event["fact"])
        self.told(udp("8.8.2.8", 9), (UNREACHABLE, 13), sender=ROUTER)
        self.told(syn("8.8.2.8", 9), (UNREACHABLE, 13), sender=ROUTER)
        self.five("remote-prohibited", (UNREACHABLE6, 1), ping6("2001:db8:2::1"), to="2001:db8:2::1", sender=ROUTER6)
        self.check_capture()

    def test_refused_on_path(self):
        self.connect_far()
        self.far.run("ip route add unreachable 8.8.1.0/24; ip -6 route add unreachable 2001:db8:1::/48")
        self.start_gateway()
        self.five("refused-on-path", (UNREACHABLE, 1), ping("8.8.1.8"), to="8.8.1.8", sender=ROUTER)
        self.told(udp("8.8.1.8", 9), (UNREACHABLE, 1), sender=ROUTER)
        self.told(syn("8.8.1.8", 9), (UNREACHABLE, 1), sender=ROUTER)
        event, _ = self.five("refused-on-path", (UNREACHABLE6, 0), ping6("2001:db8:1::1"), to="2001:db8:1::1",
                             sender=ROUTER6)
        self.assertEqual(event["told"], "Destination unreachable: No route")  # what it said, no more
        self.check_capture()

    def test_port_closed(self):
        self.connect_far()
        self.start_gateway()
        self.five("port-closed", (UNREACHABLE, 3), udp(OUTSIDE, 9), sender=OUTSIDE, doctor="")
        self.check_capture()

    def test_hop_limit_by_each_protocol(self):
        """What a traceroute sees: the gateway, then the router, by its own name."""
        self.connect_far()
        self.start_gateway()
        for frame, code in ((ping, 0), (udp, 0), (syn, 0)):
            with self.subTest(frame.__name__):
                port = () if frame is ping else (33434,)
                self.told(frame("9.9.9.10", *port, ttl=1), (TIME_EXCEEDED, code))
                self.five("hop-limit", (TIME_EXCEEDED, code), frame(BEYOND, *port, ttl=2), sender=ROUTER, doctor="")
        self.plug.send(neighbour_advertisement())  # whom libslirp answers over IPv6
        for frame, port in ((ping6, ()), (udp6, (33434,)), (syn6, (33434,))):
            with self.subTest(frame.__name__):
                self.told(frame("2001:db8:9::10", *port, ttl=1), (TIME_EXCEEDED6, 0))
                self.five("hop-limit", (TIME_EXCEEDED6, 0), frame(BEYOND6, *port, ttl=2), sender=ROUTER6, doctor="")
        self.check_capture()


class PacketItself(CauseTest):
    def test_too_big_for_the_route(self):
        self.connect_far(f"ip route add default via {ROUTER} mtu 1300; ip -6 route add default via {ROUTER6} mtu 1300")
        self.start_gateway()
        big = b"x" * 1360
        for frame in (ping(OUTSIDE, payload=big), udp(OUTSIDE, 9, payload=big)):
            event, rest = self.five("packet-too-big", (UNREACHABLE, 4), frame, doctor="")
            self.assertEqual((rest, event["icmp"]["mtu"]), (1300, 1300))
            self.assertIn("1300", event["fact"])
        _, rest = self.five("packet-too-big", (TOO_BIG6, 0), ping6(OUTSIDE6, payload=big), doctor="")
        self.assertEqual(rest, 1300)
        self.check_capture()

    def test_too_big_for_a_link_behind_a_router(self):
        self.connect_far()
        self.start_gateway()
        big = b"x" * 1360
        for frame in (ping(BEYOND, payload=big), udp(BEYOND, 9, payload=big)):
            self.host.run("ip route flush cache")
            event, rest = self.five("packet-too-big", (UNREACHABLE, 4), frame, sender=ROUTER, doctor="")
            self.assertEqual((rest, event["icmp"]["mtu"]), (NARROW, NARROW))
        _, rest = self.five("packet-too-big", (TOO_BIG6, 0), ping6(BEYOND6, payload=big), sender=ROUTER6, doctor="")
        self.assertEqual(rest, NARROW)
        self.check_capture()

    def test_protocol_unsupported(self):
        self.connect_far()
        self.start_gateway()
        self.five("protocol-unsupported", (UNREACHABLE, 2), ipv4(OUTSIDE, 132, bytes(20)), doctor="")
        _, rest = self.five("protocol-unsupported", (PARAMETER6, 1), ipv6(OUTSIDE6, 132, bytes(20)), doctor="")
        self.assertEqual(rest, 6)  # the next header field
        self.check_capture()

    def test_on_lan(self):
        self.connect_far()
        self.start_gateway()
        self.five("on-lan", (UNREACHABLE, 1), ping("10.0.2.99"), doctor="")
        self.check_capture()


class Names(CauseTest):
    def resolv_conf(self, text):
        lan_harness.use_resolv_conf(text)
        self.addCleanup(subprocess.run, ["umount", "/etc/resolv.conf"], check=True)

    def ask(self, cause, icmp, *facts):
        self.start_gateway()
        event, _ = self.five(cause, icmp, query("example.org"), doctor="", sender="10.0.2.3")
        for fact in facts:
            self.assertIn(fact, event["fact"])
        verdict = self.doctor("--probe")
        self.assertIn(cause, [check["cause"] for check in verdict["checks"] if check["id"] == "nameserver"])
        self.check_capture()

    def test_no_nameserver(self):
        self.connect_far()
        self.resolv_conf("search example.org\n")
        self.ask("no-nameserver", (UNREACHABLE, 3), "/etc/resolv.conf names no nameserver")

    def test_nameserver_unrouted(self):
        self.connect_far(routes=None)
        self.resolv_conf("nameserver 192.0.2.53\n")
        self.ask("nameserver-unrouted", (UNREACHABLE, 3), "192.0.2.53 of /etc/resolv.conf")

    def test_nameserver_refuses(self):
        self.connect_far()
        self.resolv_conf(f"nameserver {OUTSIDE}\n")
        self.ask("nameserver-refuses", (UNREACHABLE, 3), f"nobody listens at {OUTSIDE}", "ECONNREFUSED")

    def test_stub_resolver(self):
        self.connect_far()
        self.resolv_conf("nameserver 127.0.0.53\n")
        self.ask("stub-resolver", (UNREACHABLE, 3), "127.0.0.53", "another network namespace")


if __name__ == "__main__":
    lan_harness.main()
