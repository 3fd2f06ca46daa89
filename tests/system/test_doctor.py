"""`lanyard doctor` in network namespaces made for each case: the kernel's own answers, not mocks."""

import json
import os
import pty
import unittest

from doctor_bed import (ETH_V4, ETH_V6, FAR_SIDE, LO_UP, PING_OPEN, VETH, DoctorTest, resolv_conf, responder,
                        run_doctor)


class RouteTest(DoctorTest):
    def to_google(self, cause, setup, **signs):
        verdict = self.expect(cause, setup, "--to", "8.8.8.8", **signs)
        self.assertEqual(verdict["to"], "8.8.8.8")
        self.assertEqual(verdict["checks"][0]["id"], "route")
        self.assertNotIn("echo", [check["id"] for check in verdict["checks"]])
        return verdict

    def test_only_loopback(self):
        for setup in (":", LO_UP):
            verdict = self.to_google("only-loopback", setup)
            self.assertEqual(verdict["fact"], 'this network namespace has only "lo"')
            self.assertEqual(verdict["errno"], "ENETUNREACH")
            self.assertEqual(verdict["guest_told"], "Destination Net Unreachable")
            self.assertNotIn("sandbox", verdict["cure"])

    def test_nix_build_sandbox(self):
        verdict = self.to_google("only-loopback", LO_UP, NIX_BUILD_TOP="/build")
        self.assertEqual(verdict["fact"], 'this network namespace has only "lo" '
                         "(a Nix build sandbox: NIX_BUILD_TOP is set)")
        self.assertEqual(verdict["cure"], "--option sandbox false, or keep the test offline")

    def test_nix_sandbox_by_its_home(self):
        verdict = self.to_google("only-loopback", LO_UP, NIX_STORE="/nix/store",
                                 HOME="/homeless-shelter")
        self.assertIn("HOME is /homeless-shelter", verdict["fact"])

    def test_nix_fixed_output_build(self):
        verdict = self.to_google("fixed-output-offline", LO_UP, NIX_BUILD_TOP="/build",
                                 NIX_OUTPUT_CHECKED="1")
        self.assertIn("fixed-output", verdict["fact"])
        self.assertNotIn("sandbox false", verdict["cure"])

    def test_no_default_route(self):
        verdict = self.to_google("no-default-route", ETH_V4 + "; ip link set far0 down")
        self.assertIn('"eth0" (10.1.0.2/24, no carrier)', verdict["fact"])
        self.assertIn("no route leads to 8.8.8.8", verdict["fact"])
        verdict = self.to_google("no-default-route", ETH_V4, NIX_BUILD_TOP="/build")
        self.assertIn('"eth0" (10.1.0.2/24)', verdict["fact"])
        self.assertNotIn("Nix", verdict["fact"])

    def test_links_that_are_down(self):
        verdict = self.to_google("no-default-route",
                                 VETH + "ip link set far0 down; ip addr add 10.1.0.2/24 dev eth0")
        self.assertIn("are down and no route leads to 8.8.8.8", verdict["fact"])
        self.assertIn("ip link set", verdict["cure"])

    def test_bridge_without_addresses(self):
        verdict = self.to_google("no-default-route",
                                 "ip link add br0 type bridge; ip link set br0 up")
        self.assertIn('"br0" (no IPv4 address', verdict["fact"])

    def test_a_throw_route_is_no_route(self):
        setup = f"{ETH_V4}\nip route add default via 10.1.0.1\nip route add throw 8.8.8.0/24"
        verdict = self.to_google("no-default-route", setup)
        self.assertIn('route "throw 8.8.8.0/24" covers 8.8.8.8', verdict["fact"])
        self.assertIn("ip route del throw 8.8.8.0/24", verdict["cure"])

    def test_refusing_routes(self):
        told = {"prohibit": "Packet filtered", "unreachable": "Destination Host Unreachable",
                "blackhole": "Destination Host Unreachable"}
        errnos = {"prohibit": "EACCES", "unreachable": "EHOSTUNREACH", "blackhole": "EINVAL"}
        for kind, phrase in told.items():
            with self.subTest(kind):
                setup = f"""{ETH_V4}
                    ip route add default via 10.1.0.1
                    ip route add {kind} 8.0.0.0/8
                    ip route add {kind} 8.8.8.0/24
                    ip route add {kind} 8.8.9.0/24"""
                verdict = self.to_google(f"route-{kind}", setup)
                self.assertIn(f'"{kind} 8.8.8.0/24"', verdict["fact"])
                self.assertEqual(verdict["guest_told"], phrase)
                self.assertEqual(verdict["errno"], errnos[kind])
                cured = self.judge(f"{setup}\nip route del {kind} 8.8.8.0/24\n"
                                   f"ip route del {kind} 8.0.0.0/8", "--to", "8.8.8.8")
                self.assertTrue(self.check_of(cured, "route")["ok"])

    def test_refusing_default_without_links(self):
        verdict = self.to_google("route-unreachable", f"{LO_UP}; ip route add unreachable default")
        self.assertIn('"unreachable default"', verdict["fact"])

    def test_refusing_rule(self):
        verdict = self.to_google("route-prohibit",
                                 ETH_V4 + "\nip route add default via 10.1.0.1\n"
                                 "ip rule add to 8.8.8.8 prohibit")
        self.assertIn('to 8.8.8.8/32 prohibit" covers 8.8.8.8', verdict["fact"])
        self.assertIn("ip rule del priority", verdict["cure"])

    def test_refusing_routes_of_ipv6(self):
        told = {"prohibit": "Administratively prohibited", "unreachable": "Address unreachable",
                "blackhole": "Address unreachable"}
        for kind, phrase in told.items():
            with self.subTest(kind):
                verdict = self.expect(f"route-{kind}",
                                      f"{ETH_V6}\nip -6 route add {kind} 2001:db8::/32",
                                      "--to", "2001:db8::1")
                self.assertIn(f'"{kind} 2001:db8::/32"', verdict["fact"])
                self.assertEqual(verdict["guest_told"], f"Destination unreachable: {phrase}")

    def test_ipv6_only(self):
        verdict = self.to_google("ipv6-only", f"{LO_UP}{ETH_V6}")
        self.assertIn("fd00::2/64", verdict["fact"])
        verdict = self.judge(f"{LO_UP}{ETH_V6}")
        self.assertEqual(verdict["cause"], "ipv6-only")
        self.assertTrue(self.check_of(verdict, "ipv6-route")["ok"])

    def test_no_route_for_ipv6(self):
        verdict = self.expect("no-default-route",
                              ETH_V4 + "\nip route add default via 10.1.0.1",
                              "--to", "2001:db8::1")
        self.assertIn("IPv4 has a route", verdict["fact"])
        self.assertEqual(verdict["guest_told"], "Destination unreachable: No route")


