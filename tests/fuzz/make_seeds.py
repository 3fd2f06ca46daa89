#!/usr/bin/env python3
"""Writes hand-made inputs to CORPUS/NAME/, for a fuzzer to start from.

    tests/fuzz/make_seeds.py CORPUS

The forms of the inputs are told in the opening of each NAME_fuzz.cc. Run it when a form changes,
then fuzz from there. Always writes the same files.
"""
import ipaddress
import struct
import sys
from pathlib import Path


# --- packets (checksums are left to the fuzzers, which mend them) ---------------------------------

def ipv4(protocol, payload, source="10.0.2.15", destination="10.0.2.2", ttl=64, fragment=0):
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 7, fragment, ttl, protocol, 0)
    return head + ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed + payload


def ipv6(protocol, payload, source="fec0::15", destination="fec0::2", hops=64):
    head = struct.pack("!IHBB", 6 << 28, len(payload), protocol, hops)
    return head + ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed + payload


def udp(destination, payload, source=1024):
    return struct.pack("!HHHH", source, destination, 8 + len(payload), 0) + payload


def tcp(destination, flags, payload=b"", options=b"", source=1024):
    return struct.pack("!HHIIBBHHH", source, destination, 1, 0, (20 + len(options)) << 2, flags, 8192,
                       0, 0) + options + payload


def echo(payload=b"ping", v6=False):
    return struct.pack("!BBHHH", 128 if v6 else 8, 0, 0, 1, 1) + payload


def dhcp(kind):
    head = struct.pack("!BBBBIHH", 1, 1, 6, 0, 77, 0, 0) + bytes(16)
    head += bytes.fromhex("525400000001") + bytes(10) + bytes(192)
    return head + bytes.fromhex("63825363") + bytes([53, 1, kind, 50, 4, 10, 0, 2, 15, 255])


def dns(name=b"\x07example\x03com\x00"):
    return struct.pack("!HHHHHH", 5, 0x0100, 1, 0, 0, 0) + name + struct.pack("!HH", 1, 1)


def ethernet(ethertype, payload, to="525500000202", source="525400000001"):
    return bytes.fromhex(to) + bytes.fromhex(source) + struct.pack("!H", ethertype) + payload


def arp(target="10.0.2.2"):
    return struct.pack("!HHBBH", 1, 0x800, 6, 4, 1) + bytes.fromhex("525400000001") + \
        ipaddress.ip_address("10.0.2.15").packed + bytes(6) + ipaddress.ip_address(target).packed


# --- ctl ------------------------------------------------------------------------------------------

CONNECT, SAY, FRAME, TURN, HANG_UP, HALF_CLOSE, WAIT, RESERVE = range(8)


def request(client=0, kind=0, path=None, magic=0xfeedface, version=3, text=b"QEMU user=root"):
    path = path if path is not None else b"/c%d" % client
    return struct.pack("=III", magic, version, kind) + struct.pack("=H", 1) + path.ljust(108, b"\0") + text


def say(client, data):
    return bytes([SAY | client << 3, len(data)]) + data


def ctl_seeds():
    def op(operation, client=0):
        return bytes([operation | client << 3])

    def plug(client=0, **options):
        return op(CONNECT, client) + say(client, request(client, **options)) + op(TURN)

    frame = bytes([FRAME, 60])
    both = plug(0) + plug(1)
    whole = request()
    yield "plug", plug()
    yield "two", both + frame + op(TURN) + bytes([FRAME | 1 << 3, 200]) + op(TURN)
    yield "runt", both + bytes([FRAME, 3]) + op(TURN) + bytes([FRAME, 0]) + op(TURN)
    yield "leave", both + frame + op(HANG_UP) + op(TURN) + plug(0)
    yield "half", both + op(HALF_CLOSE) + op(TURN) + frame + op(TURN)
    yield "again", plug() + say(0, whole) + op(TURN)
    yield "pieces", op(CONNECT) + say(0, whole[:50]) + op(TURN) + say(0, whole[50:]) + op(TURN)
    yield "pieces-at-once", op(CONNECT) + say(0, whole[:50]) + say(0, whole[50:]) + op(TURN)
    yield "short", op(CONNECT) + say(0, whole[:121]) + op(TURN)
    yield "bare", plug(text=b"")
    yield "long", op(CONNECT) + say(0, request(text=b"x" * 127)) + op(TURN)
    yield "binary", plug(text=bytes(range(1, 120)))
    yield "magic", plug(magic=0xfeedfacd)
    yield "version", plug(version=2)
    yield "type", plug(kind=2)
    yield "management", plug(kind=1) + plug(1, kind=1)
    yield "port", plug(kind=5 << 8) + plug(1, kind=5 << 8) + frame + op(TURN)
    yield "port-too-high", plug(kind=0xffffff00)
    yield "relative", plug(path=b"c0")
    yield "abstract", plug(path=b"\0c0")
    yield "endless", plug(path=b"/" + b"c" * 107)
    yield "absent", plug(path=b"/c9")
    yield "wrong-type", plug(path=b"/s")
    yield "silent", op(CONNECT) + op(TURN) + bytes([WAIT, 11]) + op(TURN)
    yield "reserved", bytes([RESERVE, 1, RESERVE, 2]) + plug() + plug(1, kind=1 << 8)
    yield "four", b"".join(plug(n) for n in range(4)) + frame + op(TURN)


