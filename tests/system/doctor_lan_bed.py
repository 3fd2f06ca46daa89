"""Guests made of frames, and the doctor looking at their LAN: what its tests share."""

import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

import lan_harness
import vde_harness
from vde_harness import BROADCAST, mac

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

    def await_dhcp(self, wanted):
        """The DHCP answer of that type: its message."""
        deadline = time.monotonic() + lan_harness.READY_LIMIT_S
        while time.monotonic() < deadline:
            message = self.plug.receive()[42:]
            if message[240:243] == bytes([53, 1, wanted]) and message[28:34] == self.mac:
                return message
        raise AssertionError(f"no DHCP message {wanted}")

    def take_lease(self):
        self.send(dhcp(self.mac, 1))
        offered = self.await_dhcp(2)[16:20]
        self.send(dhcp(self.mac, 3, bytes([50, 4]) + offered + bytes([54, 4])
                       + socket.inet_aton(GATEWAY)))
        self.await_dhcp(5)
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
