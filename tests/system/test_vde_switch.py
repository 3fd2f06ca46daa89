"""vde_switch as its users have known it: command line, life and death, console, plugs.

What stock programs see of it is in test_vde_clients.py.
"""

import os
import pathlib
import pty
import select
import signal
import socket
import stat
import struct
import subprocess
import threading
import time

import lan_harness
from lan_harness import die_with_parent, wait_for
from vde_harness import LIMIT_S, VDE_SWITCH, Plug, VdeTest, frame, mac, require


def setUpModule():
    require()


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


class CommandLine(VdeTest):
    def run_words(self, *words):
        return subprocess.run([VDE_SWITCH, *map(str, words)], stdin=subprocess.DEVNULL, text=True,
                              capture_output=True, timeout=LIMIT_S,
                              env={"HOME": str(self.folder)})

    def test_forms(self):
        for words in (["-s"], ["--sock"], ["-sock"], ["--so"], ["--vdesock"], ["--unix"], ["-u"]):
            switch = self.switch(*words, self.folder / "lan", ready=False)
            switch.directory = self.folder / "lan"
            wait_for((switch.directory / "ctl").exists, f"{words} to make its socket")
            self.assertEqual(switch.end(), 0)
            self.assert_gone(switch)
        switch = self.switch("-xFd"[:3], "-numports=64", "--hashsize", 64, "--priority", "0x10",
                             "--macaddr", "00.ff.01.02.03.04", "-D", 3)
        self.assertIn("HUB=true", switch.ask("port/showinfo"))
        self.assertIn("Numports=64", switch.ask("port/showinfo"))
        self.assertIn("Hash size 64", switch.ask("hash/showinfo"))
        self.assertIn("MAC 00:ff:01:02:03:04 Priority 16 (0x10)", switch.ask("fstp/showinfo"))
        self.assertEqual(switch.end(), 0)

    def test_statuses(self):
        for words, status in ((["-h"], 1), (["--help"], 1), (["-v"], 0), (["--version"], 0)):
            done = self.run_words(*words)
            self.assertEqual((done.returncode, done.stderr), (status, ""), words)
            self.assertTrue(done.stdout)
        self.assertTrue(self.run_words("-v").stdout.startswith("VDE 2.3.3"))
        for words in (["--frobnicate"], ["-Z"], ["word"], ["-s"], ["-m", "9"], ["-n", "0"],
                      ["-g", "no-such-group"], ["--macaddr", "1:2"]):
            done = self.run_words(*words)
            self.assertEqual((done.returncode, done.stdout), (1, ""), words)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            self.assertTrue(done.stderr.startswith(f"{VDE_SWITCH}: "), done.stderr)

    def test_modes(self):
        for words, directory, ctl in ((["--dirmode", "0700"], 0o700, 0o600),
                                      ([], 0o700, 0o600),
                                      (["--dirmode", "0770"], 0o770, 0o660),
                                      (["-m", "0666", "--dirmode", "0755"], 0o755, 0o666),
                                      (["-m", "0660"], 0o2770, 0o660)):
            switch = self.switch(*words)
            self.assertEqual(mode_of(switch.directory), directory, words)
            self.assertEqual(mode_of(switch.directory / "ctl"), ctl, words)
            self.assertEqual(switch.ask("ds/showinfo")[1:3],
                             [f"ctl dir {switch.directory}", f"std mode 0{ctl:o}"])
            self.assertEqual(switch.end(), 0)
            self.assert_gone(switch)

    def test_an_existing_directory_gets_the_mode_and_goes_at_the_end(self):
        (self.folder / "lan").mkdir(mode=0o755)
        switch = self.switch("--dirmode", "0750")
        self.assertEqual(mode_of(switch.directory), 0o750)
        switch.end()
        self.assert_gone(switch)

    def test_long_directories(self):
        for size in (94, 108):
            directory = self.folder / ("x" * (size - len(str(self.folder)) - 1))
            self.assertEqual(len(str(directory)), size)
            switch = self.switch("-s", directory, ready=False)
            switch.directory = directory
            if size == 94:
                wait_for((directory / "ctl").exists, "the socket in a directory of 94 characters")
                one = Plug(directory, own_directory=self.folder)
                two = Plug(directory, own_directory=self.folder)
                one.send(frame(mac(1), mark=b"long"))
                self.assertEqual(two.receive(), frame(mac(1), mark=b"long"))
                one.close()
                two.close()
                self.assertEqual(switch.end(), 0)
            else:
                self.assertEqual(switch.wait(), 255)
                self.assertEqual(switch.stderr().count("\n"), 1, switch.stderr())
                self.assertIn("takes 108 bytes", switch.stderr())
            self.assertEqual([path.name for path in self.folder.iterdir()
                              if not path.name.endswith(".err")], [])

    def test_a_missing_tap_is_not_fatal(self):
        switch = self.switch("-t", "this-name-is-too-long-for-a-tap")
        self.assertIn("this-name-is-too-long-for-a-tap", switch.stderr())
        self.assertEqual(switch.ask("port/print")[-1], "1000 Success")

    def test_a_tap(self):
        if not os.path.exists("/dev/net/tun"):
            switch = self.switch("-t", "lanyard0")
            self.assertIn("/dev/net/tun", switch.stderr())
            return
        lan_harness.need_tun(self)
        switch = self.switch("-t", "lanyard0", "-tap", "lanyard1")
        text = "\n".join(switch.ask("port/print"))
        self.assertEqual(switch.stderr(), "")
        self.assertIn("module tuntap      : lanyard0", text)
        self.assertIn("module tuntap      : lanyard1", text)
        self.assertEqual(switch.end(), 0)


