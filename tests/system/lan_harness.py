"""The shared harness of the system tests: namespaces, processes with bounded lives, LANs, guests.

Each test program re-runs itself inside network and mount namespaces of its own (root's, else a user
namespace's), so tests run side by side, need no fixed ports, and nothing they send leaves the
machine. A test that needs other networks makes further namespaces inside (NetNamespace). All
processes die with the program, all files with the test.

    if __name__ == "__main__":
        lan_harness.main()
"""

import contextlib
import ctypes
import functools
import hashlib
import http.server
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

SOURCE_DIR = pathlib.Path(os.environ.get("LANYARD_SOURCE_DIR",
                                         pathlib.Path(__file__).resolve().parents[2]))
BUILD_DIR = pathlib.Path(os.environ.get("LANYARD_BUILD_DIR", SOURCE_DIR / "build" / "release"))
LANYARD = str(BUILD_DIR / "bin" / "lanyard")
TESTGUEST = str(SOURCE_DIR / "tools" / "testguest")
GUEST_DIR = SOURCE_DIR / "build" / "testguest"

sys.path.insert(0, str(SOURCE_DIR / "tools" / "guest"))
from console import read_console  # noqa: E402

GUEST_LIMIT_S = 120  # one guest, boot to power-off; 5 to 15 s is usual
STOP_LIMIT_S = 10    # from SIGTERM to the end of a process
READY_LIMIT_S = 20   # for a socket or a file to appear
NOBODY_ID = 65534    # user and group
# The words that make a command nobody's; for root of more than one user.
NOBODY = ("setpriv", f"--reuid={NOBODY_ID}", f"--regid={NOBODY_ID}", "--clear-groups", "--")

TERMINAL_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
# The words that start a command with those ignored.
IGNORING = ("env", "--ignore-signal=" + ",".join(number.name[3:] for number in TERMINAL_SIGNALS))

_MARK = "LANYARD_TEST_NAMESPACE"
_PR_SET_PDEATHSIG = 1


# --- namespaces ---------------------------------------------------------------------------------
def in_namespace():
    """Re-runs this program in fresh network and mount namespaces with lo up; returns inside."""
    if os.environ.pop(_MARK, None):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    for options in (["-n", "-m"], ["-r", "-n", "-m"]):
        if subprocess.run(["unshare", *options, "true"], stderr=subprocess.DEVNULL).returncode == 0:
            os.environ[_MARK] = "1"
            os.execvp("unshare", ["unshare", *options, sys.executable, "-B", *sys.argv])
    sys.exit("cannot make a network namespace: run as root, or allow user namespaces")


def use_resolv_conf(text):
    """Puts `text` in the place of /etc/resolv.conf, for the rest of this program."""
    with tempfile.NamedTemporaryFile("w", prefix="resolv.", delete=False) as file:
        file.write(text)
    os.chmod(file.name, 0o644)
    subprocess.run(["mount", "--bind", file.name, "/etc/resolv.conf"], check=True)
    os.unlink(file.name)  # the mount keeps it


def need_two_users(test):
    """For a test in which nobody (see NOBODY) meets another user: skips it where this program cannot
    become nobody. tools/check shows the reason."""
    if subprocess.run([*NOBODY, "true"], stderr=subprocess.DEVNULL).returncode != 0:
        test.skipTest("needs root of the machine, who alone can become another user; here there is one user")


def need_tun(test):
    """The same for taps, where their device is there and shut; where it is missing, the test fails."""
    if os.path.exists("/dev/net/tun") and not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        test.skipTest("needs root of the machine, to whom alone /dev/net/tun opens here")


def heed_signals():
    """For Popen's preexec_fn: the child ignores none of the signals that programs under `nohup` (CI's)
    and behind a shell's `&` are started with ignored."""
    for number in TERMINAL_SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def die_with_parent():
    """The same, and the child gets SIGTERM when this program's thread ends."""
    heed_signals()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class NetNamespace:
    """A further network namespace, held open by a process. Close it with close()."""

    def __init__(self):
        self._holder = subprocess.Popen(["unshare", "-n", "sleep", "600"],
                                        preexec_fn=die_with_parent)
        mine = os.readlink("/proc/self/ns/net")
        wait_for(lambda: os.readlink(f"/proc/{self._holder.pid}/ns/net") != mine,
                 "the new network namespace")
        self.run("ip link set lo up")

    @property
    def pid(self):
        return self._holder.pid

    def prefix(self):
        """The words that make a command run in this namespace."""
        return ["nsenter", "-t", str(self.pid), "-n", "--"]

    def run(self, line):
        """Runs a shell line inside and returns its output; a failure is an error."""
        done = subprocess.run([*self.prefix(), "sh", "-ec", line], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30)
        if done.returncode != 0:
            raise AssertionError(f"`{line}` ended with {done.returncode}: {done.stdout}")
        return done.stdout

    def close(self):
        self._holder.kill()
        self._holder.wait()


