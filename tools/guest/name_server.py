"""A DNS server small enough to read (RFC 1035 §4), for namespaces without a real one.

Answers A and AAAA questions for the names it is given, NXDOMAIN for all others, over UDP.
"""

import contextlib
import ipaddress
import socket
import struct
import threading

_TYPES = {1: 4, 28: 6}  # A, AAAA: the IP version of their data
_TTL_S = 60


def _question(query):
    """(name, type, bytes of the question section) of a query with one question."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode("ascii"))
        at += 1 + query[at]
    (kind,) = struct.unpack_from("!H", query, at + 1)
    return ".".join(labels).lower(), kind, query[12:at + 5]


def answer(query, names):
    """The reply to one query; `names` maps a name to a list of address strings."""
    name, kind, question = _question(query)
    data = []
    for address in map(ipaddress.ip_address, names.get(name, [])):
        if _TYPES.get(kind) == address.version:
            data.append(address.packed)
    code = 0 if name in names else 3  # NXDOMAIN
    head = struct.pack("!2sHHHHH", query[:2], 0x8580 | code, 1, len(data), 0, 0)
    records = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, _TTL_S, len(item)) + item
                       for item in data)
    return head + question + records


class NameServer:
    """Serves from a thread until the process ends or close() is called."""

    def __init__(self, names, address="127.0.0.1", port=53):
        self.names = {name.lower(): addresses for name, addresses in names.items()}
        self.queries = []  # (name, type) as they came
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, port))
        self._open = True
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self):
        self._open = False
        with contextlib.suppress(OSError):  # "not connected", said after it woke the thread
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _serve(self):
        while True:
            query, peer = self._socket.recvfrom(4096)
            if not self._open:
                return
            try:
                self.queries.append(_question(query)[:2])
                self._socket.sendto(answer(query, self.names), peer)
            except (IndexError, struct.error, UnicodeDecodeError):
                continue  # not a query; a resolver asks again