class EchoTest(DoctorTest):
    def test_ping_not_permitted(self):
        verdict = self.expect("ping-not-permitted", LO_UP, "--to", "127.0.0.1")
        self.assertTrue(self.check_of(verdict, "route")["ok"])
        self.assertIn("net.ipv4.ping_group_range is", verdict["fact"])
        self.assertEqual(verdict["guest_told"], "Packet filtered")
        self.assertEqual(verdict["errno"], "EACCES")

    def test_the_cure_of_ping_cures(self):
        shut = self.judge(LO_UP, "--to", "127.0.0.1")
        cure = shut["cure"].split('"')[1]
        open_again = f'{LO_UP}; echo "{cure}" > /proc/sys/net/ipv4/ping_group_range'
        self.assertTrue(self.judge(open_again, "--to", "127.0.0.1")["reachable"])

    def test_loopback_answers(self):
        for address in ("127.0.0.1", "::1"):
            with self.subTest(address):
                verdict = self.expect(None, f"{LO_UP}; {PING_OPEN}", "--to", address)
                self.assertIn("answers in", self.check_of(verdict, "echo")["fact"])

    def test_the_far_side_answers(self):
        setup = f"{FAR_SIDE}\nfar ip addr add 8.8.8.8/32 dev lo\n{PING_OPEN}"
        verdict = self.expect(None, setup, "--to", "8.8.8.8")
        self.assertIn('via 10.1.0.1 on "eth0"', self.check_of(verdict, "route")["fact"])
        self.expect(None, f"{FAR_SIDE}\n{PING_OPEN}", "--to", "fd00::1")

    def test_the_far_side_exists_but_ping_is_shut(self):
        setup = f"{FAR_SIDE}\nfar ip addr add 8.8.8.8/32 dev lo"
        self.expect("ping-not-permitted", setup, "--to", "8.8.8.8")

    def test_the_far_side_is_silent(self):
        setup = (f"{FAR_SIDE}\nfar ip addr add 8.8.8.8/32 dev lo\n{PING_OPEN}\n"
                 "far sh -c 'echo 1 > /proc/sys/net/ipv4/icmp_echo_ignore_all'")
        verdict = self.expect("no-answer", setup, "--to", "8.8.8.8")
        self.assertIn('left via 10.1.0.1 on "eth0"', verdict["fact"])

    def test_a_router_refuses(self):
        setup = (f"{FAR_SIDE}\n{PING_OPEN}\n"
                 "far sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'\n"
                 "far ip route add prohibit 8.8.8.8")
        verdict = self.expect("remote-prohibited", setup, "--to", "8.8.8.8")
        self.assertIn("10.1.0.1 answers", verdict["fact"])
        self.assertIn("type 3 code 13", verdict["fact"])


