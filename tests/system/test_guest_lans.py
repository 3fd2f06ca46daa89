"""What NixOS tests do with their networks, done by two real guests on vde_switch without --hub.

Three switches, as the NixOS driver starts them: one per LAN, `-s DIR --dirmode 0700`. Each guest
has a card on each, by QEMU's own `-netdev vde`. On LAN 1 the guests use VLAN 42, a macvlan and IPv6
addresses from a router's advertisement; guest a bridges LANs 2 and 3; then both bond their cards
there by LACP. The guests boot once and do all of it in turn; each test judges one part.

The kernel stays the guest's own: only the router is played, by a plug that also looks on.
"""

import contextlib
import ipaddress
import pathlib
import select
import shlex
import struct
import subprocess
import tempfile
import threading
import time

import lan_harness
from lan_harness import GUEST_DIR, TESTGUEST, Guest, LanTest
from vde_harness import Plug, Switch, require

LANS = (1, 2, 3)
VLAN_ID = 42
PREFIX = ipaddress.IPv6Network("2001:db8:7::/64")
PREFIX_WORDS = "2001:db8:7:0:"  # as the guest's tools begin an address in it
MACVLAN_MAC = "52:54:00:00:0a:77"
ROUTER_MAC = "52:54:00:00:0c:01"
ALL_NODES_MAC = "33:33:00:00:00:01"
LACP_MAC = "01:80:c2:00:00:02"
ADVERTISE_EVERY_S = 0.5
MEETING = "10.9.0.1 9"  # a listens there on LAN 1 until b is through with a part

VLAN, MACVLAN, ROUTER, BRIDGE, BOND, MEET = range(6)  # the commands' places


def card(guest, lan):
    return f"52:54:00:00:{guest}:0{lan}"


def host_part(guest):
    """The address the guest's card on LAN 1 makes of PREFIX: EUI-64, RFC 4291 appendix A."""
    mac = bytes.fromhex(card(guest, 1).replace(":", ""))
    identifier = bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]
    return PREFIX[int.from_bytes(identifier, "big")]


# --- what the guests do -------------------------------------------------------------------------
def vlan(mine, theirs):
    """A full-sized packet behind a tag, too: 1518 bytes of frame."""
    return (f"ip link add link eth0 name v type vlan id {VLAN_ID};ip addr add {mine}/24 dev v;"
            f"ip link set v up;retry 60 ping -c1 -W1 {theirs}&&ping -c3 -i.2 -Mdo -s1472 {theirs}")


def router(peer):
    return (f"retry 60 sh -c 'ip -6 addr show dev eth0|grep {PREFIX_WORDS}';"
            f"retry 60 ping -c1 -W1 {host_part(peer)}")


def bond(mine, theirs):
    return ("set -e;modprobe bonding max_bonds=0;cd /sys/class/net;echo +o>bonding_masters;"
            "cd o/bonding;echo 802.3ad>mode;echo fast>lacp_rate;echo 100>miimon;"
            "for i in eth1 eth2;do ip link set $i down;echo +$i>slaves;done;"
            f"ip addr add {mine}/24 dev o;ip link set o up;P=/proc/net/bonding/o;"
            f"retry 60 grep 'ports: 2' $P;retry 60 ping -c1 -W1 {theirs};grep Partner.Mac $P")


SAY_THROUGH = f"retry 60 sh -c 'echo through|nc -w5 {MEETING}'"