# --- management -----------------------------------------------------------------------------------

COMMANDS = """ds/showinfo|help|help port|logout|shutdown|showinfo|load \x08|debug/list|debug/list port
debug/add|debug/add hash|debug/del|debug/del port|hash/showinfo|hash/setsize 64|hash/setgcint 5
hash/setexpire 1|hash/setminper 0|hash/setminper 3|hash/print|hash/find 52:54:00:00:00:01
hash/find 52:54:00:00:00:01 7|fstp/showinfo|fstp/setfstp 0|fstp/setfstp 1|fstp/setedge 0 1 1
fstp/bonus 0 1 9|fstp/print|fstp/print 0|port/showinfo|port/setnumports 16|port/sethub 1|port/sethub 0
port/setvlan 1 7|port/setvlan 1 4095|port/createauto|port/create 5|port/remove 5|port/allocatable 5 1
port/setuser 1 root|port/setuser 1 NONE|port/setgroup 1 0|port/epclose 1 1000000|port/resetcounter
port/resetcounter 1|port/print|port/print 1|port/allprint|port/allprint 2|vlan/create 7|vlan/remove 7
vlan/addport 7 1|vlan/delport 7 1|vlan/print|vlan/print 0|vlan/allprint|vlan/allprint 7|# a comment|zork
vlan/create -1|port/create 99999999999|hash/setexpire 2147483647|hash/setsize 2147483647|load /proc/self
port/print 0x1|vlan/addport 7|port/setvlan|hash/find 1:2:3|debug/add zork""".replace("\n", "|").split("|")

PLUG, IDLE, LEAVE, READ, END, OTHER, FULL = "\x01\x20", "\x03", "\x04", "\x05", "\x06", "\x0b", "\x0e"


def traffic(tag="\0"):
    return "\x02\x00\x12" + tag + "\x02\x01\x21" + tag


def management_seeds():
    for number, command in enumerate(COMMANDS):
        name = "command-%02d" % number
        yield name, (PLUG + "\x01\x00" + traffic() + command + "\n").encode("latin-1")
    texts = {
        "all": "\n".join(c for c in COMMANDS if c not in ("logout", "shutdown")) + "\n",
        "tail": "vlan/cre\x00ate 7\x00zork" + IDLE,
        "no-line-feed": "showinfo\x00port/print\x00vlan/create" + IDLE + "\x00port/create 3" + END,
        "events": "debug/add\n" + OTHER + "debug/add port\n" + PLUG + "\x01\x40" + traffic() + LEAVE + IDLE,
        "vlans": PLUG + "\x01\x00vlan/create 7\nport/setvlan 1 7\nvlan/addport 7 2\n\x00" + traffic() +
                 traffic("\x07") + "hash/print\nvlan/print\nvlan/delport 7 2\nport/remove 2\n",
        "backlog": "debug/add\n" + "port/allprint\nhelp\n" * 120 + "\x00" + traffic() + READ + "\x00showinfo\n",
        "script": "\x07port/create 3\nhelp\nzork\n# no\nfstp/setfstp 1\n\x00load \x08\nvlan/print\n",
        "script-shutdown": "\x07showinfo\nshutdown\nhelp\n\x00load \x08\nvlan/print\n",
        "long": "x" * 4000,
        "full-read": "port/create 1" + FULL + "2\nport/allprint\n",
        "rights": "port/create 5\nport/setuser 5 4242\nport/allocatable 5 1\n\x00\x01\x50\x01\x52port/print\n",
        "blanks": "  \t showinfo \r\n\r\n \n#\n",
    }
    for name, text in texts.items():
        yield name, text.encode("latin-1")


# --- switch ---------------------------------------------------------------------------------------