class NameserverTest(DoctorTest):
    """Without --to: an IPv4 route and ping are in order, so the nameserver decides. It is asked with
    --probe only."""

    ROUTED = f"{LO_UP}; {PING_OPEN}\n{ETH_V4}\nip route add default via 10.1.0.1\n"

    def test_resolv_conf_is_missing(self):
        verdict = self.expect("no-nameserver", self.ROUTED + resolv_conf(None))
        self.assertEqual(verdict["fact"], "/etc/resolv.conf is missing")
        self.assertEqual(verdict["guest_told"], "Destination Port Unreachable")
        self.assertIsNone(verdict["to"])
        for check_id in ("ipv4-route", "ping"):
            self.assertTrue(self.check_of(verdict, check_id)["ok"])

    def test_resolv_conf_names_nobody(self):
        for text in ("", "# nameserver 127.0.0.1", "search example.com"):
            with self.subTest(text):
                verdict = self.expect("no-nameserver", self.ROUTED + resolv_conf(text))
                self.assertEqual(verdict["fact"], "/etc/resolv.conf names no nameserver")

    def test_nobody_listens(self):
        verdict = self.expect("stub-resolver",
                              self.ROUTED + resolv_conf("nameserver 127.0.0.53"), "--probe")
        self.assertEqual(verdict["errno"], "ECONNREFUSED")
        self.assertEqual(self.check_of(verdict, "nameserver")["address"], "127.0.0.53")

    def test_silent(self):
        verdict = self.expect("nameserver-silent", self.ROUTED + responder("silent", "127.0.0.53")
                              + resolv_conf("nameserver 127.0.0.53"), "--probe")
        self.assertIn("did not answer in 2 s", verdict["fact"])

    def test_what_answers_no_query_of_ours_is_no_answer(self):
        self.expect("nameserver-silent", self.ROUTED + responder("stray", "127.0.0.53")
                    + resolv_conf("nameserver 127.0.0.53"), "--probe")

    def test_answers(self):
        for address in ("127.0.0.53", "::1"):
            with self.subTest(address):
                verdict = self.expect(None, self.ROUTED + responder("answer", address)
                                      + resolv_conf(f"nameserver {address}"), "--probe")
                self.assertIn(f"{address} answers in",
                              self.check_of(verdict, "nameserver")["fact"])
                self.assertFalse(self.check_of(verdict, "ipv6-route")["needed"])

    def test_an_error_code_is_an_answer(self):
        verdict = self.expect(None, self.ROUTED + responder("servfail", "127.0.0.53")
                              + resolv_conf("nameserver 127.0.0.53"), "--probe")
        self.assertIn("SERVFAIL", self.check_of(verdict, "nameserver")["fact"])

    def test_one_answering_is_enough(self):
        verdict = self.expect(None, self.ROUTED + responder("answer", "127.0.0.53")
                              + resolv_conf("nameserver 127.0.0.1\nnameserver 127.0.0.53"),
                              "--probe")
        servers = [check for check in verdict["checks"] if check["id"] == "nameserver"]
        self.assertEqual([server["ok"] for server in servers], [False, True])
        self.assertEqual(servers[0]["cause"], "stub-resolver")

    def test_without_probe_nobody_is_asked(self):
        """The far side counts what comes: nothing does, and then one question."""
        for words, count in (((), "0"), (("--probe",), "1")):
            with self.subTest(words):
                setup = (self.ROUTED + responder("count", "127.0.0.53")
                         + resolv_conf("nameserver 127.0.0.53"))
                done = run_doctor(setup, "--json", *words, after='cat "$SCRATCH/count" >&2')
                verdict = json.loads(done.stdout)
                self.assertTrue(verdict["reachable"], verdict)
                self.assertEqual("was not asked" in self.check_of(verdict, "nameserver")["fact"],
                                 not words)
                self.assertEqual(done.stderr.strip(), count)

    def test_no_route_to_the_nameserver(self):
        verdict = self.expect("nameserver-unrouted", self.ROUTED + "ip route add blackhole 9.9.9.9\n"
                              + resolv_conf("nameserver 9.9.9.9"))
        self.assertIn("9.9.9.9 of /etc/resolv.conf", verdict["fact"])

    def test_everything_at_once_names_the_route_first(self):
        verdict = self.expect("only-loopback", resolv_conf(None))
        causes = [check["cause"] for check in verdict["checks"]][:4]
        self.assertEqual(causes, ["only-loopback", "only-loopback", "ping-not-permitted",
                                  "no-nameserver"])