COMMANDS_A = [
    vlan("10.42.0.1", "10.42.0.2"),
    # Only the macvlan may answer for its address.
    "echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore;ip link add link eth0 name m type macvlan;"
    f"ip link set m address {MACVLAN_MAC};ip addr add 10.9.1.1/24 dev m;ip link set m up;"
    "retry 60 ping -c1 -W1 -I m 10.9.1.2",
    router("0b"),
    "set -e;ip link add b type bridge;for i in eth1 eth2;do ip link set $i master b;"
    "ip link set $i up;done;ip addr add 10.9.2.1/24 dev b;ip link set b up;nc -lp9;ip link del b",
    bond("10.9.3.1", "10.9.3.2"),
    "nc -lp9",
]
COMMANDS_B = [
    vlan("10.42.0.2", "10.42.0.1"),
    "ip addr add 10.9.1.2/24 dev eth0;retry 60 ping -c1 -W1 10.9.1.1&&ip neigh show dev eth0",
    router("0a"),
    # The card on LAN 3 goes to a namespace of its own, so that a's bridge is its only way.
    "set -e;ip addr add 10.9.2.2/24 dev eth1;ip link set eth1 up;unshare -n sleep 99& P=$!;sleep 1;"
    "ip link set eth2 netns $P;N=\"nsenter -t $P -n\";$N ip addr add 10.9.2.3/24 dev eth2;"
    "$N ip link set eth2 up;$N retry 60 ping -c1 -W1 10.9.2.2;$N ping -c3 -i.2 10.9.2.1;kill $P;"
    f"retry 9 test -e /sys/class/net/eth2;{SAY_THROUGH}",
    bond("10.9.3.2", "10.9.3.1"),
    SAY_THROUGH,
]


# --- frames -------------------------------------------------------------------------------------
def raw(mac):
    return bytes.fromhex(mac.replace(":", ""))


