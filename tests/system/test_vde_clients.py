"""vde_switch with what people use on it: VDE's own tools, QEMU, and its management socket."""

import os
import pty
import select
import shutil
import socket
import subprocess
import time

import lan_harness
from lan_harness import die_with_parent, wait_for
from vde_harness import BROADCAST, LIMIT_S, VdeTest, frame, mac, require


def setUpModule():
    require("vde_switch", "vde_plug", "dpipe", "unixterm", "vdeterm", "unixcmd", "wirefilter",
            "qemu-system-x86_64")


class ManagementTest(VdeTest):
    def manage(self, *words):
        switch = self.switch("-M", self.folder / "m", *words)
        return switch, str(self.folder / "m")

    def ask_with_unixcmd(self, switch, path):
        said = []
        for words in (["port/create", "5"], ["port/create", "5"], ["zork"], ["ds/showinfo"]):
            done = subprocess.run(["unixcmd", "-s", path, "-f", "/etc/vde2/vdecmd", *words],
                                  text=True, capture_output=True, timeout=LIMIT_S,
                                  stdin=subprocess.DEVNULL)
            said.append((words, done.returncode, done.stdout, done.stderr))
        self.assertIn(f"ctl dir {switch.directory}", said[-1][2])
        self.assertEqual(switch.ask("port/create 5"), ["1017 File exists"])
        self.assertEqual(switch.end(), 0)
        return said

    def test_unixcmd(self):
        """Debian's ends with 255 whatever it is told, so it is held against the stock switch."""
        ours, path = self.manage()
        with_ours = self.ask_with_unixcmd(ours, path)
        stock = self.switch("-M", path, "--dirmode", "0700", program=shutil.which("vde_switch"))
        self.assertEqual(self.ask_with_unixcmd(stock, path), with_ours)

    def test_terminals(self):
        """vdeterm sends its lines without line feeds."""
        switch, path = self.manage()
        for program, prompt in (("unixterm", "vde$ "), ("vdeterm", f"vde[{path}]: ")):
            ours, theirs = pty.openpty()
            child = subprocess.Popen([program, path], stdin=theirs, stdout=theirs, stderr=theirs,
                                     env={**os.environ, "TERM": "dumb"},
                                     preexec_fn=die_with_parent)
            os.close(theirs)
            seen = b""

            def until(what):
                nonlocal seen
                while what not in seen:
                    self.assertTrue(select.select([ours], [], [], LIMIT_S)[0], (program, seen))
                    seen += os.read(ours, 4096)
                seen = seen.split(what, 1)[1]

            until(prompt.encode())
            os.write(ours, b"showinfo\n")
            until(b"VDE switch V.2.3.3")
            until(b"Success")
            os.write(ours, b"zork\n")
            until(b"Function not implemented")
            os.write(ours, b"logout\n")
            child.wait(LIMIT_S)
            os.close(ours)
        self.assertEqual(switch.ask("showinfo")[-1], "1000 Success")

    def test_a_session_that_does_not_read_stalls_nothing(self):
        switch, path = self.manage()
        deaf = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.addCleanup(deaf.close)
        deaf.connect(path)
        deaf.setblocking(False)
        try:
            while True:
                deaf.send(b"debug/add\nhelp\n" * 100)
                time.sleep(0.001)
        except BlockingIOError:
            pass
        self.assertEqual(switch.ask("showinfo")[-1], "1000 Success")
        one, two = self.plug(switch), self.plug(switch)
        one.send(frame(mac(1)))
        self.assertEqual(two.receive(), frame(mac(1)))

    def test_shutdown_and_a_path_that_cannot_be_had(self):
        switch, path = self.manage()
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.addCleanup(client.close)
        client.connect(path)
        client.settimeout(LIMIT_S)
        client.send(b"shutdown")
        said = b""
        while chunk := client.recv(4096):
            said += chunk
        self.assertTrue(said.endswith(b"\nvde$ 9999 END OF SESSION"), said)
        self.assertEqual(switch.wait(), 0)
        self.assert_gone(switch)
        switch = self.switch("-M", "/nonexistent/m")
        self.assertIn("/nonexistent/m", switch.stderr())
        self.assertEqual(switch.ask("showinfo")[-1], "1000 Success")


class StockPrograms(VdeTest):
    def start(self, *words, **options):
        child = subprocess.Popen([str(word) for word in words], preexec_fn=die_with_parent,
                                 **options)

        def stop():
            if child.poll() is None:
                child.terminate()
            child.wait(LIMIT_S)
            if child.stdin is not None:
                child.stdin.close()
        self.addCleanup(stop)
        return child

    def active_ports(self, switch):
        return len([line for line in switch.ask("port/print") if " ACTIVE" in line])

    def two_lans(self):
        left = self.switch()
        folder, self.folder = self.folder, self.folder / "right"
        self.folder.mkdir()
        right = self.switch()
        self.folder = folder
        return left, right

    def check_crossing(self, left, right):
        one, two = self.plug(left), self.plug(right)
        one.send(frame(mac(1), mark=b"there"))
        self.assertEqual(two.receive(), frame(mac(1), mark=b"there"))
        two.send(frame(mac(2), mac(1), mark=b"back", size=1514))
        self.assertEqual(one.receive(), frame(mac(2), mac(1), mark=b"back", size=1514))

    def test_dpipe_of_two_vde_plugs(self):
        left, right = self.two_lans()
        self.start("dpipe", "vde_plug", left.directory, "=", "vde_plug", right.directory)
        wait_for(lambda: self.active_ports(left) == self.active_ports(right) == 1, "vde_plug")
        self.check_crossing(left, right)

    def test_wirefilter(self):
        left, right = self.two_lans()
        self.start("wirefilter", "-v", f"{left.directory}:{right.directory}",
                   stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: self.active_ports(left) == self.active_ports(right) == 1, "wirefilter")
        self.check_crossing(left, right)
        self.assertIn("vde_crosscable", "\n".join(left.ask("port/print")))

    def test_qemu(self):
        switch = self.switch()
        plug = self.plug(switch)
        qmp = self.folder / "qmp"
        self.start("qemu-system-x86_64", "-display", "none", "-nodefaults", "-machine",
                   "pc,accel=tcg", "-netdev", f"vde,id=n,sock={switch.directory},port=9",
                   "-device", "virtio-net-pci,netdev=n,romfile=,mac=52:54:00:12:01:01",
                   "-qmp", f"unix:{qmp},server=on,wait=off", stdin=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
        wait_for(lambda: self.active_ports(switch) == 2, "QEMU's plug")
        self.assertIn("QEMU user=", "\n".join(switch.ask("port/print 9")))
        wait_for(qmp.exists, "QMP")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
            control.settimeout(LIMIT_S)
            control.connect(str(qmp))
            control.sendall(b'{"execute": "qmp_capabilities"}\n{"execute": "announce-self", '
                            b'"arguments": {"initial": 50, "max": 100, "rounds": 2, "step": 10}}\n')
            while True:
                seen = plug.receive()
                if seen[6:12] == bytes.fromhex("525400120101"):
                    break
        self.assertEqual(seen[:6], BROADCAST)


if __name__ == "__main__":
    lan_harness.main()