def switch_seeds():
    def frame(to, source, tags=0, payload=b"0123456789"):
        return bytes([to | source << 4, tags, len(payload)]) + payload

    def burst(port, *frames):
        return bytes([len(frames) - 1 | port << 4]) + b"".join(frames)

    def change(operation, numbers):
        return bytes([operation, numbers])

    talk = burst(0, frame(2, 1), frame(2, 1)) + burst(1, frame(1, 2), frame(3, 2), frame(14, 2))
    tagged = b"".join(burst(port, frame(14, port, 1 | vid << 3), frame(2, port, 4 | vid << 3))
                      for port in range(3) for vid in (0, 2, 4))
    plan = change(10, 2) + change(10, 4) + change(11, 0 << 3 | 2) + change(12, 1 << 3 | 2) + \
        change(12, 2 << 3 | 4) + change(11, 2 << 3 | 2)
    kinds = burst(1, *(frame(14, 3, kind | 2 << 3) for kind in range(8)))
    loop = b"".join(burst(port, frame(14, 5)) for port in (0, 1) * 24)
    yield "plain", bytes([8 + 4, 1, 0, 0]) + talk
    yield "kinds", bytes([12, 2, 0, 0]) + kinds
    yield "hub", bytes([13, 2, 0, 0]) + talk + kinds
    yield "vlans", bytes([14, 3, 0, 0]) + plan + talk + tagged + kinds
    yield "vlans-change", bytes([14, 3, 0, 0]) + plan + tagged + change(13, 1 << 3 | 2) + tagged + \
        change(11, 7 << 3 | 6) + tagged + change(10, 2 | 8) + change(9, 1) + tagged
    yield "short", bytes([12, 2, 0xfe, 0]) + burst(0, frame(14, 1, 0, b"x" * 90), frame(14, 1))
    yield "short-tagged", bytes([14, 3, 0xfe, 0]) + plan + burst(0, frame(14, 1, 0, b"x" * 48))
    yield "narrow", bytes([12, 2, 0, 0xff]) + burst(0, *[frame(14, 1)] * 8) + talk
    yield "few-stations", bytes([0, 2, 0, 0]) + talk + talk
    yield "aging", bytes([12, 2, 0, 0]) + talk + bytes([0x18, 200]) + talk + change(15, 4) + bytes([0x18, 3]) + talk
    yield "detach", bytes([14, 2, 0, 0]) + plan + talk + change(14, 8) + talk + change(15, 1) + talk
    yield "loop", bytes([12, 2, 0, 0]) + loop + talk
    yield "loop-vlans", bytes([14, 2, 0, 0]) + loop + bytes([0x18, 100]) + talk
    yield "offload", bytes([12, 2, 0, 0]) + burst(0, frame(14, 1, 0x40) + b"\x0e\x04", frame(14, 1, 0x41) + b"\xff\x02")
    yield "raw", bytes([12, 2, 0, 0]) + bytes([0, 0xff, 0]) + bytes(range(12)) + b"\x02hi"


# --- gateway --------------------------------------------------------------------------------------

