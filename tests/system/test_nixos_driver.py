"""vde_switch under the NixOS test driver, without the driver: this speaks as it does.

Present form: `vde_switch --sock DIR --dirmode 0700 [--hub]` on pipes; "showinfo", then lines until
one holds "1000 Success"; DIR/ctl must exist; at the end stdin is closed and SIGTERM sent.
Earlier form: `vde_switch -s DIR --dirmode 0700 [--hub]` with a pty as stdin, stderr a pipe that
nobody reads; "version", then one line.

Directories are named and placed as the driver does it: vde<N>.ctl in a directory of mode 0700.
"""

import concurrent.futures
import os
import pty
import select
import struct
import subprocess

import lan_harness
from lan_harness import die_with_parent
from vde_harness import LIMIT_S, VDE_SWITCH, Plug, VdeTest, frame, mac, require

ROUND_COUNT = 50
PARALLEL_COUNT = 8
REPLY_LIMIT_S = 5  # the driver's own
LACP = bytes.fromhex("0180c2000002")
LLDP = bytes.fromhex("0180c200000e")
BPDU = bytes.fromhex("0180c2000000")


def setUpModule():
    require()


class PresentVlan:
    """A VLan of today's driver."""

    def __init__(self, folder, number, hub):
        self.directory = folder / f"vde{number}.ctl"
        words = ["vde_switch", "--sock", str(self.directory), "--dirmode", "0700"]
        self.errors = folder.parent / f"{self.directory.name}.err"
        with open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(words + ["--hub"] * hub, executable=VDE_SWITCH,
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=errors, preexec_fn=die_with_parent)
        self.process.stdin.write(b"showinfo\n")
        self.process.stdin.flush()
        self.read_until("1000 Success")
        assert (self.directory / "ctl").exists(), "cannot start vde_switch"

    def read_until(self, what):
        seen = b""
        while what.encode() not in seen:
            ready, _, _ = select.select([self.process.stdout], [], [], REPLY_LIMIT_S)
            assert ready, f"waited {REPLY_LIMIT_S} s for {what}; seen {seen}"
            chunk = os.read(self.process.stdout.fileno(), 4096)
            assert chunk, f"the switch ended: {self.errors.read_text()}"
            seen += chunk

    def stop(self):
        if self.process.stdout.closed:
            return self.process.returncode
        self.process.stdin.close()
        self.process.terminate()
        status = self.process.wait(LIMIT_S)
        self.process.stdout.close()
        return status


class EarlierVlan:
    """A VLan of the driver before it used pipes throughout."""

    def __init__(self, folder, number, hub):
        self.directory = folder / f"vde{number}.ctl"
        self.pty, theirs = pty.openpty()
        self.process = subprocess.Popen(
            ["vde_switch", "-s", str(self.directory), "--dirmode", "0700"] + ["--hub"] * hub,
            executable=VDE_SWITCH, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=die_with_parent)
        os.close(theirs)
        os.write(self.pty, b"version\n")
        line = self.process.stdout.readline()
        assert line == b"1038 Function not implemented\n", line
        assert (self.directory / "ctl").exists(), "cannot start vde_switch"

    def stop(self):
        self.process.terminate()
        status = self.process.wait(LIMIT_S)
        os.close(self.pty)
        self.process.stdout.close()
        self.process.stderr.close()
        return status


