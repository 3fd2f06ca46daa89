"""A guest whose packets are the test's own: TCP, UDP and ARP through a VDE plug, any address, any MAC."""

import ipaddress
import struct

from guest_frames import GATEWAY_MAC, NAMESERVER_MAC, checksum
from vde_harness import Plug

SYN, RST, PSH, ACK = 2, 4, 8, 16


def ipv4(protocol, payload, source, destination):
    ends = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0)
    return head[:10] + struct.pack("!H", checksum(head + ends)) + ends + payload


def tcp_of(frame):
    """(the guest's port, flags, seq, ack, data) of a segment for the guest; None: the frame is none."""
    if frame[12:14] != b"\x08\x00" or frame[23] != 6:
        return None
    size, = struct.unpack_from("!H", frame, 16)
    port, seq, ack, offset, flags = struct.unpack_from("!HIIBB", frame, 36)
    return port, flags, seq, ack, frame[34 + (offset >> 4) * 4:14 + size]


class HandGuest:
    """A guest of a LAN whose packets are the test's."""

    def __init__(self, test, directory, number=1):
        self.mac = bytes.fromhex("5254000000") + bytes([number])
        self.address = f"10.0.2.{14 + number}"
        self.plug = Plug(directory)
        test.addCleanup(self.plug.close)
        arp = struct.pack("!HHBBH", 1, 0x800, 6, 4, 1) + self.mac + \
            ipaddress.ip_address(self.address).packed + bytes(6) + ipaddress.ip_address("10.0.2.2").packed
        self.plug.send((b"\xff" * 6 + self.mac + b"\x08\x06" + arp).ljust(60, b"\0"))
        self.receive(lambda frame: frame[12:14] == b"\x08\x06")

    def _send(self, protocol, payload, destination, gateway=GATEWAY_MAC):
        packet = ipv4(protocol, payload, self.address, destination)
        self.plug.send((gateway + self.mac + b"\x08\x00" + packet).ljust(60, b"\0"))

    def send_tcp(self, destination, port, flags, seq, ack=0, data=b"", source_port=1000):
        head = struct.pack("!HHIIBBHHH", source_port, port, seq, ack, 0x50, flags, 8192, 0, 0) + data
        pseudo = ipaddress.ip_address(self.address).packed + ipaddress.ip_address(destination).packed + \
            struct.pack("!BBH", 0, 6, len(head))
        self._send(6, head[:16] + struct.pack("!H", checksum(pseudo + head)) + head[18:], destination)

    def send_udp(self, destination, port, source_port):
        self._send(17, struct.pack("!HHHH", source_port, port, 9, 0) + b"x", destination)

    def open_tcp(self, destination, port, source_port):
        """The next sequence numbers of a connection: the guest's, the other end's."""
        self.send_tcp(destination, port, SYN, 100, source_port=source_port)
        opened = tcp_of(self.receive(lambda frame: (tcp_of(frame) or [0])[:2] == (source_port, SYN | ACK)))
        self.send_tcp(destination, port, ACK, 101, opened[2] + 1, source_port=source_port)
        return 101, opened[2] + 1

    def resolve(self, name, number):
        """The IPv4 addresses that the gateway's nameserver has for that name; `number`: not used before."""
        labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
        question = struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\x01\0\x01"
        self._send(17, struct.pack("!HHHH", 5353, 53, 8 + len(question), 0) + question, "10.0.2.3", NAMESERVER_MAC)
        frame = self.receive(lambda frame: frame[12:14] == b"\x08\x00" and frame[23] == 17 and
                             frame[34:36] == b"\0\x35" and frame[42:44] == question[:2])
        count, = struct.unpack_from("!H", frame, 48)
        at = 42 + len(question)
        found = []
        for _ in range(count):  # each with a compressed name and an address
            found.append(str(ipaddress.ip_address(frame[at + 12:at + 16])))
            at += 16
        return found

    def ping(self, destination, number):
        """Until the reply is there; `number`: not used before."""
        body = struct.pack("!BBHHH", 8, 0, 0, 7, number)
        self._send(1, body[:2] + struct.pack("!H", checksum(body)) + body[4:], destination)
        self.receive(lambda frame: frame[12:14] == b"\x08\x00" and frame[23] == 1 and frame[34] == 0 and
                     frame[38:42] == struct.pack("!HH", 7, number))

    def receive(self, wanted):
        """The next frame for which wanted(frame) is true."""
        for _ in range(1000):
            frame = self.plug.receive()
            if wanted(frame):
                return frame
        raise AssertionError("a thousand frames, and not that one")

    def receive_tcp(self):
        """(flags, seq, ack) of the next segment."""
        return tcp_of(self.receive(tcp_of))[1:4]

    def receive_error(self):
        """(type, code) of the next ICMP message."""
        frame = self.receive(lambda frame: frame[12:14] == b"\x08\x00" and frame[23] == 1)
        return frame[34], frame[35]