def internet_checksum(data):
    """RFC 1071."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def router_advertisement():
    """RFC 4861 4.2 with one prefix to make addresses of (4.6.2); no default router."""
    source = ipaddress.IPv6Address("fe80::c:1").packed
    target = ipaddress.IPv6Address("ff02::1").packed
    prefix = struct.pack("!BBBBIII", 3, 4, PREFIX.prefixlen, 0xc0, 3600, 3600, 0) + \
        PREFIX.network_address.packed
    message = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 0, 0, 0) + prefix
    pseudo = source + target + struct.pack("!II", len(message), 58)
    checksum = struct.pack("!H", internet_checksum(pseudo + message))
    message = message[:2] + checksum + message[4:]
    header = struct.pack("!IHBB", 6 << 28, len(message), 58, 255)
    return raw(ALL_NODES_MAC) + raw(ROUTER_MAC) + b"\x86\xdd" + header + source + target + message


class Seen:
    """A frame a bystander got, taken apart as far as the tests ask."""

    def __init__(self, data):
        self.destination, self.source = data[:6], data[6:12]
        self.vlan = None
        (kind,), rest = struct.unpack("!H", data[12:14]), data[14:]
        if kind == 0x8100:
            (tci, kind), rest = struct.unpack("!HH", rest[:4]), rest[4:]
            self.vlan = tci & 0xfff
        self.kind = kind
        self.is_echo = (kind == 0x0800 and rest[9] == 1) or \
            (kind == 0x86dd and rest[6] == 58 and rest[40] in (128, 129))


class Bystanders(threading.Thread):
    """A plug on each LAN that records what it gets; the one on LAN 1 advertises as well."""

    def __init__(self, plugs):
        super().__init__()
        self.plugs = plugs
        self.seen = {lan: [] for lan in plugs}
        self.over = threading.Event()

    def run(self):
        lan_of = {plug.data: lan for lan, plug in self.plugs.items()}
        advertise_at = 0
        while not self.over.is_set():
            if time.monotonic() >= advertise_at:
                self.plugs[1].send(router_advertisement())
                advertise_at = time.monotonic() + ADVERTISE_EVERY_S
            for data in select.select(list(lan_of), [], [], 0.1)[0]:
                self.seen[lan_of[data]].append(Seen(data.recv(70000)))

    def stop(self):
        self.over.set()
        self.join()
        for plug in self.plugs.values():
            plug.close()


class Corner:
    """What Switch wants of a test: a folder, and a place for clean-ups."""

    def __init__(self, folder, cleanups):
        folder.mkdir()
        self.folder = folder
        self.addCleanup = cleanups.callback


class GuestLans(LanTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        require()
        cleanups = contextlib.ExitStack()
        cls.addClassCleanup(cleanups.close)
        folder = pathlib.Path(cleanups.enter_context(tempfile.TemporaryDirectory(prefix="lans.")))
        cls.switches = {lan: Switch(Corner(folder / str(lan), cleanups), "--dirmode", "0700")
                        for lan in LANS}
        cls.bystanders = Bystanders({lan: Plug(cls.switches[lan].directory) for lan in LANS})
        cls.bystanders.start()
        cleanups.callback(cls.bystanders.stop)
        guests = [cls.start_guest_on_all(folder, cleanups, *who)
                  for who in (("a", "0a", "10.9.0.1/24", COMMANDS_A),
                              ("b", "0b", "10.9.0.2/24", COMMANDS_B))]
        cls.a, cls.b = [guest.finish() for guest in guests]

    @classmethod
    def start_guest_on_all(cls, folder, cleanups, name, number, address, commands):
        words = subprocess.run([TESTGUEST, "--out", str(GUEST_DIR), "--name", name, "--ip", address,
                                "--qemu", *commands], check=True, text=True, timeout=300,
                               stdout=subprocess.PIPE).stdout
        argv = shlex.split(words)
        for lan in LANS:
            # Bonding asks a card for its speed; a virtio card has one only if told.
            argv += ["-netdev", f"vde,id=n{lan},sock={cls.switches[lan].directory}", "-device",
                     f"virtio-net-pci,netdev=n{lan},mac={card(number, lan)},speed=1000,duplex=full"]
        guest = Guest(name, argv, folder)
        cleanups.callback(guest.stop)
        return guest

    def assert_both(self, part):
        for console in (self.a, self.b):
            self.assert_command(console.commands[part])

    def seen(self, lan):
        return self.bystanders.seen[lan]

    def test_vlan_42(self):
        self.assert_both(VLAN)
        for console in (self.a, self.b):
            self.assertIn("3 packets transmitted, 3 received", console.commands[VLAN].output)
        self.assertTrue(any(frame.vlan == VLAN_ID for frame in self.seen(1)),
                        "no frame with the tag came by")

    def test_macvlan(self):
        self.assert_both(MACVLAN)
        self.assertRegex(self.b.commands[MACVLAN].output, rf"10\.9\.1\.1 .*{MACVLAN_MAC}")

    def test_router_advertisement(self):
        self.assert_both(ROUTER)
        for console, number in ((self.a, "0a"), (self.b, "0b")):
            self.assertIn(f"{host_part(number)}/64", console.commands[ROUTER].output)

    def test_bridge_between_two_lans(self):
        self.assert_both(BRIDGE)
        # It is busybox's ping that runs in a namespace, and its words are a little different.
        self.assertIn("3 packets transmitted, 3 packets received",
                      self.b.commands[BRIDGE].output)

    def test_bond_by_lacp(self):
        self.assert_both(BOND)
        self.assert_both(MEET)
        for console, peer in ((self.a, "0b"), (self.b, "0a")):
            # A bond has the address of its first card.
            self.assertIn(f"Partner Mac Address: {card(peer, 2)}", console.commands[BOND].output)
        for lan in (2, 3):
            speakers = {frame.source for frame in self.seen(lan)
                        if frame.destination == raw(LACP_MAC) and frame.kind == 0x8809}
            self.assertEqual(len(speakers), 2, f"LACP on LAN {lan} came from {speakers}")

    def test_switched_not_flooded(self):
        """The hub is off: bystanders get broadcasts, and none of the pings."""
        for lan in LANS:
            self.assertTrue(self.seen(lan), f"the bystander of LAN {lan} was deaf")
        pings = [frame for frame in self.seen(1) if frame.is_echo]
        self.assertEqual(len(pings), 0, "pings were flooded")
        for lan in LANS:
            self.assertIn("HUB=false", self.switches[lan].ask("port/showinfo"))


if __name__ == "__main__":
    lan_harness.main()
