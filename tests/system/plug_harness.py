"""What the tests of plugs share: interfaces in namespaces, faces that plug in, a stock switch to plug into."""

import os
import signal
import socket
import subprocess
import threading

import lan_harness
from lan_harness import BUILD_DIR, LANYARD, NetNamespace, wait_for

PLUG2TAP = str(BUILD_DIR / "bin" / "vde_plug2tap")
SLIRPVDE = str(BUILD_DIR / "bin" / "slirpvde")
USAGE_STATUS = 255  # of stock tools


def interfaces():
    return {name for _, name in socket.if_nameindex()}  # /sys may show another namespace


def in_namespace_of(process_id, work):
    """Runs work() on a thread of its own inside another network namespace."""
    result = []

    def run():
        with open(f"/proc/{process_id}/ns/net", "rb") as namespace:
            if lan_harness.ctypes.CDLL(None).setns(namespace.fileno(), 0) != 0:
                raise OSError("setns failed")
        result.append(work())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return result[0]


class PlugTest(lan_harness.LanTest):
    @classmethod
    def setUpClass(cls):  # these tests need no guest
        for program in (LANYARD, PLUG2TAP, SLIRPVDE):
            if not os.access(program, os.X_OK):
                raise AssertionError(f"{program} is missing: build it")

    def add_node(self, number, interface):
        """A namespace 10.9.0.NUMBER, whose end of a veth pair is eth0 and ours `interface`."""
        node = NetNamespace()
        self.addCleanup(node.close)
        subprocess.run(f"ip link add {interface} type veth peer name eth0 netns {node.pid} && "
                       f"ip link set {interface} up arp off", shell=True, check=True)
        self.addCleanup(subprocess.run, ["ip", "link", "del", interface],
                        stderr=subprocess.DEVNULL)
        node.run(f"sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1; "
                 f"ip address add 10.9.0.{number}/24 dev eth0; ip link set eth0 up")
        return node

    def plug(self, name, directory, kind, interface):
        process = self.start(name, [LANYARD, "plug", kind, interface, directory])
        wait_for(lambda: "is plugged into" in process.stderr() or not process.running(),
                 f"{name} to be ready")
        self.assertTrue(process.running(), process.stderr())
        return process

    def plug_node(self, directory, number):
        node = self.add_node(number, f"plug{number}")
        return node, self.plug(f"plug-{number}", directory, "--packet", f"plug{number}")

    def start_face(self, name, argv, ready):
        process = self.start(name, argv)
        wait_for(lambda: ready(process) or not process.running(), f"{name} to be ready")
        self.assertTrue(process.running(), process.stderr())
        return process

    def start_stock_switch(self, *options):
        directory = self.folder / "stock"
        switch = self.start("vde_switch", ["/usr/bin/vde_switch", "-s", directory, "--dirmode",
                                           "0700", "-x", *options, "-M", self.folder / "mgmt",
                                           "-d", "-p", self.folder / "pid"])
        switch.wait(10)
        wait_for(lambda: (self.folder / "pid").exists() and (self.folder / "pid").read_text(),
                 "the stock switch's pid file")
        pid = int((self.folder / "pid").read_text())
        self.addCleanup(lambda: (self.folder / "pid").exists() and os.kill(pid, signal.SIGTERM))
        wait_for(lambda: (directory / "ctl").exists(), "the stock switch")
        return directory, pid

    def ask_stock_switch(self, command):
        with socket.socket(socket.AF_UNIX) as console:
            console.settimeout(10)
            console.connect(str(self.folder / "mgmt"))
            while not console.recv(4096).endswith(b"vde$ "):
                pass
            console.sendall(command.encode())
            reply = b""
            while not reply.endswith(b"vde$ "):
                reply += console.recv(4096)
        return reply.decode()

    def assert_ends(self, argv, status, *words):
        """The program ends at once with that status and one line that holds these words."""
        done = subprocess.run([str(word) for word in argv], text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
