"""What the tests of vde_switch share: the program with pipes, stock clients, frames of our own.

Plug speaks the ctl protocol with plain sockets, so that a test can do what a stock client never
does: ask for a port number, stop reading, die in the middle.
"""

import itertools
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import tempfile
import time
import unittest

from lan_harness import BUILD_DIR, die_with_parent, wait_for

VDE_SWITCH = str(BUILD_DIR / "bin" / "vde_switch")
BROADCAST = b"\xff" * 6
LIMIT_S = 20


def require(*programs):
    for program in (VDE_SWITCH, *programs):
        if shutil.which(program) is None:
            raise AssertionError(f"{program} is missing: tools/check installs and builds it")


def mac(number):
    return b"\x52\x54\x00\x12\x00" + bytes([number])


def frame(source, destination=BROADCAST, ethertype=0x88b5, size=60, tag=None, mark=b""):
    """An Ethernet frame of `size` bytes; `tag`: (TPID, TCI)."""
    head = destination + source + (struct.pack("!HH", *tag) if tag else b"")
    return (head + struct.pack("!H", ethertype) + mark).ljust(size, b"\0")


_plug_numbers = itertools.count()


class Plug:
    """A VDE client by hand. `data` is its connected datagram socket."""

    def __init__(self, directory, port=0, management=False, description=b"test plug",
                 own_directory=None):
        self.path = f"{own_directory or directory}/.{os.getpid():05d}-{next(_plug_numbers):05d}"
        self.ctl = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.data = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ctl.settimeout(LIMIT_S)
        self.data.settimeout(LIMIT_S)
        self.ctl.connect(f"{directory}/ctl")
        self.data.bind(self.path)
        self.ctl.send(struct.pack("=IIIH108s", 0xfeedface, 3, port << 8 | management,
                                  socket.AF_UNIX, self.path.encode()) + description)
        self.reply = self.ctl.recv(200)
        if self.reply:
            self.peer = self.reply[2:].split(b"\0")[0].decode()
            self.data.connect(self.peer)

    def send(self, data):
        self.data.send(data)

    def receive(self):
        return self.data.recv(70000)

    def receive_all(self):
        """What waits, without waiting."""
        frames = []
        self.data.setblocking(False)
        try:
            while True:
                frames.append(self.data.recv(70000))
        except BlockingIOError:
            return frames
        finally:
            self.data.settimeout(LIMIT_S)

    def close(self):
        self.ctl.close()
        self.data.close()
        pathlib.Path(self.path).unlink(missing_ok=True)


class Switch:
    """A running vde_switch with pipes for its console and a file for its errors."""

    def __init__(self, test, *words, program=VDE_SWITCH, ready=True, stdin=subprocess.PIPE,
                 env=None, cwd=None, stdout=subprocess.PIPE, prefix=()):
        self.directory = test.folder / "lan"
        self.errors = test.folder / f"switch-{time.monotonic_ns()}.err"
        words = [str(word) for word in words]
        if "-s" not in words and "--sock" not in words:
            words = ["-s", str(self.directory), *words]
        with open(self.errors, "wb") as errors:
            self.child = subprocess.Popen([*prefix, program, *words], stdin=stdin, stdout=stdout,
                                          stderr=errors, preexec_fn=die_with_parent, cwd=cwd,
                                          env={"HOME": str(test.folder), "PATH": os.environ["PATH"],
                                               **(env or {})})
        test.addCleanup(self.kill)
        if ready:
            wait_for(lambda: (self.directory / "ctl").exists() or self.child.poll() is not None,
                     f"{self.directory}/ctl")
            if self.child.poll() is not None:
                raise AssertionError(f"{program} {words} ended: {self.stderr()}")

    def stderr(self):
        return self.errors.read_text(errors="replace")

    def write(self, text):
        self.child.stdin.write(text.encode())
        self.child.stdin.flush()

    def ask(self, command):
        """The lines of the reply, with the code's line last."""
        self.write(command + "\n")
        return self.read_reply()

    def read_reply(self):
        lines = []
        data = False
        while True:
            line = self.child.stdout.readline().decode()
            if not line:
                raise AssertionError(f"the console ended after {lines}: {self.stderr()}")
            lines.append(line.rstrip("\n"))
            data = data or lines[-1].startswith("0000 ")
            if lines[-1] == ".":
                data = False
            elif not data and lines[-1].startswith("1"):
                return lines

    def wait(self):
        try:
            return self.child.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"vde_switch still runs after {LIMIT_S} s: {self.stderr()}") \
                from None

    def end(self):
        """Ends standard input; the exit status."""
        self.child.stdin.close()
        return self.wait()

    def kill(self):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        for pipe in (self.child.stdin, self.child.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass


class VdeTest(unittest.TestCase):
    """A test with a folder of its own, in which nothing of a switch may be left."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="vde.")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def switch(self, *words, **options):
        return Switch(self, *words, **options)

    def plug(self, switch, **options):
        plug = Plug(switch.directory, **options)
        self.addCleanup(plug.close)
        return plug

    def assert_gone(self, switch):
        self.assertFalse(switch.directory.exists(),
                         list(switch.directory.glob("*")) if switch.directory.exists() else "")

    def assert_silent(self, plug, switch):
        """No frame is on its way to `plug`: what the switch did before an answer it has done."""
        switch.ask("showinfo")
        self.assertEqual(plug.receive_all(), [])
