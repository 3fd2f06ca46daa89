"""Where vde_switch, vde_plug2tap and slirpvde meet others: their directories, pid files, scripts in
pieces, signals, and standard input of any kind."""

import os
import shutil
import signal
import stat
import subprocess
import time

import lan_harness
from lan_harness import BUILD_DIR, IGNORING, LANYARD, TERMINAL_SIGNALS, die_with_parent, wait_for
from vde_harness import LIMIT_S, VDE_SWITCH, VdeTest, frame, mac, require

PLUG2TAP = str(BUILD_DIR / "bin" / "vde_plug2tap")
SLIRPVDE = str(BUILD_DIR / "bin" / "slirpvde")
IGNORED = (signal.SIGPIPE, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPROF,
           signal.SIGVTALRM, signal.SIGIO, signal.SIGPWR, signal.SIGSTKFLT)


def setUpModule():
    require("vde_switch", PLUG2TAP, SLIRPVDE)


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def ignored_by(pid):
    """Those of TERMINAL_SIGNALS that end nothing: ignored, and not blocked either, as for a signalfd."""
    with open(f"/proc/{pid}/status") as file:
        masks = dict(line.split(":") for line in file)
    ignored = int(masks["SigIgn"], 16) & ~int(masks["SigBlk"], 16)
    return {number for number in TERMINAL_SIGNALS if ignored >> number - 1 & 1}


class EdgeTest(VdeTest):
    def run_words(self, *words, **options):
        return subprocess.run([str(word) for word in words], text=True, capture_output=True,
                              timeout=LIMIT_S, env={"HOME": str(self.folder)},
                              **{"stdin": subprocess.DEVNULL, **options})


class Directories(EdgeTest):
    def test_a_running_stock_switch_keeps_its_directory_as_it_is(self):
        directory, pid_file = self.folder / "stock", self.folder / "stock.pid"
        stock = shutil.which("vde_switch")
        done = self.run_words(stock, "-d", "-s", directory, "--dirmode", "02770", "-m", "0660",
                              "-p", pid_file)
        self.assertEqual(done.returncode, 0, done.stderr)
        wait_for(lambda: pid_file.exists() and pid_file.read_text() and (directory / "ctl").exists(),
                 "the stock switch")
        pid = int(pid_file.read_text())
        try:
            done = self.run_words(VDE_SWITCH, "-s", directory, "--dirmode", "0700")
            self.assertEqual(done.returncode, 255)
            self.assertIn("in use by a running switch", done.stderr)
            self.assertEqual(mode_of(directory), 0o2770)
            self.assertEqual(mode_of(directory / "ctl"), 0o660)
            self.assertEqual(os.listdir(directory), ["ctl"])
        finally:
            os.kill(pid, signal.SIGTERM)
            wait_for(lambda: not os.path.exists(f"/proc/{pid}"), "the stock switch to end")

    def test_what_is_no_directory_is_left_alone(self):
        file, fifo = self.folder / "file", self.folder / "fifo"
        file.write_text("precious")
        os.mkfifo(fifo)
        for path in (file, fifo):
            path.chmod(0o642)
            done = self.run_words(VDE_SWITCH, "-s", path)
            self.assertEqual(done.returncode, 255)
            self.assertIn("Not a directory", done.stderr)
            self.assertEqual(mode_of(path), 0o642)
        self.assertEqual(file.read_text(), "precious")

    def test_starts_that_meet_an_end(self):
        """The one that starts gets the directory, or is told that it is in use; nothing else."""
        for _ in range(40):
            first = self.switch()
            first.child.terminate()
            second = self.switch(ready=False)
            self.assertEqual(first.wait(), 0)
            if self.comes_up(second):
                self.assertTrue(self.plug(second).reply)
                self.assertEqual(second.end(), 0)
            else:
                self.assertEqual(second.wait(), 255)
                self.assertIn("in use by a running switch", second.stderr())
            self.assert_gone(first)

    def comes_up(self, switch):
        switch.child.stdin.write(b"zork\n")
        try:
            switch.child.stdin.flush()
        except BrokenPipeError:
            return False
        return switch.child.stdout.readline() == b"1038 Function not implemented\n"


