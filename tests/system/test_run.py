#!/usr/bin/env python3
"""`lanyard run`: exit status, errors, and that nothing outlives whoever dies first."""

import array
import fcntl
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time
import unittest

from lan_harness import IGNORING, TERMINAL_SIGNALS, heed_signals

LANYARD = os.path.join(os.environ["LANYARD_BUILD_DIR"], "bin", "lanyard")
QEMU = ["qemu-system-x86_64", "-accel", "tcg", "-m", "64", "-display", "none"]
PATIENCE_S = 30  # until a wait counts as failed; nothing takes this long
PCAP_HEADER_BYTES = 24


def eventually(condition):
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    return condition()


def stat_of(pid):
    """[state, ppid, …] of a process, or None."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def runs(pid):
    stat = stat_of(pid)
    return stat is not None and stat[0] != "Z"


def below(root):
    """Every process that descends from `root`."""
    parent_of = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (stat := stat_of(name)):
            parent_of[int(name)] = int(stat[1])
    found = {root}
    while more := {pid for pid, parent in parent_of.items() if parent in found} - found:
        found |= more
    return found - {root}


def name_of(pid):
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def runs_guest(pid):
    """QEMU is first asked for its options (-help); a process that has just begun has no words yet."""
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            words = file.read().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return "-netdev" in words


class RunTest(unittest.TestCase):
    """Each test works in an empty directory, which is TMPDIR too and must be empty again."""

    def setUp(self):
        self.scratch = tempfile.mkdtemp(prefix="lanyard-run-")  # what the test itself writes
        self.work = os.path.join(self.scratch, "work")
        os.mkdir(self.work)
        self.environment = dict(os.environ, TMPDIR=self.work, XDG_RUNTIME_DIR=self.work)
        self.seen = set()  # every process that must be gone at the end
        self.started = []

    def tearDown(self):
        try:
            left = [pid for pid in self.seen if not eventually(lambda: not runs(pid))]
            self.assertEqual([], [(pid, name_of(pid)) for pid in left], "processes are left")
            self.assertEqual([], os.listdir(self.work), "files are left")
        finally:
            for process in self.started:
                process.kill()
                process.communicate()
            for pid in self.seen:
                if runs(pid):
                    os.kill(pid, signal.SIGKILL)
            shutil.rmtree(self.scratch)

    def path(self, name):
        return os.path.join(self.scratch, name)

    def script(self, body, name="fake-qemu"):
        with open(self.path(name), "w") as file:
            file.write("#!/bin/sh\n" + body)
        os.chmod(self.path(name), 0o755)
        return self.path(name)

    def start(self, *command, options=(), prefix=(), **popen):
        process = subprocess.Popen(
            [*prefix, LANYARD, "run", *options, "--", *command], cwd=self.work, env=self.environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=heed_signals, **popen)
        self.started.append(process)
        return process

    def finish(self, process):
        out, err = process.communicate(timeout=PATIENCE_S)
        return process.returncode, out, err

    def run_lanyard(self, *command, options=()):
        return self.finish(self.start(*command, options=options))

    def wait_for_pids(self, name, count):
        """The numbers a fake QEMU has written, one a line."""
        def read():
            try:
                with open(self.path(name)) as file:
                    lines = file.read().splitlines(keepends=True)
            except FileNotFoundError:
                return []
            pids = [int(line) for line in lines if line.endswith("\n")]
            return pids if len(pids) == count else []
        pids = eventually(read)
        self.assertEqual(count, len(pids), f"{name} has not been written")
        self.seen.update(pids)
        return pids

    def wait_for_qemu(self, lanyard_pid):
        def find():
            return [pid for pid in below(lanyard_pid) if name_of(pid).startswith("qemu-system") and runs_guest(pid)]
        found = eventually(find)
        self.assertEqual(1, len(found), "QEMU runs")
        self.assertEqual(lanyard_pid, int(stat_of(found[0])[1]), "QEMU is lanyard's child")
        self.seen |= below(lanyard_pid) | {lanyard_pid}
        return found[0]

    def sleeper(self):
        """A wrapper that does not exec: itself, a child, and one in a session of its own."""
        pids = self.path("pids")
        return self.script(f"sleep 1000 &\necho $! >> {pids}\n"
                           f"setsid sh -c 'echo $$ >> {pids}; exec sleep 1000' &\n"
                           f"echo $$ > {self.path('wrapper')}\nwait\n")

    # --- the status ---------------------------------------------------------------------------

    def test_exit_status_passes_through(self):
        for status in (0, 1, 7, 255):
            code, out, err = self.run_lanyard(self.script(f"exit {status}\n"))
            self.assertEqual((status, ""), (code, out))
            self.assertEqual(status != 0, "ended at once" in err, err)
        self.assertEqual(128 + 11, self.run_lanyard(self.script("kill -SEGV $$\n"))[0])

    def test_output_and_arguments_are_the_guests(self):
        fake = self.script('for word in "$@"; do echo "$word"; done; echo problem >&2\n')
        status, out, err = self.run_lanyard(fake, "-m", "a b", "--", "", "-nographic",
                                            options=["--mac", "52:54:00:01:02:03"])
        words = out.splitlines()
        self.assertEqual((0, "problem\n"), (status, err))
        self.assertEqual(["-m", "a b", "--", "", "-nographic", "-netdev"], words[:6])
        self.assertRegex(words[6],
                         r"^stream,server=off,addr\.type=fd,addr\.str=\d+,id=lanyard0$")
        self.assertEqual(["-device", "virtio-net-pci,netdev=lanyard0,mac=52:54:00:01:02:03"],
                         words[7:])

    # --- errors -------------------------------------------------------------------------------

    def assert_one_line(self, result, part):
        status, out, err = result
        self.assertNotEqual(0, status)
        self.assertEqual("", out)
        self.assertEqual(1, err.count("\n"), err)
        self.assertTrue(err.startswith("lanyard: "), err)
        self.assertIn(part, err)
        return status

    def test_a_capture_on_stdout_has_it_alone(self):
        command = [LANYARD, "run", "--capture", "-", "--", self.script("echo hello")]
        out = subprocess.run(command, cwd=self.work, env=self.environment, stdin=subprocess.DEVNULL,
                             capture_output=True, timeout=PATIENCE_S)
        self.assertEqual(0, out.returncode, out.stderr)
        self.assertEqual(bytes.fromhex("4d3cb2a1"), out.stdout[:4], "a pcap with nanoseconds")
        self.assertEqual(24, len(out.stdout), "and nothing else")
        self.assertIn(b"hello\n", out.stderr)

    def test_missing_qemu(self):
        self.environment["PATH"] = self.work
        capture = os.path.join(self.work, "a.pcap")
        status = self.assert_one_line(
            self.run_lanyard("qemu-system-x86_64", options=["--capture", capture]),
            "cannot start qemu-system-x86_64: not found in PATH; install it: "
            "apt-get install qemu-system-x86")
        self.assertEqual(127, status)

    def test_what_cannot_be_done_is_one_line(self):
        true = self.script("exit 0\n")
        cases = [
            ([], [], "no QEMU command"),
            (["./absent"], [], "cannot start ./absent: No such file or directory"),
            ([self.work], [], "Is a directory"),
            ([true, "-daemonize"], [], "remove -daemonize"),
            ([true], ["--mac", "01:00:5e:00:00:01"], "MAC address"),
            ([true], ["--lan", self.path("no-lan")], "start it with: lanyard switch"),
            ([true], ["--lan", self.path("x" * 120)], "bytes"),
            ([true], ["--capture", self.path("absent/a.pcap")], "make its directory first"),
            ([true], ["--capture", self.work], "Is a directory"),
            ([true], ["--no-such-option"], "--no-such-option"),
        ]
        for command, options, part in cases:
            with self.subTest(command=command, options=options):
                self.assert_one_line(self.run_lanyard(*command, options=options), part)

    def test_broken_qemu_command(self):
        """QEMU explains itself, and its status is ours."""
        status, out, err = self.run_lanyard(*QEMU, "-no-such-option")
        self.assertEqual(1, status)
        self.assertEqual("", out)
        self.assertIn("-no-such-option: invalid option", err)
        ours = [line for line in err.splitlines() if line.startswith("lanyard: ")]
        self.assertEqual(len(ours), 1, err)
        self.assertIn("ended at once with status 1; mend its options", ours[0])

    # --- a real QEMU --------------------------------------------------------------------------

    def test_qemus_card_is_on_the_lan(self):
        """The firmware of the card asks for an address, which the capture shows."""
        capture = self.path("a.pcap")
        process = self.start(*QEMU, options=["--capture", capture])
        self.wait_for_qemu(process.pid)
        self.assertTrue(eventually(lambda: os.path.getsize(capture) > PCAP_HEADER_BYTES + 300))
        process.send_signal(signal.SIGTERM)
        self.assertEqual(0, self.finish(process)[0])  # QEMU's own status after SIGTERM
        listing = subprocess.run(["tcpdump", "-nr", capture, "udp port 67"], text=True,
                                 capture_output=True, check=True)
        self.assertIn("0.0.0.0.68 > 255.255.255.255.67", listing.stdout)

    def test_qemu_is_killed(self):
        process = self.start(*QEMU)
        os.kill(self.wait_for_qemu(process.pid), signal.SIGKILL)
        self.assertEqual(128 + 9, self.finish(process)[0])

    def test_lanyard_is_killed(self):
        process = self.start(*QEMU)
        self.wait_for_qemu(process.pid)
        process.kill()
        self.assertEqual(-9, self.finish(process)[0])  # and stderr is at its end: nobody holds it

    # --- who dies first -----------------------------------------------------------------------

    def test_wrapper_ends(self):
        process = self.start(self.sleeper())
        self.wait_for_pids("pids", 2)
        (wrapper,) = self.wait_for_pids("wrapper", 1)
        os.kill(wrapper, signal.SIGKILL)
        self.assertEqual(128 + 9, self.finish(process)[0])
        self.assertFalse([pid for pid in self.seen if runs(pid)])  # already when lanyard is gone

    def test_lanyard_is_killed_above_a_wrapper(self):
        process = self.start(self.sleeper())
        self.wait_for_pids("pids", 2)
        self.seen |= below(process.pid)
        process.kill()
        self.finish(process)

    def test_lanyards_group_is_killed_above_a_wrapper(self):
        process = self.start(self.sleeper(), start_new_session=True)
        self.wait_for_pids("pids", 2)
        self.seen |= below(process.pid)
        os.killpg(process.pid, signal.SIGKILL)
        self.finish(process)

    def test_ending_signals(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            with self.subTest(signal=number):
                process = self.start(self.script(
                    f"trap 'exit 9' TERM\necho $$ >> {self.path(f'pid{number}')}\n"
                    "while :; do sleep 0.05; done\n"))
                self.wait_for_pids(f"pid{number}", 1)
                self.seen |= below(process.pid)
                process.send_signal(number)
                self.assertEqual(9, self.finish(process)[0])

    def test_what_was_ignored_stays_so(self):
        process = self.start(self.script(f"trap 'exit 9' TERM\necho $$ > {self.path('pid')}\n"
                                         "while :; do sleep 0.05; done\n"), prefix=IGNORING)
        self.wait_for_pids("pid", 1)
        for number in (*TERMINAL_SIGNALS, signal.SIGTERM):  # a second one that is heard would kill
            process.send_signal(number)
        self.assertEqual(9, self.finish(process)[0])

    def test_nothing_is_started_when_a_signal_comes_first(self):
        slow = self.script(f"[ \"$*\" = -help ] || exec touch {self.path('started')}\n"
                           f"echo $$ > {self.path('pid')}\nexec sleep 1000\n", name="qemu-system-x86_64")
        for number in (signal.SIGTERM, signal.SIGINT):
            process = self.start(slow, options=["--capture", self.path("capture")])
            self.seen |= set(self.wait_for_pids("pid", 1))
            process.send_signal(number)
            self.assertEqual((128 + number, "", ""), self.finish(process))
            os.remove(self.path("pid"))
        self.assertEqual(["qemu-system-x86_64", "work"], sorted(os.listdir(self.scratch)))

    def test_second_signal_insists(self):
        process = self.start(self.script(f"trap '' TERM\necho $$ > {self.path('pid')}\n"
                                         "while :; do sleep 0.05; done\n"))
        self.wait_for_pids("pid", 1)
        process.send_signal(signal.SIGTERM)
        self.assertIsNone(process.poll())
        process.send_signal(signal.SIGINT)
        self.assertEqual(128 + 9, self.finish(process)[0])

    def start_under_parent(self, *prefix):
        """A parent that starts lanyard and can be killed; gives the parent and lanyard's pid."""
        parent = subprocess.Popen(
            ["/bin/sh", "-c", f'"$@" & echo $! > {self.path("lanyard-pid")}; wait', "sh", *prefix,
             LANYARD, "run", "--", self.sleeper()],
            cwd=self.work, env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=heed_signals)
        self.started.append(parent)
        (lanyard,) = self.wait_for_pids("lanyard-pid", 1)
        self.wait_for_pids("pids", 2)
        self.seen |= below(lanyard)
        return parent, lanyard

    def test_parent_goes(self):
        parent, lanyard = self.start_under_parent()
        parent.kill()
        parent.wait()
        self.assertTrue(eventually(lambda: not runs(lanyard)))

    def test_parent_goes_and_nohup_stays(self):
        parent, lanyard = self.start_under_parent("nohup")
        parent.kill()
        parent.wait()
        self.assertTrue(eventually(lambda: int(stat_of(lanyard)[1]) != parent.pid))
        time.sleep(0.5)
        self.assertTrue(all(runs(pid) for pid in self.seen))
        os.kill(lanyard, signal.SIGTERM)

    # --- the terminal -------------------------------------------------------------------------

    def start_on_terminal(self, command):
        """lanyard as a terminal's foreground program; gives its pid, the terminal, its settings."""
        controller, terminal = pty.openpty()
        self.addCleanup(os.close, controller)
        self.addCleanup(os.close, terminal)
        pid = os.fork()
        if pid == 0:
            os.setsid()
            fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
            for standard in range(3):
                os.dup2(terminal, standard)
            os.chdir(self.work)
            heed_signals()
            os.execve(LANYARD, ["lanyard", "run", "--", *command], self.environment)
        return pid, controller, terminal

    def drain(self, controller):
        """Lets the guest write: a terminal that nobody reads would stop it."""
        waiting = array.array("i", [0])
        fcntl.ioctl(controller, termios.FIONREAD, waiting)
        return os.read(controller, waiting[0]) if waiting[0] else b""

    def test_terminal_is_put_back_after_a_killed_qemu(self):
        pid, controller, terminal = self.start_on_terminal(
            [*QEMU[:-2], "-nographic"])
        before = termios.tcgetattr(terminal)
        self.assertTrue(before[3] & termios.ICANON)
        qemu = self.wait_for_qemu(pid)

        def raw():
            self.drain(controller)
            return not termios.tcgetattr(terminal)[3] & termios.ICANON
        self.assertTrue(eventually(raw), "QEMU has made the terminal raw")
        os.kill(qemu, signal.SIGKILL)
        self.assertEqual(128 + 9, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        self.assertEqual(before, termios.tcgetattr(terminal))

    def test_control_c_ends_it(self):
        pid, controller, _ = self.start_on_terminal(
            [self.script(f"trap '' INT\ntrap 'exit 4' TERM\necho $$ > {self.path('pid')}\n"
                         "while :; do sleep 0.05; done\n")])
        self.wait_for_pids("pid", 1)
        self.seen |= below(pid) | {pid}
        os.write(controller, b"\x03")
        self.assertEqual(4, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


if __name__ == "__main__":
    if not os.access(LANYARD, os.X_OK):
        sys.exit(f"cannot test {LANYARD}: it is not there; build it first")
    unittest.main()