class LifeAndDeath(VdeTest):
    def test_signals(self):
        for number, status in ((signal.SIGTERM, 0), (signal.SIGINT, -2), (signal.SIGHUP, -1)):
            switch = self.switch("-M", self.folder / "m", "-p", self.folder / "p")
            plug = self.plug(switch)
            switch.child.send_signal(number)
            self.assertEqual(switch.wait(), status)
            self.assertIn(f"{VDE_SWITCH}: Caught signal {int(number)}, cleaning up and exiting\n",
                          switch.stderr())
            self.assertEqual(plug.ctl.recv(1), b"")
            self.assert_gone(switch)
            self.assertFalse((self.folder / "m").exists())
            self.assertFalse((self.folder / "p").exists())

    def test_ignored_signals(self):
        switch = self.switch()
        for number in (signal.SIGPIPE, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2,
                       signal.SIGPROF, signal.SIGVTALRM, signal.SIGIO, signal.SIGPWR):
            switch.child.send_signal(number)
        self.assertEqual(switch.ask("showinfo")[-1], "1000 Success")

    def test_a_management_socket_that_was_not_made_is_not_shown(self):
        switch = self.switch("-M", "/nowhere/mgmt")
        self.assertNotIn("mgmt", " ".join(switch.ask("showinfo")))
        self.assertIn("/nowhere/mgmt", switch.stderr())

    def test_end_of_input(self):
        switch = self.switch()
        self.assertEqual(switch.end(), 0)
        self.assertEqual(switch.stderr(),
                         f"{VDE_SWITCH}: EOF on stdin, cleaning up and exiting\n")
        for stdin in ("/dev/null", __file__):
            with open(stdin, "rb") as file:
                switch = self.switch(stdin=file, ready=False, stdout=subprocess.DEVNULL)
            self.assertEqual(switch.wait(), 0)
            self.assert_gone(switch)

    def test_nostdin(self):
        switch = self.switch("--nostdin", stdin=subprocess.DEVNULL)
        plug = self.plug(switch)
        self.assertTrue(plug.reply)
        self.assertIsNone(switch.child.poll())
        switch.child.terminate()
        self.assertEqual(switch.wait(), 0)
        self.assert_gone(switch)

    def test_shutdown(self):
        switch = self.switch()
        switch.write("shutdown\nshowinfo\n")
        self.assertEqual(switch.wait(), 0)
        self.assertEqual(switch.child.stdout.read(), b"")
        self.assert_gone(switch)

    def test_a_directory_in_use_is_left_alone(self):
        switch = self.switch("-p", self.folder / "pid")
        second = self.switch(ready=False)
        self.assertEqual(second.wait(), 255)
        self.assertEqual(second.stderr().count("\n"), 1)
        self.assertIn("in use by a running switch", second.stderr())
        third = self.switch("-s", self.folder / "other", "-p", self.folder / "pid", ready=False)
        self.assertEqual(third.wait(), 1)
        self.assertIn("File exists", third.stderr())
        self.assertFalse((self.folder / "other").exists())
        self.assertEqual((self.folder / "pid").read_text(), f"{switch.child.pid}\n")
        self.assertTrue(self.plug(switch).reply)
        switch.end()
        self.assertFalse((self.folder / "pid").exists())

    def test_what_a_killed_switch_left_is_swept(self):
        first = self.switch()
        plug = self.plug(first)
        first.child.kill()
        first.wait()
        left = {path.name for path in first.directory.iterdir()}
        self.assertIn("ctl", left)
        self.assertGreaterEqual(len(left), 3)  # ctl, stream, our end of the plug, its own
        plug.data.close()
        second = self.switch()
        clean = {"ctl", "stream", "vhost-user"}
        wait_for(lambda: {path.name for path in second.directory.iterdir()} == clean,
                 "a clean directory")
        second.ask("showinfo")  # answered when its ctl stands in the place of the old one
        self.assertTrue(self.plug(second).reply)
        self.assertEqual(second.end(), 0)
        self.assert_gone(second)

    def test_the_directory_goes_though_clients_live(self):
        switch = self.switch()
        plugs = [self.plug(switch) for _ in range(3)]
        self.assertTrue(all(os.path.exists(plug.path) for plug in plugs))
        self.assertEqual(switch.end(), 0)
        self.assert_gone(switch)

    def test_daemon(self):
        words = ["-d", "-s", self.folder / "lan", "-p", "pid", "-M", "mgmt", "--mgmtmode", "0640"]
        done = subprocess.run([VDE_SWITCH, *map(str, words)], cwd=self.folder, timeout=LIMIT_S,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        pid = int((self.folder / "pid").read_text())
        self.addCleanup(lambda: os.path.exists(f"/proc/{pid}") and os.kill(pid, signal.SIGKILL))
        self.assertTrue((self.folder / "lan" / "ctl").exists())  # at once: it is ready
        self.assertEqual(mode_of(self.folder / "mgmt"), 0o640)
        self.assertEqual(os.readlink(f"/proc/{pid}/cwd"), "/")
        self.assertEqual(os.readlink(f"/proc/{pid}/fd/0"), "/dev/null")
        self.assertEqual(os.getsid(pid), pid)
        again = subprocess.run([VDE_SWITCH, *map(str, words)], cwd=self.folder, timeout=LIMIT_S,
                               stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.assertEqual(again.returncode, 1)  # the pid file
        self.assertIn("File exists", again.stderr)
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not (self.folder / "pid").exists(), "the daemon to end")
        self.assertEqual([path.name for path in self.folder.iterdir()], [])

    def test_rc_file(self):
        (self.folder / "rc").write_text("vlan/create 7\nport/create 5\nzork\nport/setvlan 5 7\n")
        switch = self.switch("-f", self.folder / "rc")
        self.assertEqual(switch.ask("vlan/allprint 7")[1:3],
                         ["VLAN 0007", " -- Port 0005 tagged=0 active=0 status=Learning"])
        switch.end()
        self.assertEqual(switch.stderr(),
                         f"{VDE_SWITCH}: EOF on stdin, cleaning up and exiting\n")
        (self.folder / ".vde2").mkdir()
        (self.folder / ".vde2" / "vde_switch.rc").write_text("vlan/create 8")
        switch = self.switch()
        self.assertEqual(switch.ask("vlan/print 8")[1], "VLAN 0008")
        switch.end()
        switch = self.switch("--rcfile", self.folder / "absent")
        self.assertIn("absent: No such file or directory", switch.stderr())
        switch.end()
        os.mkfifo(self.folder / "fifo")
        switch = self.switch("-f", self.folder / "fifo")
        self.assertIn("fifo: its writer has not come to an end; write the commands into a file\n", switch.stderr())
        switch.end()
        switch = self.switch(prefix=["bash", "-c", 'exec "$0" "$@" -f <(echo port/sethub 1)'])
        self.assertIn("HUB=true", switch.ask("port/showinfo"))
        switch.end()
        switch = self.switch("-f", "/dev/null")
        self.assertEqual(switch.stderr(), "")
        switch.end()


class ConsoleTest(VdeTest):
    def test_bytes_on_pipes(self):
        switch = self.switch("-M", self.folder / "m")
        switch.write("\n# nothing\nshowinfo\nversion\nlogout\nhelp zz\n")
        lines = switch.read_reply()
        self.assertEqual(lines[:2], ["0000 DATA END WITH '.'", "VDE switch V.2.3.3"])
        self.assertTrue(lines[4].startswith(f"pid {switch.child.pid} MAC 00:ff:"), lines)
        self.assertEqual(lines[5:], [f"mgmt {self.folder}/m perm 0600", ".", "1000 Success"])
        self.assertEqual(switch.read_reply(), ["1038 Function not implemented"])
        self.assertEqual(switch.read_reply()[-2:], [".", "1000 Success"])
        self.assertEqual(switch.end(), 0)
        self.assertEqual(switch.child.stdout.read(), b"")

    def test_prompt_on_a_terminal(self):
        ours, theirs = pty.openpty()
        switch = self.switch(stdin=theirs)
        os.close(theirs)
        os.write(ours, b"version\n")
        self.assertEqual(switch.child.stdout.readline(), b"1038 Function not implemented\n")
        seen = b""
        while not seen.endswith(b"vde$ "):
            self.assertTrue(select.select([ours], [], [], LIMIT_S)[0], seen)
            seen += os.read(ours, 1000)
        self.assertTrue(seen.endswith(b"\r\nvde$ "), seen)
        os.close(ours)
        self.assertEqual(switch.wait(), 0)
        self.assert_gone(switch)

    def test_an_undrained_pipe_stalls_nothing(self):
        switch = self.switch("--dirmode", "0700")
        one, two = self.plug(switch), self.plug(switch)
        os.set_blocking(switch.child.stdin.fileno(), False)
        written = 0
        try:
            while written < 1 << 20:
                written += os.write(switch.child.stdin.fileno(), b"help\n" * 200)
                time.sleep(0.001)
        except BlockingIOError:
            pass
        for number in range(200):
            one.send(frame(mac(1), mark=struct.pack("!I", number)))
            self.assertEqual(two.receive(), frame(mac(1), mark=struct.pack("!I", number)))
        self.assertTrue(self.plug(switch).reply)
        switch.child.stdin.close()
        self.assertEqual(switch.wait(), 0)
        self.assert_gone(switch)

    def test_replies_are_whole_when_read_late(self):
        switch = self.switch("--dirmode", "0700")
        count = 400
        writer = threading.Thread(target=switch.write, args=("help\n" * count,))
        writer.start()
        time.sleep(0.2)
        replies = [switch.read_reply() for _ in range(count)]
        writer.join()
        self.assertTrue(all(reply == replies[0] for reply in replies))
        self.assertEqual(replies[0][-1], "1000 Success")

    def test_replies_are_whole_when_the_writer_has_left(self):
        switch = self.switch()
        switch.write("help\n" * 400)
        switch.child.stdin.close()
        time.sleep(0.2)
        self.assertEqual(switch.child.stdout.read().count(b"\n1000 Success\n"), 400)
        self.assertEqual(switch.wait(), 0)

    def test_an_unread_stderr_stalls_nothing(self):
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        os.set_blocking(write, False)
        try:
            while True:
                os.write(write, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(write, True)
        directory = self.folder / "lan"
        child = subprocess.Popen([VDE_SWITCH, "-s", directory], stdin=subprocess.PIPE, stderr=write,
                                 stdout=subprocess.DEVNULL, preexec_fn=die_with_parent)
        os.close(write)
        wait_for((directory / "ctl").exists, "the switch with an unread stderr")
        child.stdin.close()
        self.assertEqual(child.wait(LIMIT_S), 0)
        self.assertFalse(directory.exists())


class Plugs(VdeTest):
    def test_port_numbers(self):
        switch = self.switch()
        seven = self.plug(switch, port=7)
        sibling = self.plug(switch, port=7)
        zero = self.plug(switch, management=True)
        plain = self.plug(switch)
        self.assertTrue(pathlib.Path(seven.peer).name.startswith("007."))
        self.assertTrue(pathlib.Path(zero.peer).name.startswith("000."))
        self.assertTrue(pathlib.Path(plain.peer).name.startswith("001."))
        plain.send(frame(mac(1)))
        self.assertEqual([p.receive() for p in (seven, sibling, zero)], [frame(mac(1))] * 3)
        seven.send(frame(mac(7), mac(1)))
        self.assertEqual(plain.receive(), frame(mac(7), mac(1)))
        self.assert_silent(sibling, switch)
        listed = [line for line in switch.ask("port/print 7") if "endpoint ID" in line]
        self.assertEqual(len(listed), 2)

    def test_what_cannot_be_served_ends_at_once(self):
        switch = self.switch("-n", 3)
        self.assertEqual(self.plug(switch, port=5000).reply, b"")
        self.assertTrue(all(self.plug(switch).reply for _ in range(40)))
        for request in (b"x", b"\0" * 122, struct.pack("=IIIH108s", 0xfeedface, 3, 9, 1, b"/x"),
                        struct.pack("=IIIH108s", 0xfeedface, 3, 0, 1, b"/nonexistent/x")):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as ctl:
                ctl.settimeout(LIMIT_S)
                ctl.connect(str(switch.directory / "ctl"))
                ctl.send(request)
                self.assertEqual(ctl.recv(200), b"", request)

    def test_killed_clients_leave_nothing(self):
        switch = self.switch()
        reader = self.plug(switch)
        code = ("import sys, time; sys.path.insert(0, sys.argv[1])\n"
                "import vde_harness as v\n"
                "plug = v.Plug(sys.argv[2])\n"
                "print('up', flush=True)\n"
                "plug.data.setblocking(False)\n"
                "while True:\n"
                "    try: plug.send(v.frame(v.mac(9), size=1514))\n"
                "    except BlockingIOError: time.sleep(0.01)\n")
        for _ in range(5):
            child = subprocess.Popen(
                ["python3", "-B", "-c", code, pathlib.Path(__file__).parent, switch.directory],
                stdout=subprocess.PIPE, preexec_fn=die_with_parent)
            self.assertEqual(child.stdout.readline(), b"up\n")
            reader.receive()
            child.kill()
            child.wait()
            child.stdout.close()
        wait_for(lambda: len([line for line in switch.ask("port/print") if "ACTIVE" in line]) == 1,
                 "the killed clients' ports")
        self.assertNotIn("to port: 002", "\n".join(switch.ask("hash/print")))
        self.assertEqual(switch.end(), 0)
        self.assert_gone(switch)

    def test_a_thousand_come_and_go_under_load(self):
        switch = self.switch()
        one, two = self.plug(switch), self.plug(switch)
        ended = threading.Event()
        received = []

        def read():
            while not ended.is_set() or select.select([two.data], [], [], 0)[0]:
                if select.select([two.data], [], [], 0.05)[0]:
                    received.append(two.data.recv(2000))

        reader = threading.Thread(target=read)
        reader.start()
        two.send(frame(mac(2)))
        sent = 0
        for number in range(1000):
            plug = Plug(switch.directory)
            self.assertTrue(plug.reply, number)
            one.send(frame(mac(1), mac(2), mark=struct.pack("!I", sent)))
            sent += 1
            plug.close()
        switch.ask("showinfo")
        ended.set()
        reader.join()
        marks = [struct.unpack("!I", data[14:18])[0] for data in received
                 if data[:6] == mac(2)]
        self.assertEqual(marks, list(range(sent)))
        wait_for(lambda: len(os.listdir(switch.directory)) == 7, "the directory to empty")
        wait_for(lambda: len(os.listdir(f"/proc/{switch.child.pid}/fd")) < 40, "closed descriptors")
        self.assertEqual(switch.end(), 0)
        self.assert_gone(switch)

    def test_the_stream_socket(self):
        switch = self.switch()
        plug = self.plug(switch)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
            stream.connect(str(switch.directory / "stream"))
            data = frame(mac(3))
            stream.sendall(struct.pack("!I", len(data)) + data)
            self.assertEqual(plug.receive(), data)
            self.assertIn("module stream", "\n".join(switch.ask("port/print")))


if __name__ == "__main__":
    lan_harness.main()