class PidFiles(EdgeTest):
    def test_a_pid_file_that_took_the_place_of_ours_stays(self):
        pid_file = self.folder / "pid"
        first = self.switch("-s", self.folder / "a", "-p", pid_file, ready=False)
        wait_for((self.folder / "a" / "ctl").exists, "the first switch")
        pid_file.unlink()
        second = self.switch("-s", self.folder / "b", "-p", pid_file, ready=False)
        wait_for((self.folder / "b" / "ctl").exists, "the second switch")
        self.assertEqual(first.end(), 0)
        self.assertEqual(pid_file.read_text(), f"{second.child.pid}\n")
        self.assertEqual(second.end(), 0)
        self.assertFalse(pid_file.exists())


class Scripts(EdgeTest):
    def test_a_script_is_the_same_however_it_is_cut(self):
        script = b"".join(b"vlan/create %d\n" % vid for vid in range(1, 1201)) + b"vlan/print"
        for size in (1, 7, 100, 4096, 5000, 65536):
            with self.subTest(size=size):
                switch = self.switch(stdout=subprocess.PIPE)
                switch.child.stdin.write(b"#\n")  # from now on a command ends with its line feed alone
                switch.child.stdin.flush()
                for at in range(0, len(script), size):
                    switch.child.stdin.write(script[at:at + size])
                    switch.child.stdin.flush()
                switch.child.stdin.close()
                lines = switch.child.stdout.read().decode().splitlines()
                self.assertEqual(lines, ["1000 Success"] * 1200 + ["0000 DATA END WITH '.'"] +
                                 [f"VLAN {vid:04}" for vid in range(1201)] + [".", "1000 Success"])
                self.assertEqual(switch.wait(), 0)

    def test_a_writer_that_pauses_ends_no_command(self):
        switch = self.switch()
        switch.write("port/create 5\nvlan/create 4")
        self.assertEqual(switch.read_reply(), ["1000 Success"])
        time.sleep(0.3)  # the silence that would end a command that came alone
        switch.write("2\nvlan/print\n")
        self.assertEqual(switch.read_reply(), ["1000 Success"])
        self.assertEqual([line for line in switch.read_reply() if line.startswith("VLAN")],
                         ["VLAN 0000", "VLAN 0042"])

    def test_a_command_alone_needs_no_line_feed(self):
        switch = self.switch()
        switch.write("zork")
        self.assertEqual(switch.read_reply(), ["1038 Function not implemented"])

    def test_refused_vlan_commands_keep_tags_passing(self):
        switch = self.switch()
        one, two = self.plug(switch), self.plug(switch)
        for command in ("vlan/create 0", "vlan/remove 99", "vlan/addport 99 1", "port/setvlan",
                        "port/setvlan 1 99", "port/setvlan 1 0"):
            switch.ask(command)
            tagged = frame(mac(1), tag=(0x8100, 42), mark=command.encode())
            one.send(tagged)
            self.assertEqual(two.receive(), tagged)
        switch.ask("vlan/create 7")
        one.send(tagged)
        self.assert_silent(two, switch)

    def test_default_scripts_out_of_reach_are_no_matter(self):
        home = self.folder / "home"
        home.mkdir()
        (home / ".vde2").mkdir()
        (home / ".vde2" / "vde_switch.rc").write_text("shutdown\n")
        home.chmod(0)
        held = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]  # root, by the modes
        for words, heard in (([], ""), (["-f", home / ".vde2" / "vde_switch.rc"], "cannot run")):
            done = subprocess.run([*held, VDE_SWITCH, "-s", self.folder / "lan", *words], text=True,
                                  stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT_S,
                                  env={"HOME": str(home), "PATH": os.environ["PATH"]})
            self.assertEqual(done.returncode, 0)
            self.assertEqual("Permission denied" in done.stderr, bool(heard), done.stderr)
            self.assertIn(heard, done.stderr)
        home.chmod(0o700)