class HostTest(DoctorTest):
    """What the host is asked besides its network: each finding provoked, and its absence."""

    ROUTED = NameserverTest.ROUTED + resolv_conf("nameserver 127.0.0.1")

    def host_check(self, check_id, setup=":", **signs):
        return self.check_of(self.judge(f"{self.ROUTED}\n{setup}", **signs), check_id)

    def test_the_ids_and_their_order(self):
        verdict = self.judge(self.ROUTED)
        self.assertEqual([check["id"] for check in verdict["checks"]],
                         ["ipv4-route", "ipv6-route", "ping", "nameserver", "kvm", "tun", "qemu",
                          "vhost-user", "sandbox", "namespaces", "proxy", "descriptors",
                          "locked-memory", "shared-memory", "temporary-folder"])
        self.assertTrue(verdict["reachable"], verdict)

    def test_kvm(self):
        missing = self.host_check("kvm", "mount -t tmpfs none /dev")
        self.assertEqual((missing["mark"], missing["errno"]), ("warning", "ENOENT"))
        fake = self.host_check("kvm", "mount -t tmpfs none /dev; : > /dev/kvm")
        self.assertEqual(fake["mark"], "warning")
        self.assertIn("does not speak KVM", fake["fact"])
        if os.access("/dev/kvm", os.R_OK | os.W_OK):
            real = self.host_check("kvm")
            self.assertTrue("no guest was run" in real["fact"] or "only there" in real["fact"], real)

    def test_tun(self):
        missing = self.host_check("tun", "mount -t tmpfs none /dev")
        self.assertEqual((missing["mark"], missing["errno"]), ("warning", "ENOENT"))
        self.assertIn("veth", missing["cure"])
        there = self.host_check("tun", "mount -t tmpfs none /dev; mkdir /dev/net; : > /dev/net/tun")
        self.assertEqual(there["mark"], "ok")

    def test_qemu(self):
        missing = self.host_check("qemu", 'PATH="$SCRATCH"')
        self.assertEqual(missing["mark"], "warning")
        self.assertIn("in PATH", missing["fact"])
        for body, mark, fact in (
                ("exit 1", "warning", "does not say"),
                ("printf 'QEMU emulator version 4.1.0\\n'", "warning", "no way to plug"),
                ("printf 'QEMU emulator version 9.2.0\\n-netdev stream,id\\n'", "ok", "9.2")):
            with self.subTest(body):
                setup = ('for arch in x86_64 aarch64 i386 arm riscv64; do\n'
                         'Q="$SCRATCH/qemu-system-$arch"\n'
                         f"""printf '#!/bin/sh\\n%s\\n' "{body}" > "$Q"; chmod +x "$Q"\n"""
                         'done; PATH="$SCRATCH:$PATH"')
                found = self.host_check("qemu", setup)
                self.assertEqual(found["mark"], mark, found)
                self.assertIn(fact, found["fact"])
        real = self.judge(self.ROUTED)
        self.assertRegex(self.check_of(real, "qemu")["fact"], r"version \d+\.\d+, accelerators .*tcg")
        self.assertIn("vectors=0", json.dumps(self.check_of(real, "vhost-user")))

    def test_sandbox_signs(self):
        nix = self.host_check("sandbox", NIX_BUILD_TOP="/build")
        self.assertIn("a Nix build", nix["fact"])
        fixed = self.host_check("sandbox", NIX_BUILD_TOP="/build", NIX_OUTPUT_CHECKED="1")
        self.assertIn("fixed-output", fixed["fact"])
        podman = self.host_check("sandbox", container="podman")
        self.assertIn("container=podman", podman["fact"])
        locked = self.judge(self.ROUTED, wrapper="setpriv --no-new-privs")
        self.assertIn("no new privileges", self.check_of(locked, "sandbox")["fact"])
        gvisor = self.host_check("sandbox", 'echo "Linux version 4.4.0 #1 SMP Sun Jan 10 15:06:54 '
                                 'PST 2016" > "$SCRATCH/v"; mount --bind "$SCRATCH/v" /proc/version')
        self.assertEqual(gvisor["mark"], "warning")
        plain = self.host_check("sandbox")
        for sign in ("Nix", "gVisor", "container=", "no new privileges"):
            self.assertNotIn(sign, plain["fact"])

    def test_namespaces_are_named(self):
        fact = self.host_check("namespaces", 'readlink /proc/self/ns/net > "$SCRATCH/net"')["fact"]
        self.assertRegex(fact, r"net:\[\d+\], user:\[\d+\]")
        self.assertNotIn(os.readlink("/proc/self/ns/net"), fact)

    def test_proxy(self):
        none = {name: "" for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY",
                                      "HTTPS_PROXY", "ALL_PROXY")}
        self.assertEqual(self.host_check("proxy", **none)["mark"], "ok")
        found = self.host_check("proxy", **{**none, "http_proxy": "http://me:secret@127.0.0.1:3128"})
        self.assertEqual(found["mark"], "warning")
        self.assertIn("http_proxy=http://127.0.0.1:3128", found["fact"])
        self.assertNotIn("secret", json.dumps(found))
        self.assertIn("10.0.2.2", found["cure"])
        far = self.host_check("proxy", **{**none, "ALL_PROXY": "proxy.example:3128"})
        self.assertNotIn("10.0.2.2", far["cure"])

    def test_limits(self):
        few = self.host_check("descriptors", "ulimit -n 300")
        self.assertEqual(few["mark"], "warning")
        too_few = self.host_check("descriptors", "ulimit -n 64")
        self.assertEqual(too_few["mark"], "problem")
        self.assertIn("16 KiB", self.host_check("locked-memory", "ulimit -l 16")["fact"])

    def test_room(self):
        small = self.host_check("shared-memory", "mount -t tmpfs -o size=1M none /dev/shm")
        self.assertEqual(small["mark"], "warning")
        large = self.host_check("shared-memory", "mount -t tmpfs -o size=100M none /dev/shm")
        self.assertEqual(large["mark"], "ok")
        gone = self.host_check("temporary-folder", TMPDIR="/nowhere/at/all")
        self.assertEqual((gone["mark"], gone["errno"]), ("problem", "ENOENT"))
        long = self.host_check("temporary-folder",
                               'export TMPDIR="$SCRATCH/$(printf %090d 0)"; mkdir "$TMPDIR"')
        self.assertIn("longer names", long["fact"])
        full = self.host_check("temporary-folder", 'mkdir "$SCRATCH/t"; mount -t tmpfs -o size=1M '
                               'none "$SCRATCH/t"; export TMPDIR="$SCRATCH/t"')
        self.assertIn("capture", full["fact"])
        fine = self.host_check("temporary-folder", 'mkdir "$SCRATCH/t"; mount -t tmpfs -o size=100M '
                               'none "$SCRATCH/t"; export TMPDIR="$SCRATCH/t"')
        self.assertEqual(fine["mark"], "ok")