def gateway_seeds():
    lengths, checksums, follow, from_guest, elsewhere, to_port, broadcast = (1 << n for n in range(7))

    def frame(data):
        return b"\0" + struct.pack("!H", len(data)) + data

    def packet(data, mending=lengths | checksums):
        return bytes([1, mending]) + struct.pack("!H", len(data)) + data

    def wait(time=1):
        return bytes([2, time])

    serve, call, hang_up = b"\3", b"\4", b"\5"
    go_on = lengths | checksums | follow
    syn = packet(ipv4(6, tcp(7, 2, options=b"\2\4\5\xb4")))
    ack = packet(ipv4(6, tcp(7, 16)), go_on)
    data = packet(ipv4(6, tcp(7, 24, b"hello")), go_on)
    fin = packet(ipv4(6, tcp(7, 17)), go_on)
    out = {"destination": "192.0.2.1"}
    solicit = struct.pack("!BBHI", 135, 0, 0, 0) + ipaddress.ip_address("fec0::2").packed + \
        b"\1\1" + bytes.fromhex("525400000001")
    plain = {
        "arp": frame(ethernet(0x806, arp(), "ffffffffffff")) + frame(ethernet(0x806, arp("10.0.2.3"))),
        "dhcp": packet(ipv4(17, udp(67, dhcp(1), 68), "0.0.0.0", "255.255.255.255"), lengths | checksums | broadcast) +
                packet(ipv4(17, udp(67, dhcp(3), 68), "0.0.0.0", "255.255.255.255"), lengths | checksums | broadcast),
        "echo": packet(ipv4(1, echo())) + wait(),
        "echo-out": packet(ipv4(1, echo(), **out)) + wait() + packet(ipv4(1, echo(b"x" * 1400), **out)) + wait(),
        "echo-nowhere": packet(ipv4(1, echo(), destination="8.8.8.8")) + wait(),
        "echo-ttl": packet(ipv4(1, echo(), ttl=1, **out)),
        "echo-neighbour": packet(ipv4(1, echo(), destination="10.0.2.99")),
        "echo-fragments": packet(ipv4(1, echo(b"x" * 24), fragment=0x2000, **out)) +
                          packet(ipv4(1, b"y" * 16, fragment=4, **out), 0x82) + wait(),
        "tcp": syn + serve + ack + data + serve + wait() + ack + fin + wait() + ack + hang_up + wait(),
        "tcp-out": packet(ipv4(6, tcp(7, 2), **out)) + serve + packet(ipv4(6, tcp(7, 24, b"hi"), **out), go_on) + serve + wait(),
        "tcp-refused": packet(ipv4(6, tcp(9, 2))) + wait(),
        "tcp-nowhere": packet(ipv4(6, tcp(80, 2), destination="8.8.8.8")) + wait(),
        "tcp-urgent": syn + serve + ack + packet(ipv4(6, struct.pack("!HHIIBBHHH", 1024, 7, 1, 0, 80, 56, 8192, 0, 5) + b"urgent"), go_on) + serve,
        "tcp-reset": syn + serve + ack + data + hang_up + wait() + data + wait(),
        "tcp-future": syn + serve + ack + packet(ipv4(6, tcp(7, 24, b"later"))) + wait(0x85),
        "udp": packet(ipv4(17, udp(7, b"hello"))) + serve + wait(),
        "udp-out": packet(ipv4(17, udp(7, b"hello"), **out)) + serve + wait(),
        "udp-refused": packet(ipv4(17, udp(9, b"x"))) + wait() + packet(ipv4(17, udp(9, b"x"))) + wait(),
        "udp-nowhere": packet(ipv4(17, udp(9, b"x"), destination="8.8.8.8")),
        "udp-fragments": packet(ipv4(17, udp(7, b"x" * 24), fragment=0x2000)) +
                         packet(ipv4(17, b"y" * 8, fragment=4)) + serve + wait(),
        "dns": packet(ipv4(17, udp(53, dns()), destination="10.0.2.3")) + wait(),
        "dns-other-port": packet(ipv4(17, udp(54, dns()), destination="10.0.2.3")),
        "tftp": packet(ipv4(17, udp(69, b"\0\1file\0octet\0"))),
        "multicast": packet(ipv4(17, udp(5353, dns()), destination="224.0.0.251"), lengths | checksums | broadcast),
        "protocol": packet(ipv4(47, b"gre?")),
        "foreign": packet(ipv4(17, udp(7, b"x"), "192.168.1.1")),
        "options": packet(b"\x46" + ipv4(17, b"\1\1\1\0" + udp(7, b"x"))[1:]),
        "icmp-error": packet(ipv4(1, struct.pack("!BBHI", 3, 3, 0, 0) + ipv4(17, udp(7, b"x"), **out))),
        "neighbour6": packet(ipv6(58, solicit, hops=255)),
        "router6": packet(ipv6(58, struct.pack("!BBHI", 133, 0, 0, 0), "fe80::15", "ff02::2", 255), lengths | checksums | broadcast),
        "echo6": packet(ipv6(58, echo(v6=True))) + wait() + packet(ipv6(58, echo(v6=True), destination="2001:db8::1")) + wait(),
        "tcp6": packet(ipv6(6, tcp(7, 2))) + wait() + packet(ipv6(6, tcp(7, 2), destination="2001:db8::1")),
        "udp6": packet(ipv6(17, udp(7, b"x"))) + wait() + packet(ipv6(17, udp(547, b"\1\1\2\3"), "fe80::15", "ff02::1:2")),
        "hop6": packet(ipv6(0, b"\6\0\1\4\0\0\0\0" + tcp(7, 2))),
        "fragment6": packet(ipv6(44, b"\x11\0\0\1\0\0\0\1" + udp(7, b"x" * 8))),
        "tagged": frame(ethernet(0x8100, b"\0\0\x08\0" + ipv4(17, udp(7, b"x")))) + frame(ethernet(0x8100, b"\0\7\x08\0")),
        "jumbo": packet(ipv4(17, udp(7, b"x" * 1980))) + serve + wait(),
        "other": frame(ethernet(0x88cc, b"lldp")) + frame(ethernet(0x0800, b"\x45")),
        "idle": syn + serve + ack + wait(0xff) + data + wait(0xff),
    }
    for name, records in plain.items():
        yield name, b"\0" + records
    answer = packet(ipv4(6, tcp(7, 18, source=22), destination="10.0.2.2"), lengths | checksums)
    yield "forward", b"\4" + call + answer + wait() + data + hang_up
    yield "no-dhcp", b"\1" + plain["dhcp"]
    yield "no-ipv6", b"\2" + plain["echo6"]
    yield "nameserver-elsewhere", b"\x08" + plain["dns"] + plain["dhcp"]


# --- segment and capture --------------------------------------------------------------------------

