"""`lanyard ctl` on the command line: where its answers go, what it refuses, and what is no LAN."""

import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

import lan_harness
import vde_harness

sys.path.insert(0, str(lan_harness.SOURCE_DIR / "tools" / "python"))
import lanyard  # noqa: E402

LIMIT_S = 120


class AnswerCase(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="ctl.")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def run_lanyard(self, *words, **options):
        return subprocess.run([lan_harness.LANYARD, *words], text=True, timeout=LIMIT_S, cwd=self.folder,
                              stderr=subprocess.PIPE, **{"stdout": subprocess.PIPE, **options})

    def expect_line(self, done, status, part):
        self.assertEqual((done.returncode, done.stdout or ""), (status, ""), done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn(part, done.stderr)

    def start_lan(self, **options):
        self.lan = lanyard.Lan(self.folder + "/lan", program=lan_harness.LANYARD, **options)
        self.addCleanup(self.lan.stop)


class OutputTest(AnswerCase):
    def setUp(self):
        super().setUp()
        self.start_lan()
        self.lan.start_capture(self.folder + "/lan/one.pcap")  # an event

    def test_a_reader_that_has_enough_is_no_failure(self):
        for words in (("ctl", "lan", "ports"), ("ctl", "lan", "events", "--from-oldest"), ("--help",),
                      ("doctor", "--lan", "lan", "--wait", "0"), ("run", "--show", "--", "qemu-system-x86_64")):
            with self.subTest(words):
                reading, writing = os.pipe()
                os.close(reading)
                done = self.run_lanyard(*words, stdout=writing)
                os.close(writing)
                self.assertEqual((done.returncode, done.stderr), (-signal.SIGPIPE, ""))

    def test_what_cannot_be_written_is_a_failure(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            done = self.run_lanyard("ctl", "lan", "ports", stdout=full)
        self.expect_line(done, 74, "cannot write to standard output: No space left on device")
        for words in (("ctl", "lan", "ports"), ("--help",)):
            done = self.run_lanyard(*words, stdout=None, preexec_fn=lambda: os.close(1))
            self.expect_line(done, 74, "cannot write to standard output: Bad file descriptor")

    def test_a_capture_to_closed_standard_output_is_a_failure(self):
        done = self.run_lanyard("switch", "other", "--capture", "-", stdout=None,
                                preexec_fn=lambda: os.close(1))
        self.expect_line(done, 73, "cannot write capture -: Bad file descriptor")

    def test_a_capture_is_not_written_by_this_command(self):
        self.expect_line(self.run_lanyard("ctl", "lan", "capture", "start", "-"), 64, "give a FIFO: mkfifo")
        self.assertEqual(sorted(os.listdir(self.folder)), ["lan"])

    def test_a_limit_of_file_sizes_is_an_error_and_no_signal(self):
        self.lan.stop_capture(1)
        resource.prlimit(self.lan.process.pid, resource.RLIMIT_FSIZE, (10, 10))
        self.expect_line(self.run_lanyard("ctl", "lan", "capture", "start", "lan/two.pcap"), 65,
                         "two.pcap: File too large")
        self.assertFalse(os.path.exists(self.folder + "/lan/two.pcap"))
        self.assertEqual(self.lan.captures(), [])

    def test_a_name_that_is_not_utf8(self):
        self.expect_line(self.run_lanyard("ctl", "lan", "capture", "start", b"\xff.pcap"), 65,
                         "cannot POST /captures: a word of it is not UTF-8")


class StrangerTest(AnswerCase):
    """What answers at DIR/control is not what it should be: one status for ctl and the doctor."""

    def serve(self, answer):
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(f"{self.folder}/control")
        listener.listen()

        def run():
            while True:
                try:
                    client, _ = listener.accept()
                    with client:
                        client.recv(4096)
                        client.sendall(answer)
                except OSError:
                    if listener.fileno() < 0:
                        return

        threading.Thread(target=run, daemon=True).start()

        def end():
            listener.shutdown(socket.SHUT_RDWR)
            os.unlink(f"{self.folder}/control")
            listener.close()
        return end

    FORMS = ((), ("--json",), ("ports",), ("ports", "--json"), ("egress",), ("egress", "--json"), ("metrics",),
             ("get", "/egress"), ("policy", "--json"), ("capture", "list", "--json"), ("events",),
             ("events", "--json"), ("capture", "stop"), ("forward", "add", "tcp::1-:2"))

    def ctl_and_doctor(self, forms):
        return [("ctl", ".", *form) for form in forms] + [("doctor", "--lan", ".", "--wait", "0")]

    def test_half_an_answer_is_none(self):
        ok = b"HTTP/1.1 200 OK\r\n"
        chunked = ok + b"Transfer-Encoding: chunked\r\n\r\n"
        for answer in (ok + b"Content-Length: 3\r\n\r\n[]", chunked, chunked + b"2\r\n[]\r\n",
                       chunked + b"2\r\n[]\r\n0\r\n", chunked + b"10\r\n[", ok):
            end = self.serve(answer)
            for words in self.ctl_and_doctor(self.FORMS):
                with self.subTest(answer=answer, words=words):
                    self.expect_line(self.run_lanyard(*words), 69, "hung up before it had answered")
            end()

    def test_a_stream_of_events_that_is_cut(self):
        event = b'{"event": "one", "number": 1, "time": 1.5}\n'
        chunk = b"%x\r\n%s\r\n" % (len(event), event)
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        for rest, status in ((b"", 69), (b"5\r\n{", 69), (b"0\r\n\r\n", 0), (b"2\r\n7\n\r\n", 76),
                             (b"1\r\n{\r\n0\r\n\r\n", 76)):
            end = self.serve(head + chunk + rest)
            for words, shown in ((["--json"], event.decode()), ([], "  one")):
                with self.subTest(rest=rest, words=words):
                    done = self.run_lanyard("ctl", ".", "events", *words)
                    self.assertEqual(done.returncode, status, done.stderr)
                    self.assertEqual(done.stderr.count("\n"), int(status != 0))
                    self.assertIn(shown, done.stdout)
                    self.assertEqual(done.stdout.count("\n"), 1)
            end()

    def test_an_empty_answer_is_no_idle_lan(self):
        # [] is what an idle LAN answers to /ports.
        tables = ((), ("--json",), ("egress",), ("egress", "--json"), ("policy", "--json"))
        lists = (("ports",), ("ports", "--json"), ("capture", "list", "--json"), ("leases",),
                 ("forward", "remove", "tcp::1-:2"))
        for body in (b"{}", b"[]", b"null", b"hello"):
            end = self.serve(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            for words in self.ctl_and_doctor(tables if body == b"[]" else (*tables, *lists)):
                with self.subTest(body=body, words=words):
                    self.expect_line(self.run_lanyard(*words), 76, "cannot ")
            for words in (["events"], ["events", "--json"]):
                with self.subTest(body=body, words=words):
                    self.expect_line(self.run_lanyard("ctl", ".", *words), 76, "not what a LAN tells")
            end()

    def test_a_failure_without_a_reason_is_no_lan(self):
        for status in (b"500 Oh", b"302 Found"):
            end = self.serve(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
            for words in self.ctl_and_doctor(self.FORMS):
                with self.subTest(status=status, words=words):
                    self.expect_line(self.run_lanyard(*words), 76, "cannot ")
            end()

    def test_what_is_no_lan(self):
        http = b"HTTP/1.0 200 OK\r\n\r\n"
        for answer, status in ((b"hello", 76), (b"hello\r\n\r\n", 76), (b"\0" * 200_000, 76),
                               (b"HTTP/2.0 200 OK\r\n\r\n[]", 76), (http + b"not json", 76), (http + b"7", 76),
                               (http + b"[7]", 76), (b"HTTP/1.0 200", 69), (b"", 69)):
            end = self.serve(answer)
            for words in (("ctl", "."), ("ctl", ".", "ports"), ("ctl", ".", "guests"), ("ctl", ".", "flows"),
                          ("doctor", "--lan", ".", "--wait", "0")):
                with self.subTest(answer=answer[:40], words=words):
                    self.expect_line(self.run_lanyard(*words), status, "cannot ")
            end()


class WrongWordTest(AnswerCase):
    def test_an_empty_word_is_not_taken_for_none(self):
        for option in ("--capture", "--egress-report", "--learn", "--lan", "--control", "--net",
                       "--mtu", "--mac"):
            with self.subTest(option):
                self.expect_line(self.run_lanyard("run", option, "", "--", "/bin/true"), 64,
                                 f"{option}: an empty word is given; give a value")
        for words in (("switch", ""), ("switch", "lan", "--vhost-user", ""), ("switch", "lan", "--capture", ""),
                      ("switch", "lan", "--nat", "--net", ""), ("switch", "lan", "--nat", "--mtu", ""),
                      ("plug", "--packet", "", "lan"), ("plug", "--tap", "", "lan"), ("plug", "--tap", "t", ""),
                      ("doctor", "--lan", ""), ("ctl", ""), ("ctl", "lan", "capture", "start", ""),
                      ("ctl", "lan", "capture", "stop", ""), ("ctl", "lan", "ports", ""),
                      ("ctl", "lan", "events", "--kind", ""), ("ctl", "lan", "flows", "--guest", ""),
                      ("ctl", "lan", "flows", "--limit", ""), ("ctl", "lan", "link", "", "up"),
                      ("ctl", "lan", "get", ""), ("ctl", "lan", "policy", "remove", ""),
                      ("ctl", "lan", "policy", "allow", ""), ("ctl", "lan", "policy", "deny", "x", "--before", ""),
                      ("ctl", "lan", "forward", "add", ""), ("ctl", "lan", "forward", "remove", ""),
                      ("ctl", "lan", "capture", "start", "f", "--filter", ""),
                      ("ctl", "lan", "capture", "start", "f", "--snaplen", ""),
                      ("switch", "lan", "--capture", "f", "--capture-filter", ""),
                      ("doctor", "--lan", "lan", "--wait", "")):
            with self.subTest(words):
                self.expect_line(self.run_lanyard(*words), 64, "an empty word is given")
        self.assertEqual(os.listdir(self.folder), [])

    def test_a_number_is_whole_and_no_larger_than_it_may_be(self):
        for number in ("1.5", "-1", "x", "1x", "99999999999999999999"):
            with self.subTest(number):
                self.expect_line(self.run_lanyard("ctl", "lan", "policy", "deny", "x", "--before", number), 64,
                                 f"--before = {number}")

    def test_the_way_to_help_leads_to_the_subcommand_that_was_meant(self):
        self.expect_line(self.run_lanyard("run", "qemu-system-x86_64", "-m", "100"), 64,
                         "behind --, as in `lanyard run -- qemu-system-x86_64 …`")
        self.expect_line(self.run_lanyard("run", "--bogus", "100"), 64, 'at "--bogus"; `lanyard run --help`')
        self.expect_line(self.run_lanyard("ctl", "lan", "capture"), 64, "`lanyard ctl DIR capture --help`")
        self.expect_line(self.run_lanyard("ctl", "lan", "zork"), 64, 'at "zork"; `lanyard ctl --help`')


class FullOutputTest(lan_harness.LanTest):
    """Standard output that takes nothing: one line, and no success."""

    def test_no_program_loses_its_answer_in_silence(self):
        directory, _ = self.start_lan()
        self.addCleanup(vde_harness.Plug(directory).close)
        programs = lan_harness.BUILD_DIR / "bin"
        commands = [[lan_harness.LANYARD, *words] for words in (
            ["--help"], ["--version"], ["ctl", "--help"], ["doctor", "--causes"], ["run", "--show", "--", "true"],
            *(["ctl", directory, *words] for words in (
                [], ["--json"], ["ports"], ["metrics"], ["get", "/"], ["events", "--from-oldest"],
                ["events", "--from-oldest", "--json"])))]
        commands += [[programs / "vde_switch", "-v"], [programs / "vde_switch", "-h"], [programs / "slirpvde", "-h"],
                     [programs / "vde_plug2tap", "-h"]]
        for command in commands:
            with self.subTest(command), open("/dev/full", "w", encoding="utf-8") as full:
                done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=30)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn("No space left on device", done.stderr)
                self.assertEqual(done.stderr.count("\n"), 1, done.stderr)


if __name__ == "__main__":
    lan_harness.main()