class TextTest(DoctorTest):
    def test_text_names_checks_cause_and_cure(self):
        done = run_doctor(LO_UP, "--to", "8.8.8.8", NIX_BUILD_TOP="/build")
        self.assertEqual(done.returncode, 1)
        lines = done.stdout.splitlines()
        self.assertEqual(lines[0], '✗ route           this network namespace has only "lo" '
                         "(a Nix build sandbox: NIX_BUILD_TOP is set) [only-loopback]")
        self.assertEqual(lines[1].strip(), "Try: --option sandbox false, or keep the test offline.")
        self.assertTrue(lines[-1].startswith("8.8.8.8 is not reachable (only-loopback): "), lines)
        self.assertTrue(lines[-1].endswith('A guest is told "Destination Net Unreachable".'), lines)
        self.assertNotIn("\033", done.stdout)

    def test_colour_is_for_terminals_that_want_it(self):
        for signs, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
            with self.subTest(signs):
                ours, theirs = pty.openpty()
                done = run_doctor(f"unset NO_COLOR; {LO_UP}; {PING_OPEN}" if coloured else
                                  f"{LO_UP}; {PING_OPEN}", "--to", "127.0.0.1",
                                  stdout=theirs, **signs)
                os.close(theirs)
                text = os.read(ours, 4096).decode()
                os.close(ours)
                self.assertEqual(done.returncode, 0)
                self.assertIn("✓", text)
                self.assertEqual("\033[32m" in text, coloured)

    def test_ascii_where_the_locale_is_not_utf8(self):
        for signs in ({"LC_ALL": "C"}, {"LC_ALL": "", "LC_CTYPE": "", "LANG": ""}):
            with self.subTest(signs):
                done = run_doctor(LO_UP, **signs)
                self.assertTrue(done.stdout.isascii(), done.stdout)
                self.assertTrue(done.stdout.startswith("x IPv4 route"), done.stdout)

    def test_probe_is_for_the_internet(self):
        done = run_doctor(LO_UP, "--probe", "--to", "127.0.0.1")
        self.assertEqual(done.returncode, 64)

    def test_bad_usage_is_one_line_and_64(self):
        for bad in ("example.com", "8.8.8", "8.8.8.8.8", "", "fe80::1%eth0", "8.8.8.8 ",
                    "0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1", "fe80::1"):
            with self.subTest(bad):
                done = run_doctor(":", "--to", bad)
                self.assertEqual(done.returncode, 64)
                self.assertEqual(done.stdout, "")
                self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
                self.assertIn(f'"{bad}"', done.stderr)
        done = run_doctor(":", "--unheard-of")
        self.assertEqual(done.returncode, 64)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)

    def test_a_full_disk_is_said(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            done = run_doctor(LO_UP, "--to", "127.0.0.1", stdout=full)
        self.assertEqual(done.returncode, 74)
        self.assertIn("No space left on device", done.stderr)


if __name__ == "__main__":
    unittest.main()