def segment_seeds():
    def order(gso_type, gso_bytes, data, flags=0, start=0, offset=0):
        return struct.pack("=BBHHHH", flags, gso_type, 54, gso_bytes, start, offset) + data

    body = bytes(range(200)) * 5
    super4 = ethernet(0x800, ipv4(6, tcp(80, 0x99, body)))
    super6 = ethernet(0x86dd, ipv6(6, tcp(80, 0x10, body)))
    yield "tcp4", order(1, 300, super4)
    yield "tcp4-ecn", order(0x81, 100, super4)
    yield "tcp4-options", order(1, 64, ethernet(0x800, ipv4(6, tcp(80, 0x18, body, b"\1\1\x08\x0a" + bytes(8)))))
    yield "tcp4-tagged", order(1, 300, ethernet(0x8100, b"\0\7\x08\0" + ipv4(6, tcp(80, 0x18, body))))
    yield "tcp4-tags", order(1, 300, ethernet(0x88a8, b"\0\7\x81\0\0\7\x81\0\0\1\x08\0" + ipv4(6, tcp(80, 0x18, body))))
    yield "tcp4-fragment", order(1, 300, ethernet(0x800, ipv4(6, tcp(80, 0x18, body), fragment=0x2000)))
    yield "tcp4-padded", order(1, 300, super4 + bytes(30))
    yield "tcp4-empty", order(1, 300, ethernet(0x800, ipv4(6, tcp(80, 0x18))))
    yield "tcp4-too-many", order(1, 1, ethernet(0x800, ipv4(6, tcp(80, 0x18, bytes(2049)))))
    yield "tcp4-exact", order(1, 500, super4)
    yield "tcp6", order(4, 300, super6)
    yield "tcp6-extensions", order(4, 300, ethernet(0x86dd, ipv6(0, b"\x3c\0\1\4" + bytes(4) + b"\6\0\1\4" + bytes(4) + tcp(80, 16, body))))
    yield "udp4", order(5, 100, ethernet(0x800, ipv4(17, udp(7, body))))
    yield "udp6", order(5, 100, ethernet(0x86dd, ipv6(17, udp(7, body))))
    yield "checksum", order(0, 0, ethernet(0x800, ipv4(17, udp(7, b"x"))), 1, 34, 6)
    yield "checksum-outside", order(0, 0, ethernet(0x800, ipv4(17, udp(7, b"x"))), 1, 60, 6)
    yield "kind", order(3, 100, super4)
    yield "zero", order(1, 0, super4)
    yield "short", order(1, 300, super4[:40])


def capture_seeds():
    def record(drain, size, pattern):
        return bytes([drain]) + struct.pack("!H", size) + pattern[:min(size, 64)].ljust(min(size, 64), b".")

    frame = ethernet(0x800, b"payload")
    yield "one", record(1, 60, frame)
    yield "runt", record(1, 10, frame) + record(1, 0, frame)
    yield "largest", record(0, 65535, frame) * 3 + record(1, 65535, frame) + record(1, 14, frame)
    yield "wrap", (record(0, 40000, frame) * 3 + record(1, 9000, frame)) * 4
    yield "many", b"".join(record(n % 7 == 0, 14 + n, frame) for n in range(60))


# --- messages: the first byte is the reader's ------------------------------------------------------

ARP, NDP, ECHO, PACKET, TRANSPORT, DHCP, DHCPV6, ROUTER, DNS, NAME = range(10)


def dhcp_options(*options):
    head = dhcp(1)[:240]
    return head + b"".join(bytes([kind, len(value)]) + value for kind, value in options) + b"\xff"


def dhcpv6(kind=11, *options):
    options = options or ((1, b"\0\3\0\1RT\0\0\0\1"), (6, b"\0\x17"), (32, b"\0\0\1\0"))
    return bytes([kind, 1, 2, 3]) + b"".join(struct.pack("!HH", number, len(value)) + value
                                          for number, value in options)


def dns_answer():
    pointer = b"\xc0\x0c"
    records = pointer + struct.pack("!HHIH", 5, 1, 60, 2) + pointer
    records += pointer + struct.pack("!HHIH", 1, 1, 60, 4) + b"\xc0\0\2\1"
    records += pointer + struct.pack("!HHIH", 28, 1, 60, 16) + bytes(16)
    return struct.pack("!HHHHHH", 5, 0x8180, 1, 3, 0, 0) + b"\7example\3com\0\0\1\0\1" + records


def router_advertisement():
    head = b"\x86\0\0\0\x40\0\7\x08" + bytes(8)
    prefix = b"\3\4\x40\xc0" + bytes(12) + b"\xfe\xc0" + bytes(14)
    return head + b"\1\1RV\0\0\0\2" + b"\5\1\0\0\0\0\5\xdc" + prefix + \
        b"\x19\3\0\0\0\0\7\x08" + bytes(16) + b"\x1f\2\0\0\0\0\7\x08\3lan\0\0\0\0"