# --- waiting --------------------------------------------------------------------------------------
def wait_for(condition, what, limit_s=READY_LIMIT_S):
    """Polls until condition() is true; after limit_s raises with `what` was waited for."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {limit_s} s in vain for {what}")
        time.sleep(0.02)


class Process:
    """A child with its output in files. stop() it, or wait() for its end."""

    def __init__(self, name, argv, folder, env=None):
        self.name = name
        self._out, self._err = folder / f"{name}.out", folder / f"{name}.err"
        with open(self._out, "wb") as out, open(self._err, "wb") as err:
            self.child = subprocess.Popen([str(word) for word in argv], stdin=subprocess.DEVNULL,
                                          stdout=out, stderr=err, preexec_fn=die_with_parent,
                                          env={**os.environ, **(env or {})})

    @property
    def pid(self):
        return self.child.pid

    def stdout(self):
        return self._out.read_text(errors="replace")

    def stderr(self):
        return self._err.read_text(errors="replace")

    def running(self):
        return self.child.poll() is None

    def wait(self, limit_s):
        """The exit status (negative: the signal's number)."""
        try:
            return self.child.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {limit_s} s; it said:\n"
                                 f"{self.stdout()[-2000:]}\n{self.stderr()[-2000:]}") from None

    def stop(self):
        """SIGTERM, then SIGKILL. The exit status."""
        if self.running():
            self.child.terminate()
            try:
                self.child.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self.child.kill()
        return self.child.wait()


class Guest(Process):
    """A running test guest, or what it said."""

    def console(self):
        return read_console(self.stdout())

    def finish(self, limit_s=GUEST_LIMIT_S):
        """Waits for the power-off and returns the Console; a broken run is an error with all that
        was said."""
        status = self.wait(limit_s)
        console = self.console()
        if status != 0 or not console.done:
            raise AssertionError(f"{self.name} ended with {status}. Console:\n{self.stdout()}\n"
                                 f"stderr:\n{self.stderr()}")
        return console


# --- servers and captures -------------------------------------------------------------------------
class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@contextlib.contextmanager
def web_server(folder, address="127.0.0.1"):
    """Serves `folder` on that address; gives the port."""
    handler = functools.partial(_QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer((address, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def make_blob(path, size):
    """`size` random bytes in a file; returns their SHA-256 in hex."""
    data = os.urandom(size)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def read_lines(*argv):
    """The output lines of a reader of captures; a complaint of it is an error."""
    done = subprocess.run([str(word) for word in argv], text=True, errors="replace", timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise AssertionError(f"{argv[0]} ended with {done.returncode}: {done.stderr}")
    return done.stdout.splitlines()


def tcpdump_lines(capture, *filter_words):
    """As root, tcpdump wants to become another user, which a user namespace's root cannot: so it is
    not root."""
    return read_lines("unshare", "-U", "tcpdump", "-nn", "-r", capture, *filter_words)


# --- tests ------------------------------------------------------------------------------------------
class LanTest(unittest.TestCase):
    """A test with a folder of its own (short enough for sockets) whose processes end with it."""

    @classmethod
    def setUpClass(cls):
        for program in ("qemu-system-x86_64", "tcpdump", LANYARD):
            if shutil.which(program) is None:
                raise AssertionError(f"{program} is missing: tools/check installs and builds it")
        subprocess.run([TESTGUEST, "--out", str(GUEST_DIR)], check=True, timeout=300,
                       stdout=subprocess.DEVNULL)

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="lanyard.")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        # What programs leave in their temporary folders shows up here.
        self.left_behind = self.folder / "left"
        self.left_behind.mkdir()
        self.env = {"TMPDIR": str(self.left_behind), "XDG_RUNTIME_DIR": str(self.left_behind)}

    def start(self, name, argv, kind=Process, env=None):
        process = kind(name, argv, self.folder, {**self.env, **(env or {})})
        self.addCleanup(process.stop)
        return process

    def guest_words(self, commands, *guest_options):
        """QEMU's command for a test guest without a network card."""
        done = subprocess.run([TESTGUEST, "--out", str(GUEST_DIR), *guest_options, "--qemu",
                               *commands], check=True, text=True, timeout=300,
                              stdout=subprocess.PIPE)
        return shlex.split(done.stdout)

    def start_lan(self, *options, prefix=()):
        """`lanyard switch` in a fresh directory, ready. Returns (directory, Process)."""
        directory = self.folder / "lan"
        switch = self.start("switch", [*prefix, LANYARD, "switch", directory, *options])
        wait_for(lambda: (directory / "ctl").exists() or not switch.running(),
                 f"{directory}/ctl")
        self.assertTrue(switch.running(), f"lanyard switch ended: {switch.stderr()}")
        return directory, switch

    def start_guest(self, name, commands, run_options=(), guest_options=(), qemu_options=(),
                    prefix=(), env=None):
        """A guest by `lanyard run`; `prefix` may place it in another namespace."""
        return self.start(name, [*prefix, LANYARD, "run", *run_options, "--",
                                 *self.guest_words(commands, *guest_options), *qemu_options],
                          kind=Guest, env=env)

    def start_stock_guest(self, name, commands, netdev, mac, guest_options=()):
        """A guest by QEMU alone with the given -netdev value."""
        return self.start(name, [*self.guest_words(commands, *guest_options),
                                 "-netdev", f"{netdev},id=net0",
                                 "-device", f"virtio-net-pci,netdev=net0,mac={mac}"], kind=Guest)

    def assert_command(self, command, status=0):
        """The guest's command ended with that status; shows its output when not."""
        self.assertEqual(command.status, status, f"`{command.text}` said:\n{command.output}")

    def assert_some(self, lines, pattern):
        self.assertTrue(any(pattern in line for line in lines), f"no '{pattern}' in:\n" +
                        "\n".join(lines[:40]))

    def assert_nothing_left(self):
        self.assertEqual([path.name for path in self.left_behind.rglob("*")], [])


def main():
    in_namespace()
    unittest.main()
