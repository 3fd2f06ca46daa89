"""The parts of tools/quickstart and tools/check that need no guest: packages, kernel line, console
reader, name server, interruption."""

import base64
import os
import re
import shlex
import signal
import socket
import struct
import subprocess
import unittest

import lan_harness
from console import read_console
from lan_harness import SOURCE_DIR, TESTGUEST
from name_server import NameServer


def testguest(*words):
    return subprocess.run([TESTGUEST, "--out", str(lan_harness.GUEST_DIR), *words], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)


def commands_on(line):
    (encoded,) = re.findall(r"lanyard\.run=(\S+)", line)
    return base64.b64decode(encoded).decode().splitlines()


class KernelLine(unittest.TestCase):
    def test_quoting_survives(self):
        commands = ["echo \"a  b\" 'c' $HOME `date` \\ * # \u2192", "true"]
        done = testguest("--append", *commands)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(commands_on(done.stdout), commands)
        words = shlex.split(testguest("--qemu", *commands).stdout)
        self.assertEqual(words[0], "qemu-system-x86_64")
        self.assertEqual(words[words.index("-append") + 1], done.stdout.rstrip("\n"))

    def test_options(self):
        line = testguest("--ip", "10.0.2.50/24", "--name", "a", "--offline", "--append").stdout
        self.assertLessEqual({"lanyard.ip=10.0.2.50/24", "lanyard.name=a", "lanyard.net=off"},
                             set(line.split()))
        self.assertNotIn("lanyard.run", line)

    def test_bad_input_is_one_line(self):
        for words, why in ((["--append", "x" * 2000], "kernel line of"), (["--bogus"], "--bogus"),
                           (["--ip"], "--ip needs a value"), (["--name", "a b"], "'a b'"),
                           (["--append", "a\nb"], "line break")):
            done = testguest(*words)
            self.assertEqual(done.returncode, 1, words)
            self.assertEqual(done.stdout, "")
            self.assertTrue(done.stderr.startswith("testguest: "), done.stderr)
            self.assertIn(why, done.stderr)


class ConsoleReader(unittest.TestCase):
    def test_whole_log(self):
        console = read_console("noise\r\n@@ ready 1.62s\r\n"
                               "@@ lease 10.0.2.15/24 gw 10.0.2.2 dns 10.0.2.3 fec0::3 0.24s\r\n"
                               "@@ 1 $ echo @@ x\r\n@@ x\r\nplain\r\n@@ 1 exit 7 0.10s\r\n"
                               "@@ 2 $ hangs\r\nsome\r\n")
        self.assertEqual(console.ready_seconds, 1.62)
        self.assertEqual((console.lease.address, console.lease.prefix_length), ("10.0.2.15", 24))
        self.assertEqual(console.lease.name_servers, ["10.0.2.3", "fec0::3"])
        self.assertEqual(console.lease.seconds, 0.24)
        first, second = console.commands
        self.assertEqual((first.text, first.status, first.seconds), ("echo @@ x", 7, 0.1))
        self.assertEqual(first.output, "@@ x\nplain")
        self.assertEqual((second.status, second.output), (None, "some"))
        self.assertEqual(console.stray_lines, ["noise"])
        self.assertFalse(console.done)

    def test_no_lease(self):
        console = read_console("@@ lease none 20.54s\n@@ done\n")
        self.assertIsNone(console.lease)
        self.assertTrue(console.lease_refused and console.done)


class Names(unittest.TestCase):
    def ask(self, server_port, name, kind):
        """(response code, answer count, the last bytes) of one question."""
        labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
        query = struct.pack("!HHHHHH", 77, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(
            "!HH", kind, 1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.settimeout(10)
            asker.sendto(query, ("127.0.0.1", server_port))
            reply = asker.recv(4096)
        ident, flags, _, answers, _, _ = struct.unpack_from("!HHHHHH", reply)
        self.assertEqual((ident, flags & 0x8000), (77, 0x8000))
        return flags & 15, answers, reply[-4:]

    def test_answers(self):
        server = NameServer({"Here.test": ["203.0.113.10"]}, port=5353)
        self.addCleanup(server.close)
        self.assertEqual(self.ask(5353, "here.TEST", 1), (0, 1, bytes([203, 0, 113, 10])))
        self.assertEqual(self.ask(5353, "here.test", 28)[:2], (0, 0))
        self.assertEqual(self.ask(5353, "absent.test", 1)[:2], (3, 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.sendto(b"\0" * 12 + b"\x3f", ("127.0.0.1", 5353))  # runs past its end
        self.assertEqual(self.ask(5353, "here.test", 1)[:2], (0, 1))


class Steps(unittest.TestCase):
    """tools/steps.sh, by a script that uses it like quickstart and check do."""

    def bash(self, text):
        return ["bash", "-c", f"root={shlex.quote(str(SOURCE_DIR))}; logs=$(mktemp -d); "
                "trap 'rm -rf \"$logs\"' EXIT; step_count=2; "
                "verdict_fail() { echo \"failed: $1: $2\"; exit 1; }; "
                f". \"$root/tools/steps.sh\"; {text}"]

    def run_bash(self, text):
        return subprocess.run(self.bash(text), text=True, stdout=subprocess.PIPE, timeout=60,
                              stderr=subprocess.STDOUT)

    def test_failure_shows_the_log_and_the_verdict(self):
        done = self.run_bash("step first; must $logs/a true; step second; "
                             "must $logs/b sh -c 'echo why it broke; exit 5'; echo not reached")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stdout.splitlines(), [
            "[1/2] first", "[2/2] second", "      | why it broke",
            "failed: second: 'sh -c' ended with status 5"])
        self.assertNotIn("\x1b", done.stdout)

    def test_packages_by_purpose(self):
        listed = self.run_bash("packages_of build run").stdout.split()
        self.assertIn("libslirp-dev", listed)
        self.assertIn("qemu-system-x86", listed)
        self.assertNotIn("tshark", listed)
        everything = self.run_bash("packages_of build run test").stdout.split()
        self.assertEqual(len(everything), len(set(everything)))
        self.assertLess(set(listed), set(everything))

    def test_interruption_ends_all_children(self):
        script = subprocess.Popen(self.bash("step long; must $logs/a sh -c 'sleep 87 & wait'"),
                                  text=True, stdout=subprocess.PIPE)
        lan_harness.wait_for(lambda: sleepers(script.pid), "the step's command")
        (sleeper,) = sleepers(script.pid)
        script.send_signal(signal.SIGTERM)
        out, _ = script.communicate(timeout=lan_harness.STOP_LIMIT_S)
        self.assertEqual(script.returncode, 130)
        self.assertIn("interrupted: long", out)
        lan_harness.wait_for(lambda: not os.path.exists(f"/proc/{sleeper}"), "the sleep to end")


def sleepers(ancestor):
    """The `sleep 87` processes below that one."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", errors="replace") as file:
                words = file.read().split("\0")
            if words[:2] == ["sleep", "87"] and descends(pid, ancestor):
                found.append(int(pid))
        except OSError:
            continue  # it ended
    return found


def descends(pid, ancestor):
    while int(pid) > 1:
        with open(f"/proc/{pid}/stat") as file:
            pid = file.read().rpartition(")")[2].split()[1]
        if int(pid) == ancestor:
            return True
    return False


if __name__ == "__main__":
    lan_harness.main()