def messages_seeds():
    ndp = b"\x87\0\0\0\0\0\0\0\xfe\xc0" + bytes(14)
    for title, reader, message in (
            ("arp", ARP, arp()), ("arp-padded", ARP, arp() + bytes(18)), ("ndp", NDP, ndp),
            ("ndp-option", NDP, ndp + b"\1\1RT\0\0\0\1"),
            ("ndp-advert", NDP, b"\x88\0\0\0\xe0" + ndp[5:] + b"\2\1RT\0\0\0\1"),
            ("echo4", ECHO, echo()), ("echo6", ECHO, echo(v6=True)),
            ("ipv4", PACKET, with_sum(ipv4(17, udp(7, b"payload")))),
            ("ipv4-fragment", PACKET, with_sum(ipv4(17, udp(7, b"payload"), fragment=0x2001))),
            ("ipv4-icmp", PACKET, with_sum(ipv4(1, echo()))),
            ("ipv6", PACKET, ipv6(17, udp(7, b"payload"))),
            ("ipv6-extensions", PACKET, ipv6(0, b"\x2c\0\1\4" + bytes(4) + b"\x11\0\0\1" + bytes(4) + udp(7, b"x"))),
            ("udp", TRANSPORT, udp(53, dns())), ("tcp-urgent", TRANSPORT, tcp(80, 0x38, b"data", b"\2\4\5\xb4")),
            ("dhcp", DHCP, dhcp(1)),
            ("dhcp-many", DHCP, dhcp_options((53, b"\3"), (50, b"\n\0\2\x0f"), (54, b"\n\0\2\2"), (12, b"web"),
                                             (61, b"\1RT\0\0\0\1"), (81, b"\4\0\0\3web\3lan\0"), (57, b"\5\xdc"),
                                             (51, b"\0\0\x0e\x10"), (119, b"\3lan\0"))),
            ("dhcpv6", DHCPV6, dhcpv6()), ("dhcpv6-wish", DHCPV6, dhcpv6(1, (3, bytes(12)), (24, b"\3lan\0"))),
            ("router", ROUTER, b"\7" + router_advertisement()), ("dns", DNS, dns()),
            ("dns-answer", DNS, dns_answer()), ("dns-loop", DNS, dns(b"\xc0\x0c")),
            ("name", NAME, b"web.example.com"), ("reverse", NAME, b"1.2.0.192.in-addr.arpa")):
        yield title, bytes([reader]) + message


def with_sum(packet):
    """An IPv4 packet with its lengths and its header's checksum."""
    packet = packet[:2] + struct.pack("!H", len(packet)) + packet[4:10] + b"\0\0" + packet[12:]
    total = sum(struct.unpack("!10H", packet[:20]))
    total = (total & 0xffff) + (total >> 16)
    total = (total & 0xffff) + (total >> 16)
    return packet[:10] + struct.pack("!H", ~total & 0xffff) + packet[12:]


# --- names -----------------------------------------------------------------------------------------

def names_seeds():
    def ask(guest, message, mending=7):
        return bytes([guest << 2, mending]) + struct.pack("!H", len(message)) + message

    def query(message):
        return bytes([1, len(message)]) + message

    def wait(minutes):
        return bytes([2, minutes])

    request = dhcp_options((53, b"\3"), (50, b"\n\0\2\x0f"), (54, b"\n\0\2\2"), (12, b"web"))
    lease = ask(1, dhcp(1)) + ask(1, request)
    yield "lease", b"\0" + lease
    yield "many", b"\1" + b"".join(ask(guest, dhcp(1)) + ask(guest, dhcp(3)) for guest in range(20))
    yield "renew", b"\0" + lease + wait(28) + ask(1, dhcp_options((53, b"\3")), 15) + wait(255) + ask(2, dhcp(1))
    yield "release", b"\0" + lease + ask(1, dhcp_options((53, b"\7"), (54, b"\n\0\2\2")), 15) + ask(2, request)
    yield "decline", b"\0" + lease + ask(1, dhcp_options((53, b"\4"), (50, b"\n\0\2\x0f"), (54, b"\n\0\2\2"))) + ask(1, dhcp(1))
    yield "inform", b"\x18" + ask(3, dhcp_options((53, b"\x08")), 15)
    yield "wrong", b"\0" + ask(1, dhcp_options((53, b"\3"), (50, b"\xc0\0\2\1")))
    edns = b"\0\0\x29\x10\0\0\0\0\0\0\0"
    with_edns = dns(b"\3web\3lan\0")[:10] + b"\0\1" + dns(b"\3web\3lan\0")[12:] + edns
    yield "query", b"\2" + lease + query(dns(b"\3web\3lan\0")) + query(dns(b"\2db\0")) + query(with_edns)
    yield "reverse", b"\2" + lease + query(dns(b"\00215\0012\0010\00210\7in-addr\4arpa\0")[:-3] + b"\x0c\0\1")
    yield "elsewhere", b"\0" + query(dns()) + query(dns_answer())


# --- nameserver ------------------------------------------------------------------------------------

def nameserver_seeds():
    def say(mending, message):
        return bytes([mending]) + struct.pack("!H", len(message)) + message

    head = struct.pack("!HHHHHH", 0, 0x8180, 0, 0, 0, 0)
    for title, way in ("udp", b"\0"), ("tcp", b"\1"):
        yield title, way + say(15, head)
        yield title + "-forged", way + say(14, head) + say(13, head) + say(15, head)
        yield title + "-pieces", way + say(0, b"\0\x1d") + say(7, head)
        yield title + "-short", way + say(0, b"\0") + say(0, b"") + say(16, b"\0\1x")
        yield title + "-answer", way + say(9, dns_answer()) + say(16, b"")
    yield "tcp-zero", b"\1" + say(0, b"\0\0") + say(15, head)
    yield "tcp-long", b"\1" + say(0, b"\xff\xff" + bytes(2000)) + say(16, b"")


