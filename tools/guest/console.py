"""Reads what the test guest prints on its serial console: the "@@" lines of tools/guest/README.md.

Feed it lines as they come; it keeps the facts and hands back what the line completed.
"""

import re
from dataclasses import dataclass, field

_LEASE = re.compile(r"(\S+)/(\d+) gw (\S+) dns (.+) ([0-9.]+)s$")


@dataclass
class Command:
    """One command of the guest: status stays None while it runs."""
    number: int
    text: str
    lines: list = field(default_factory=list)
    status: int | None = None
    seconds: float = 0.0

    @property
    def output(self):
        return "\n".join(self.lines)


@dataclass
class Lease:
    address: str
    prefix_length: int
    gateway: str
    name_servers: list
    seconds: float


class Console:
    def __init__(self):
        self.ready_seconds = None  # since the kernel started
        self.lease = None          # Lease; stays None when the guest says "lease none"
        self.lease_refused = False
        self.commands = []
        self.done = False
        self.stray_lines = []      # printed outside any command: firmware, kernel, /init

    def feed(self, raw):
        """Takes one line. Returns "ready", "lease", "no lease", "done", a Command that just ended,
        or None."""
        line = raw.rstrip("\r\n")
        running = self.commands[-1] if self.commands and self.commands[-1].status is None else None
        if not line.startswith("@@ "):
            (running.lines if running else self.stray_lines).append(line)
            return None
        word, _, rest = line[3:].partition(" ")
        if word == "ready":
            self.ready_seconds = float(rest.rstrip("s"))
            return "ready"
        if word == "lease":
            return self._take_lease(rest)
        if word == "done":
            self.done = True
            return "done"
        if word.isdigit() and rest.startswith("$ "):
            self.commands.append(Command(int(word), rest[2:]))
        elif word.isdigit() and rest.startswith("exit ") and running:
            _, status, seconds = rest.split()
            running.status, running.seconds = int(status), float(seconds.rstrip("s"))
            return running
        else:
            (running.lines if running else self.stray_lines).append(line)
        return None

    def _take_lease(self, rest):
        match = _LEASE.match(rest)
        if not match:
            self.lease_refused = True
            return "no lease"
        address, length, gateway, servers, seconds = match.groups()
        self.lease = Lease(address, int(length), gateway,
                           [] if servers == "none" else servers.split(), float(seconds))
        return "lease"


def read_console(text):
    """The Console of a whole log."""
    console = Console()
    for line in text.splitlines():
        console.feed(line)
    return console