class Plugs(EdgeTest):
    def face(self, *words):
        child = subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE, preexec_fn=die_with_parent)
        self.addCleanup(child.stderr.close)
        self.addCleanup(lambda: child.poll() is None and (child.kill(), child.wait()))
        return child

    def test_signals_that_mean_nothing_to_a_plug(self):
        switch = self.switch()
        for words in ([PLUG2TAP, "-s", switch.directory, "edge0"],
                      [SLIRPVDE, "-s", switch.directory]):
            child = self.face(*words)
            wait_for(lambda: any("ACTIVE" in line for line in switch.ask("port/print")), words[0])
            for number in IGNORED:
                child.send_signal(number)
            self.assertIsNone(child.poll())
            child.terminate()
            self.assertEqual(child.wait(LIMIT_S), 0)
            wait_for(lambda: len(switch.ask("port/print")) == 3, "the port to be left")

    def test_a_signal_while_the_switch_is_stopped(self):
        switch = self.switch()
        pid_file = self.folder / "pid"
        switch.child.send_signal(signal.SIGSTOP)
        self.addCleanup(switch.child.send_signal, signal.SIGCONT)
        before = sorted(os.listdir(switch.directory))
        for number in (signal.SIGTERM, signal.SIGHUP):
            child = self.face(SLIRPVDE, "-s", switch.directory, "-p", pid_file)
            wait_for(lambda: len(os.listdir(switch.directory)) > len(before), "the plug's socket")
            child.send_signal(number)
            self.assertEqual(child.wait(LIMIT_S), 0)
            self.assertEqual(child.stderr.read(), b"")
            self.assertFalse(pid_file.exists())
            self.assertEqual(sorted(os.listdir(switch.directory)), before)
        switch.child.send_signal(signal.SIGCONT)
        wait_for(lambda: len(switch.ask("port/print")) == 3, "the port to be left")

    def test_what_they_were_started_with_ignored(self):
        """Under `nohup`, say. The tap takes SIGHUP and SIGINT back, the switch SIGINT, as the stock ones do."""
        switch = self.switch()
        ours = self.folder / "ours"
        for words, ready, ignored in (
                ([PLUG2TAP, "-s", switch.directory, "edge0"], None, {signal.SIGQUIT}),
                ([SLIRPVDE, "-s", switch.directory], None, set(TERMINAL_SIGNALS)),
                ([LANYARD, "switch", ours], (ours / "ctl").exists, set(TERMINAL_SIGNALS))):
            child = self.face(*IGNORING, *words)
            wait_for(ready or (lambda: any("ACTIVE" in line for line in switch.ask("port/print"))), words[0])
            self.assertEqual(ignored_by(child.pid), ignored, words[0])
            for number in ignored:
                child.send_signal(number)
            child.terminate()
            self.assertEqual(child.wait(LIMIT_S), 0)
            wait_for(lambda: len(switch.ask("port/print")) == 3, "the port to be left")
        self.assertEqual(switch.end(), 0)
        for program in (VDE_SWITCH, shutil.which("vde_switch")):
            switch = self.switch(program=program, prefix=IGNORING)
            for number in (signal.SIGQUIT, signal.SIGHUP):
                switch.child.send_signal(number)
            self.assertEqual(switch.ask("showinfo")[-1], "1000 Success")
            switch.child.send_signal(signal.SIGINT)
            self.assertEqual(switch.wait(), -signal.SIGINT, program)

    def test_long_options_with_one_dash(self):
        for word in ("-help", "-hel", "--help"):
            done = self.run_words(PLUG2TAP, word)
            self.assertEqual(done.returncode, 255)
            self.assertTrue(done.stdout.startswith("Usage: vde_plug2tap"), done.stderr)
        for words in (["-sock", "/nowhere"], ["-so", "/nowhere"], ["-vdesock=/nowhere"],
                      ["-port", "7", "-s", "/nowhere"], ["-mod", "0700", "-s/nowhere"]):
            done = self.run_words(PLUG2TAP, *words, "edge1")
            self.assertEqual(done.returncode, 1, words)
            self.assertIn("/nowhere", done.stderr)

    def test_an_empty_path_is_not_taken_for_none(self):
        for words in ([PLUG2TAP, "-s", "", "edge1"], [PLUG2TAP, "-P", "", "edge1"], [SLIRPVDE, "-s", ""],
                      [SLIRPVDE, "-p", "", "/nowhere"]):
            done = self.run_words(*words)
            self.assertEqual((done.returncode, done.stderr.count("\n")), (255, 1), done.stderr)
            self.assertIn("empty path", done.stderr)

    def test_frames_from_what_cannot_be_waited_for(self):
        file = self.folder / "frames"
        data = frame(mac(1))
        file.write_bytes((len(data).to_bytes(2, "big") + data) * 3)
        for words in ([PLUG2TAP, "-s", "-", "edge2"], [SLIRPVDE, "-s", "-"]):
            for path in ("/dev/null", file):
                with open(path, "rb") as stdin:
                    done = self.run_words(*words, stdin=stdin)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn("standard input has ended", done.stderr)


if __name__ == "__main__":
    lan_harness.main()