class NixosDriver(VdeTest):
    def setUp(self):
        super().setUp()
        self.build = self.folder / "build"  # the sandbox's TMPDIR
        self.build.mkdir(mode=0o700)

    def round(self, form, number, hub):
        """One VLAN's life with two machines on it. Everything is asserted in here."""
        vlan = form(self.build, number, hub)
        machines = [Plug(vlan.directory, description=b"QEMU user=nixbld1 pid=42") for _ in range(2)]
        try:
            machines[0].send(frame(mac(1), mark=struct.pack("!I", number)))
            assert machines[1].receive() == frame(mac(1), mark=struct.pack("!I", number))
            machines[0].close()  # one machine ends before the switch, the other outlives it
            status = vlan.stop()
            assert status == 0, status
            assert not vlan.directory.exists(), os.listdir(vlan.directory)
        finally:
            for machine in machines:
                machine.close()
            if vlan.process.poll() is None:
                vlan.process.kill()
                vlan.process.wait()

    def test_fifty_starts_in_parallel(self):
        for form in (PresentVlan, EarlierVlan):
            with concurrent.futures.ThreadPoolExecutor(PARALLEL_COUNT) as pool:
                rounds = [pool.submit(self.round, form, number, number % 2 == 0)
                          for number in range(1, ROUND_COUNT + 1)]
                for done in rounds:
                    done.result()
            self.assertEqual(os.listdir(self.build), [])

    def test_the_present_driver_is_told_nothing_but_its_end(self):
        vlan = PresentVlan(self.build, 1, hub=False)
        self.assertEqual(vlan.stop(), 0)
        for line in vlan.errors.read_text().splitlines():
            self.assertIn(line, ("vde_switch: EOF on stdin, cleaning up and exiting",
                                 "vde_switch: Caught signal 15, cleaning up and exiting"))

    def test_sigterm_while_it_ends_changes_nothing(self):
        # The driver closes stdin and sends SIGTERM at once: at any point of the way to the end.
        for number in range(1, 11):
            vlan = PresentVlan(self.build, number, hub=False)
            vlan.process.stdin.close()
            while vlan.process.poll() is None:
                vlan.process.terminate()
            self.assertEqual(vlan.stop(), 0)
        self.assertEqual(os.listdir(self.build), [])

    def on_a_vlan(self, hub):
        vlan = PresentVlan(self.build, 1, hub)
        self.addCleanup(vlan.stop)
        machines = [Plug(vlan.directory) for _ in range(3)]
        for machine in machines:
            self.addCleanup(machine.close)
        return vlan, machines

    def check_crossing(self, machines, data):
        machines[0].send(data)
        for machine in machines[1:]:
            self.assertEqual(machine.receive(), data)

    def test_what_the_networking_tests_need_crosses(self):
        for hub in (False, True):
            with self.subTest(hub=hub):
                vlan, machines = self.on_a_vlan(hub)
                frames = {
                    "VLAN 42": frame(mac(1), tag=(0x8100, 42), size=64),
                    "VLAN 42, largest": frame(mac(1), tag=(0x8100, 42), size=1518),
                    "VLAN 42, PCP 5 and DEI": frame(mac(1), tag=(0x8100, 0xb02a), size=64),
                    "priority tag": frame(mac(1), tag=(0x8100, 0xe000), size=64),
                    "802.1ad over 802.1Q": frame(mac(1), tag=(0x88a8, 7), ethertype=0x8100,
                                                 size=1522),
                    "LACP": frame(mac(1), LACP, ethertype=0x8809, size=124),
                    "LLDP": frame(mac(1), LLDP, ethertype=0x88cc),
                    "BPDU": frame(mac(1), BPDU, ethertype=0x0026),
                    "router advertisement": frame(mac(1), bytes.fromhex("333300000001"),
                                                  ethertype=0x86dd, size=118),
                    "jumbo": frame(mac(1), size=9014),
                }
                for what, data in frames.items():
                    with self.subTest(what):
                        self.check_crossing(machines, data)
                self.assertEqual(vlan.stop(), 0)

    def test_a_tagged_unicast_goes_to_its_machine_alone(self):
        vlan, machines = self.on_a_vlan(hub=False)
        machines[1].send(frame(mac(2), tag=(0x8100, 42), size=64))
        for machine in (machines[0], machines[2]):
            machine.receive()
        machines[0].send(frame(mac(1), mac(2), tag=(0x8100, 42), size=64))
        self.assertEqual(machines[1].receive(), frame(mac(1), mac(2), tag=(0x8100, 42), size=64))
        vlan.process.stdin.write(b"hash/print\n")
        vlan.process.stdin.flush()
        vlan.read_until("1000 Success")
        self.assertEqual(machines[2].receive_all(), [])


if __name__ == "__main__":
    lan_harness.main()
