"""Frames of a guest to the gateway, written byte by byte: IPv4 and IPv6, ICMP echo, UDP, TCP SYN."""

import socket
import struct

from vde_harness import mac

GUEST_IP, GUEST_IP6 = "10.0.2.15", "fec0::15"
GATEWAY_MAC = bytes.fromhex("52550a000202")
GATEWAY_MAC6 = bytes.fromhex("525600000002")
NAMESERVER_MAC = bytes.fromhex("52550a000203")
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
TCP_SYN = 0x02


def checksum(data):
    """RFC 1071."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total >> 16) + (total & 0xffff)
    return ~total & 0xffff


def address(text):
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def pseudo(destination, protocol, size):
    if ":" in destination:
        return address(GUEST_IP6) + address(destination) + struct.pack("!II", size, protocol)
    return address(GUEST_IP) + address(destination) + struct.pack("!HH", protocol, size)


def ipv4(destination, protocol, payload, gateway=GATEWAY_MAC, ttl=64):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0x4000, ttl, protocol, 0,
                       address(GUEST_IP), address(destination))
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return gateway + mac(1) + b"\x08\x00" + head + payload


def ipv6(destination, protocol, payload, ttl=64):
    head = struct.pack("!IHBB16s16s", 6 << 28, len(payload), protocol, ttl, address(GUEST_IP6),
                       address(destination))
    return GATEWAY_MAC6 + mac(1) + b"\x86\xdd" + head + payload


def ping(destination, sequence=1, identity=7, payload=b"lanyard ping", ttl=64):
    body = struct.pack("!BBHHH", 8, 0, 0, identity, sequence) + payload
    return ipv4(destination, ICMP, body[:2] + struct.pack("!H", checksum(body)) + body[4:], ttl=ttl)


def ping6(destination, sequence=1, identity=7, payload=b"lanyard ping", ttl=64):
    body = struct.pack("!BBHHH", 128, 0, 0, identity, sequence) + payload
    total = checksum(pseudo(destination, ICMPV6, len(body)) + body)
    return ipv6(destination, ICMPV6, body[:2] + struct.pack("!H", total) + body[4:], ttl=ttl)


def udp_datagram(destination, port, source, payload):
    head = struct.pack("!HHHH", source, port, 8 + len(payload), 0)
    total = checksum(pseudo(destination, UDP, 8 + len(payload)) + head + payload)
    return head[:6] + struct.pack("!H", total) + payload


def udp(destination, port, source=4000, payload=b"lanyard", gateway=GATEWAY_MAC, ttl=64):
    return ipv4(destination, UDP, udp_datagram(destination, port, source, payload), gateway, ttl)


def udp6(destination, port, source=4000, payload=b"lanyard", ttl=64):
    return ipv6(destination, UDP, udp_datagram(destination, port, source, payload), ttl)


def syn_segment(destination, port, source):
    head = struct.pack("!HHIIBBHHH", source, port, 1, 0, 5 << 4, TCP_SYN, 64240, 0, 0)
    total = checksum(pseudo(destination, TCP, len(head)) + head)
    return head[:16] + struct.pack("!H", total) + head[18:]


def syn(destination, port, source=40000, ttl=64):
    return ipv4(destination, TCP, syn_segment(destination, port, source), ttl=ttl)


def syn6(destination, port, source=40000, ttl=64):
    return ipv6(destination, TCP, syn_segment(destination, port, source), ttl)


def query(name):
    """A DNS question to the gateway's nameserver."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    question = struct.pack("!6H", 9, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\x01\0\x01"
    return udp("10.0.2.3", 53, 5353, question, NAMESERVER_MAC)


def arp_request():
    body = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, mac(1), address(GUEST_IP), b"\0" * 6,
                       address("10.0.2.2"))
    return b"\xff" * 6 + mac(1) + b"\x08\x06" + body


def neighbour_advertisement():
    """The guest's, to everybody: RFC 4861 section 4.4."""
    body = struct.pack("!BBHI16s", 136, 0, 0, 0x20000000, address(GUEST_IP6)) + b"\x02\x01" + mac(1)
    total = checksum(pseudo("ff02::1", ICMPV6, len(body)) + body)
    packet = ipv6("ff02::1", ICMPV6, body[:2] + struct.pack("!H", total) + body[4:], ttl=255)
    return bytes.fromhex("333300000001") + packet[6:]


def checksum_ok(reply):
    """Of an ICMP or ICMPv6 packet to a guest."""
    if reply[12:14] == b"\x08\x00":
        size, = struct.unpack_from("!H", reply, 16)
        return checksum(reply[14:34]) == 0 and checksum(reply[34:14 + size]) == 0
    size, = struct.unpack_from("!H", reply, 18)
    body = reply[54:54 + size]
    return checksum(reply[22:54] + struct.pack("!II", size, ICMPV6) + body) == 0