# --- fragments -------------------------------------------------------------------------------------

def fragments_seeds():
    def piece(offset, size, more=True, number=0, seconds=0):
        return bytes([number | (4 if more else 0) | seconds << 3]) + struct.pack("!HH", offset // 8, size)

    first, second, third = piece(0, 800), piece(800, 800), piece(1600, 333, False)
    yield "in-order", first + second + third
    yield "backwards", third + second + first
    yield "twice", first + first + third + second + second
    yield "overlap", first + piece(400, 800) + third
    yield "late", first + piece(800, 800, seconds=31) + third
    yield "past-the-end", third + piece(1600, 800) + first
    yield "two", first + piece(0, 800, number=1) + second + piece(800, 10, False, 1) + third
    yield "odd", piece(0, 13) + piece(16, 8, False)
    yield "largest", piece(65528, 4095, False) + first
    yield "many", b"".join(piece(8 * n, 8, n % 2 == 0, n % 4) for n in range(60))


# --- vhost -----------------------------------------------------------------------------------------

def vhost_seeds():
    MESSAGE, MEMORY, SEND, BUFFERS, TO_GUEST, KICK, CUT = range(7)

    def message(request, payload=b"", fds=0, flags=1):
        return bytes([MESSAGE, request, flags, fds]) + struct.pack("!H", len(payload)) + payload

    def memory(place, data, ring=1):
        return bytes([MEMORY | ring << 3]) + struct.pack("!HB", place, len(data)) + data

    def send(frame, pieces=0, header=bytes(10)):
        return bytes([SEND, pieces]) + struct.pack("!H", len(header + frame)) + header + frame

    def buffers(count, size):
        return bytes([BUFFERS, count]) + struct.pack("!H", size)

    to_guest, kick = bytes([TO_GUEST]) + struct.pack("!H", 900), bytes([KICK | 1 << 3])
    frame = ethernet(0x800, ipv4(6, tcp(80, 16, bytes(600))))
    super_frame = struct.pack("<BBHHHH", 1, 1, 54, 100, 34, 16)
    for kind in range(4):
        start = bytes([kind])
        yield f"frames-{kind}", start + send(frame) + send(frame, 3) + buffers(4, 2000) + to_guest + to_guest
        yield f"super-{kind}", start + send(frame, 5, super_frame) + buffers(7, 100) + to_guest
        yield f"memory-{kind}", start + memory(0, struct.pack("<QIHH", 1 << 40, 64, 1, 2)) + memory(256, b"\1\0\5\0") + kick
        yield f"loop-{kind}", start + memory(0, struct.pack("<QIHH", 1 << 32, 64, 1, 0)) + send(frame) + kick
        yield f"base-{kind}", start + message(11, struct.pack("<II", 0, 0)) + message(11, struct.pack("<II", 1, 0)) + kick
    region = struct.pack("<IIQQQQ", 1, 0, 1 << 32, 32 << 20, 0x700000000000, 0)
    yield "memory-again", b"\0" + message(5, region, 1) + send(frame)
    yield "memory-beyond", b"\0" + message(5, struct.pack("<IIQQQQ", 1, 0, 1 << 32, 1 << 60, 0, 0), 1) + kick
    yield "features", b"\0" + b"".join(message(request) for request in (1, 15, 17, 36, 40))
    yield "in-flight", b"\0" + message(31, struct.pack("<QQHH4x", 0, 0, 2, 16)) + send(frame)
    yield "pairs", b"\4" + buffers(2, 1500) + to_guest + message(18, struct.pack("<II", 2, 0))
    yield "cut", b"\0" + send(frame) + bytes([CUT]) + kick + to_guest
    yield "no-event", b"\0" + message(12, struct.pack("<Q", 1), 1 | 2 << 2) + message(13, struct.pack("<Q", 0x100))
    yield "unknown", b"\0" + message(200, b"x" * 40, 3)


# --- options ---------------------------------------------------------------------------------------

def options_seeds():
    def command(*words, bits=15):
        return bytes([bits]) + "\n".join(words).encode()

    yield "user", command("qemu-system-x86_64", "-m", "512", "-netdev", "user,id=n0,hostfwd=tcp::2222-:22,net=10.0.3.0/24",
                          "-device", "virtio-net-pci,netdev=n0,mac=52:54:00:12:34:56")
    yield "vde", command("qemu-system-x86_64", "-netdev", "vde,id=v,sock=/lan", "-device", "e1000,netdev=v", "-object",
                         "memory-backend-ram,id=m,size=1G", "-machine", "q35,memory-backend=m")
    yield "nic", command("qemu-system-x86_64", "-nic", "user,model=virtio-net-pci,restrict=on,,x", "-M", "pc")
    yield "net", command("qemu-system-x86_64", "-net", "nic,model=e1000", "-net", "vde,sock=/a,,b", bits=3)
    yield "json", command("qemu-system-x86_64", "-netdev", '{"type":"user","id":"n0"}', "-device", '{"driver":"e1000"}')
    yield "own", command("10.0.2.0/24", "tcp:127.0.0.1:2222-:22", "db=10.0.2.20", "52:54:00:12:34:56=10.0.2.9",
                         "corp.example=192.0.2.53", "consul=127.0.0.1:8600", "lan", "1400", "vde:///run/vde.ctl")
    yield "lists", command(",", "a,,b", "=x", "nofoo,foo=off,", "type=user,type=vde,,", "a=b=c,d")


# --- policy ---------------------------------------------------------------------------------------

def policy_seeds():
    yield "all", b"any\n!any\ntcp:any\nudp:any:53\nicmp:any\ndns:any\nany:1-65535\n!dns:any"
    yield "networks", b"10.0.0.0/8\n!10.1.0.0/16\n0.0.0.0/0\n::/0\n2001:db8::/32\n192.0.2.1\n255.255.255.255/32"
    yield "names", b"example.org\n*.example.org\n!www.example.org:443\n*.org\ndns:*.example\nExample.ORG.\n_x.a-b.c1"
    yield "brackets", b"tcp:[2001:db8::1]:443\n[2001:db8::]/32\nudp:[2001:db8::/32]:1-2\n[::1]\n[::]/0:80"
    yield "wrong", b"tcp:\n10.0.0.1/8\n10.0.0.0/33\n[::1\n[10.0.0.1]\na..b\n*.\na.*.b\n1.2.3\nx:0\nx:9-8\nicmp:x:7\ndns:1.2.3.4\n\n!"
    yield "covered", b"10.0.0.0/8\n!tcp:10.1.0.0/16:80\n*.a\n!*.b.a\n!c.a\nany:80-90\n!udp:any:81-89"
    yield "long", b"a" * 64 + b"\n" + b".".join([b"b" * 63] * 4) + b"\n" + b".".join([b"c"] * 127)


def http_seeds():
    def ask(method, path, body=b"", version=b"1.1", more=b""):
        head = method + b" " + path + b" HTTP/" + version + b"\r\nHost: x\r\n" + more
        if body:
            head += b"Content-Length: " + str(len(body)).encode() + b"\r\n"
        return head + b"\r\n" + body

    yield "all", b"\x05\x05" + b"".join(ask(b"GET", path) + b"\x03" for path in (
        b"/", b"/ports", b"/ports/1", b"/fdb", b"/leases", b"/reasons", b"/captures", b"/metrics", b"/openapi.json"))
    yield "link", b"\x05" + ask(b"PUT", b"/ports/1/link", b'{"up": false}') + b"\x03" + ask(b"DELETE", b"/fdb")
    yield "capture", ask(b"POST", b"/captures", b'{"file": "/x"}') + ask(b"DELETE", b"/captures/1") + b"\x03"
    yield "events", ask(b"GET", b"/events?kind=plug,link-down&from=oldest") + b"\x05\x03\x01" + \
        ask(b"GET", b"/events") + b"\x05\x02\x05\x04\x04"
    yield "pipeline", (ask(b"GET", b"/ports") + ask(b"HEAD", b"/ports") + ask(b"BREW", b"/tea")) * 3 + b"\x03\x03"
    yield "slow", b"GET /po\x00\x04\x04rts HTTP/1.1\r\n\x04\r\n\x03"
    yield "chunked", ask(b"PUT", b"/ports/1/link", more=b"Transfer-Encoding: chunked\r\n") + \
        b'5\r\n{"up"\r\n\x007\r\n: true}\r\n0\r\n\r\n\x03'
    yield "old", b"GET / HTTP/1.0\r\n\r\n\x03\x01GET /\r\n\r\n\x03"
    yield "body", ask(b"POST", b"/captures", b"[" * 200) + b"\x03" + ask(b"POST", b"/captures", b'{"file": 7}') + b"\x03"
    yield "garbage", b"\xff\xfe GET\r\n: :\r\n\r\n\x03" + ask(b"GET", b"/%00%2f/..%5c?%=&a", more=b"X\x80: \xff\r\n")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for name, seeds in {"ctl": ctl_seeds, "management": management_seeds, "switch": switch_seeds,
                        "gateway": gateway_seeds, "segment": segment_seeds,
                        "capture": capture_seeds, "messages": messages_seeds,
                        "names": names_seeds, "nameserver": nameserver_seeds,
                        "fragments": fragments_seeds, "vhost": vhost_seeds,
                        "options": options_seeds,
                        "policy": policy_seeds, "http": http_seeds}.items():
        folder = Path(sys.argv[1]) / name
        folder.mkdir(parents=True, exist_ok=True)
        for title, data in seeds():
            (folder / title).write_bytes(data)


if __name__ == "__main__":
    main()
