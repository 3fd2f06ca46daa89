"""Where guests may go: rules by network, port and name, what a guest is told, the report of what was
reached for, the rules learned from it, `--restrict`, and rules that change while a LAN runs."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

import lan_harness
from hand_guest import ACK, PSH, RST, SYN, HandGuest
from lan_harness import LANYARD, LanTest, wait_for, web_server
from name_server import NameServer

sys.path.insert(0, str(lan_harness.SOURCE_DIR / "tools" / "python"))
import lanyard  # noqa: E402

SERVED = "192.0.2.1"    # on lo, where everything answers
UNSERVED = "192.0.2.2"  # on lo as well, where nothing listens
NAMES = {"files.example": [SERVED], "other.example": [SERVED], "only.example": ["192.0.2.77"]}
PROHIBITED = (3, 13)    # ICMP type and code


# --- tests ------------------------------------------------------------------------------------------
class Policy(LanTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        lan_harness.use_resolv_conf("nameserver 127.0.0.1\n")
        for address in (SERVED, UNSERVED):
            subprocess.run(["ip", "addr", "add", f"{address}/32", "dev", "lo"], check=True)

    def setUp(self):
        super().setUp()
        self.names = NameServer(NAMES)
        self.addCleanup(self.names.close)

    def served(self):
        """A web server's port on SERVED, with a file `words`."""
        (self.folder / "words").write_text("far words\n")
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        return stack.enter_context(web_server(self.folder, SERVED))

    def start_switch(self, *options):
        """A LAN with a gateway, its control, and a guest by hand."""
        lan = lanyard.Lan(str(self.folder / "lan"), program=LANYARD, nat=True, options=list(options))
        self.addCleanup(lan.stop)
        return lan, HandGuest(self, lan.directory)

    @staticmethod
    def ctl(lan, *words):
        return subprocess.run([LANYARD, "ctl", lan.directory, *words], capture_output=True, text=True,
                              timeout=30, check=True).stdout

    def test_what_was_reached_for_becomes_rules_that_suffice(self):
        port = self.served()
        web = f"wget -q -O - http://files.example:{port}/words"
        commands = [web, f"nc -w 5 {UNSERVED} 8081 </dev/null", "nslookup only.example"]
        rules, report = self.folder / "rules", self.folder / "report.json"
        guest = self.start_guest("first", commands, ["--learn", rules, "--egress-report", report])
        for command, status in zip(guest.finish().commands, (0, 1, 0)):
            self.assert_command(command, status=status)

        places = {(p["protocol"], p["place"], p["port"]): p for p in json.loads(report.read_text())["places"]}
        page = places["tcp", "files.example", port]
        self.assertEqual(page["addresses"], [SERVED])
        self.assertEqual(page["outcomes"], {"closed": 1})
        self.assertGreater(page["bytes_in"], 100)
        self.assertEqual(places["tcp", UNSERVED, 8081]["outcomes"], {"refused": 1})
        self.assertIn(("dns", "only.example", None), places)
        text = rules.read_text()
        for rule in (f"tcp:files.example:{port}  # 1 closed", f"tcp:{UNSERVED}:8081  # 1 refused", "dns:only.example "):
            self.assertIn("\n" + rule, text)

        table = self.folder / "report"
        more = [f"wget -q -O - http://other.example:{port}/words; nslookup other.example",
                f"ping -c 1 -W 5 {SERVED}", f"nc -w 5 {UNSERVED} 8082 </dev/null"]
        guest = self.start_guest("second", more + commands, ["--allow", f"@{rules}", "--egress-report", table])
        other, ping, closed, page, refused, name = guest.finish().commands
        self.assertIn("other.example", other.output)
        self.assertNotIn("far words", other.output)
        self.assert_command(ping, status=1)
        self.assertIn("Packet filtered", ping.output)
        self.assert_command(closed, status=1)
        self.assertNotIn("refused", closed.output)
        self.assert_command(page)
        self.assertIn("far words", page.output)
        self.assert_command(refused, status=1)
        self.assertIn("refused", refused.output)
        self.assert_command(name)
        self.assertIn(f"denied by this LAN's policy: no rule allows other.example ({SERVED})", guest.stderr())
        self.assertIn(f"Try: --allow tcp:other.example:{port}.", guest.stderr())
        self.assertRegex(table.read_text(), rf"(?m)^tcp +other\.example +{port} +\d+ +\d+ +0 +\d denied +policy-denied by no rule$")
        self.assertRegex(table.read_text(), rf"(?m)^tcp +files\.example +{port} .* 1 closed$")
        self.assert_nothing_left()

    def test_restrict_leaves_the_forward_alone(self):
        """By our option and by QEMU's: no router, no DNS, nothing out, the forward in."""
        port = self.served()
        for number, (options, words) in enumerate((
                (["--restrict", "--hostfwd", "tcp:127.0.0.1:4022-:22"], []),
                ([], ["-netdev", "user,id=n,restrict=on,hostfwd=tcp:127.0.0.1:4022-:22",
                      "-device", "virtio-net-pci,netdev=n"]))):
            with self.subTest(number):
                guest = self.start_guest(
                    f"guest{number}", ["ip route; cat /etc/resolv.conf",
                                       f"ip route add default via 10.0.2.2; nc -w 5 {SERVED} {port} </dev/null",
                                       "ping -c 1 -W 5 10.0.2.2", "nslookup files.example 10.0.2.3",
                                       "echo from inside | nc -l -p 22"],
                    options, qemu_options=words)
                said = []
                wait_for(lambda: self.call(4022, said) or not guest.running(), "the guest behind the forward", 100)
                routes, out, gateway, name, inward = guest.finish().commands
                self.assertEqual(said, [b"from inside\n"])
                self.assertNotIn("default", routes.output)
                self.assertNotIn("nameserver", routes.output)
                self.assert_command(out, status=1)
                self.assert_command(gateway)
                self.assert_command(name, status=1)
                self.assertIn("REFUSED", name.output)
                self.assert_command(inward)
                self.assertIn("--restrict keeps the guests to their LAN", guest.stderr())
        self.assertNotIn("files.example", {name for name, _ in self.names.queries})

    @staticmethod
    def call(port, said):
        """Connects and keeps what is said; true once something was."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 2) as client:
            client.settimeout(2)
            data = client.recv(100)
            if data:
                said.append(data)
        return bool(said)

    def test_rules_change_while_it_runs(self):
        with socket.create_server((SERVED, 0)) as server:
            port = server.getsockname()[1]
            lan, guest = self.start_switch()
            guest.send_tcp(SERVED, port, SYN, 100)
            flags, seq, _ = guest.receive_tcp()
            self.assertEqual(flags, SYN | ACK)
            guest.send_tcp(SERVED, port, PSH | ACK, 101, seq + 1, b"abc")
            with server.accept()[0] as client:
                client.settimeout(20)
                self.assertEqual(client.recv(10), b"abc")
                flow = lan.request("GET", "/flows")["flows"][0]
                self.assertEqual((flow["address"], flow["port"], flow["state"]), (SERVED, port, "established"))
                self.assertIn("established", self.ctl(lan, "flows", "--guest", "10.0.2.15"))
                self.assertNotIn("established", self.ctl(lan, "flows", "--guest", "10.0.2.99"))
                rule = {"action": "deny", "match": f"tcp:{SERVED}:{port}"}
                self.assertEqual(lan.request("POST", "/policy/rules", rule)["id"], 1)
                while True:
                    flags, seq_of_reset, _ = guest.receive_tcp()
                    if flags & RST:
                        break
                self.assertEqual(seq_of_reset, seq + 1)
                with contextlib.suppress(ConnectionResetError):
                    self.assertEqual(client.recv(10), b"")
            event = lan.wait_for_event("flow-denied")
            self.assertEqual(event["rule"], f"rule 1 (deny tcp:{SERVED}:{port})")
            guest.send_tcp(SERVED, port, SYN, 100, source_port=1001)
            self.assertEqual(guest.receive_error(), PROHIBITED)
            self.assertEqual(lan.request("DELETE", "/policy/rules/1")["rules"], [])
            with self.assertRaisesRegex(lanyard.Error, "there is no rule 1"):
                lan.request("DELETE", "/policy/rules/1")
            guest.send_tcp(SERVED, port, SYN, 100, source_port=1002)
            self.assertEqual(guest.receive_tcp()[0], SYN | ACK)
            self.assertRegex(self.ctl(lan, "egress"), rf"tcp +{SERVED} +{port} .*2 policy-denied")
            places = lan.request("GET", "/egress")["places"]
            self.assertEqual([place["reasons"] for place in places], [{"policy-denied": 2}])

    def test_a_guest_that_opens_flows_for_ever_meets_its_share(self):
        """With few descriptors for the gateway. Others go on, and nothing is lost for them."""
        directory, switch = self.start_lan("--nat", prefix=["sh", "-c", 'ulimit -n 400; exec "$@"', "sh"])
        control = lanyard.Control(directory)
        hostile, other = HandGuest(self, directory), HandGuest(self, directory, 2)
        with socket.create_server((SERVED, 0)) as server, \
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
            port = server.getsockname()[1]
            sink.bind((SERVED, 0))
            other.send_tcp(SERVED, port, SYN, 100)
            flags, seq, _ = other.receive_tcp()
            self.assertEqual(flags, SYN | ACK)
            other.send_tcp(SERVED, port, ACK, 101, seq + 1)
            for source_port in range(2000, 2400):  # each would hold a socket of the host's
                hostile.send_udp(SERVED, sink.getsockname()[1], source_port)
                time.sleep(0.001)
            self.assertEqual(hostile.receive_error(), PROHIBITED)
            answer = control.request("GET", "/flows")
            self.assertLessEqual(answer["live"], answer["limit"] * 3 // 4 + 1)
            self.assertIn("too many flows: the guest, or its port of the switch, has its share", switch.stderr())
            self.assertIn("lanyard_flows_over_limit_total", control.metrics())
            with server.accept()[0] as client:
                other.send_tcp(SERVED, port, PSH | ACK, 101, seq + 1, b"still here")
                client.settimeout(20)
                self.assertEqual(client.recv(100), b"still here")
            other.send_tcp(SERVED, port, SYN, 100, source_port=1001)
            while True:
                flags, _, ack = other.receive_tcp()
                if flags == SYN | ACK and ack == 101:
                    break
        self.assertTrue(switch.running())

    def test_files_that_cannot_be_written(self):
        done = subprocess.run([LANYARD, "switch", self.folder / "lan", "--nat", "--learn",
                               self.folder / "absent" / "x"], capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, 73)
        self.assertRegex(done.stderr, r"^lanyard: cannot write .*/absent/x: No such file or directory; [^\n]*\n$")
        lan = lanyard.Lan(str(self.folder / "lan"), program=LANYARD, nat=True,
                          options=["--egress-report", "/dev/full", "--learn", str(self.folder / "rules")])
        self.assertEqual(lan.stop(), 73)
        self.assertTrue((self.folder / "rules").read_text().startswith("# "))

    def test_each_file_that_cannot_be_written_has_its_line(self):
        switch = self.start_reporting(subprocess.DEVNULL, "--egress-report", "/dev/full", "--learn", "/dev/full")
        switch.terminate()
        _, said = switch.communicate(timeout=60)
        self.assertEqual((switch.returncode, said.count("\nlanyard: cannot write /dev/full: No space left")), (73, 2), said)

    def test_one_file_for_two_things(self):
        (self.folder / "there").write_text("kept")
        (self.folder / "link").symlink_to("there")
        (self.folder / "ahead").symlink_to("absent")
        os.link(self.folder / "there", self.folder / "hard")
        before = sorted(os.listdir(self.folder))
        for one, other in (("absent", "absent"), ("absent", "./absent"), ("absent", "ahead"), ("there", "there"),
                           ("there", "link"), ("hard", "there"), ("there", f"../{self.folder.name}/there")):
            for options in (["--capture", one, "--egress-report", other], ["--learn", one, "--capture", other],
                            ["--learn", one, "--egress-report", other]):
                for words in (["switch", "lan", "--nat", *options], ["run", *options, "--", "/bin/true"]):
                    with self.subTest(words):
                        done = subprocess.run([LANYARD, *words], cwd=self.folder, capture_output=True, text=True,
                                              timeout=30)
                        self.assertEqual(done.returncode, 64)
                        self.assertRegex(done.stderr, r"^lanyard: cannot use --\S+ \S+: it is the file of "
                                                      r"--\S+ \S+ as well[^\n]*; name another file\n$")
        self.assertEqual(sorted(os.listdir(self.folder)), before)
        self.assertEqual((self.folder / "there").read_text(), "kept")
        for options in (["--capture", "-", "--egress-report", "/dev/stdout"],
                        ["--capture", "/dev/stdout", "--learn", "/dev/fd/1"]):
            done = subprocess.run([LANYARD, "run", *options, "--", "/bin/true"], cwd=self.folder,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
            self.assertEqual((done.returncode, done.stdout), (64, b""), done.stderr)

    def test_a_later_capture_leaves_the_reports_alone(self):
        (self.folder / "report").write_text("kept")
        (self.folder / "link").symlink_to("report")
        switch = self.start_reporting(subprocess.DEVNULL, "--egress-report", "report", "--learn", "rules",
                                      "--capture-dir", ".")
        for file, option in (("report", "--egress-report"), ("link", "--egress-report"), ("rules", "--learn"),
                             ("lan/../rules", "--learn")):
            done = subprocess.run([LANYARD, "ctl", "lan", "capture", "start", file], cwd=self.folder,
                                  capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 65, done.stderr)
            self.assertRegex(done.stderr, rf"^lanyard: cannot capture to \S+: it is the file of {option}, which [^\n]*\n$")
        self.assertEqual((self.folder / "report").read_text(), "kept")
        self.assertFalse((self.folder / "rules").exists())
        switch.terminate()
        switch.communicate(timeout=60)

    def test_a_report_goes_where_a_link_leads(self):
        far = self.folder / "far"
        far.mkdir()
        (far / "report").write_text("old")
        (self.folder / "there").symlink_to("far/report")
        (self.folder / "absent").symlink_to("far/rules")
        switch = self.start_reporting(subprocess.DEVNULL, "--egress-report", "there", "--learn", "absent")
        switch.terminate()
        _, said = switch.communicate(timeout=60)
        self.assertEqual(switch.returncode, 0, said)
        self.assertTrue((self.folder / "there").is_symlink() and (self.folder / "absent").is_symlink())
        self.assertTrue((far / "report").read_text().startswith("PROTOCOL"))
        self.assertTrue((far / "rules").read_text().startswith("# What guests "))
        self.assertEqual(sorted(os.listdir(far)), ["report", "rules"])

    def test_reports_to_what_the_user_opened(self):
        output = self.folder / "output"
        with open(output, "w", encoding="utf-8") as opened:
            switch = subprocess.Popen([LANYARD, "switch", "lan", "--nat", "--egress-report", "/dev/fd/1", "--learn",
                                       "/proc/thread-self/fd/1"], cwd=self.folder, stdout=opened,
                                      stderr=subprocess.PIPE, text=True)
            self.addCleanup(switch.kill)
            lan_harness.wait_for((self.folder / "lan" / "ctl").exists, "the LAN")
            opened.write("before\n")
            opened.flush()
            switch.terminate()
            _, said = switch.communicate(timeout=60)
        self.assertEqual(switch.returncode, 0, said)
        self.assertRegex(output.read_text(), r"^before\nPROTOCOL .*\n# What guests ")
        with open("/dev/null", encoding="utf-8") as to_read:
            done = subprocess.run([LANYARD, "switch", "lan", "--nat", "--learn", f"/dev/fd/{to_read.fileno()}"],
                                  cwd=self.folder, capture_output=True, text=True, timeout=30,
                                  pass_fds=[to_read.fileno()])
        self.assertEqual((done.returncode, done.stderr.count("\n")), (73, 1), done.stderr)

    def start_reporting(self, stdout, *options):
        """A switch that has its LAN, and what it says."""
        switch = subprocess.Popen([LANYARD, "switch", "lan", "--nat", *options], cwd=self.folder, stdout=stdout,
                                  stderr=subprocess.PIPE, text=True)
        self.addCleanup(switch.kill)
        lan_harness.wait_for(lambda: (self.folder / "lan" / "ctl").exists() or switch.poll() is not None, "the LAN")
        return switch

    def test_reports_to_who_does_not_read(self):
        """The LAN goes before, and the wait is no longer than the program's patience."""
        read_end, write_end = os.pipe()
        self.addCleanup(os.close, read_end)
        os.set_blocking(write_end, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(write_end, bytes(1))
        os.set_blocking(write_end, True)
        switch = self.start_reporting(write_end, "--egress-report", "/dev/stdout")
        os.close(write_end)
        switch.terminate()
        lan_harness.wait_for(lambda: not (self.folder / "lan").exists(), "the LAN's end")
        _, said = switch.communicate(timeout=60)
        self.assertEqual(switch.returncode, 73, said)
        self.assertRegex(said, r"ready\nlanyard: cannot write /dev/stdout: its reader has stopped reading[^\n]*\n$")

    def test_reports_to_a_fifo(self):
        fifo = self.folder / "fifo"
        os.mkfifo(fifo)
        for words in (["switch", "lan", "--nat", "--learn", "fifo"],
                      ["run", "--egress-report", "fifo", "--", "/bin/true"]):
            done = subprocess.run([LANYARD, *words], cwd=self.folder, capture_output=True, text=True, timeout=60)
            self.assertEqual((done.returncode, done.stderr),
                             (73, "lanyard: cannot write fifo: nobody reads this FIFO; start its reader first\n"))
        self.assertFalse((self.folder / "lan").exists())
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        switch = self.start_reporting(subprocess.DEVNULL, "--learn", "fifo")
        os.set_blocking(reader, True)
        with open(reader, encoding="utf-8") as file:
            switch.terminate()
            self.assertTrue(file.read().startswith("# What guests "))
        _, said = switch.communicate(timeout=60)
        self.assertEqual(switch.returncode, 0, said)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        switch = self.start_reporting(subprocess.DEVNULL, "--learn", "fifo")
        os.close(reader)
        switch.terminate()
        _, said = switch.communicate(timeout=60)
        self.assertEqual(switch.returncode, 73, said)
        self.assertRegex(said, r"\nlanyard: cannot write fifo: its reader has gone away; [^\n]*\n$")

    def test_a_descriptor_of_the_program_is_not_the_users(self):
        """The first numbers that a program opens, and all that it has while it runs."""
        for number in range(3, 30):
            for option in ("--capture", "--egress-report", "--learn"):
                done = subprocess.run([LANYARD, "switch", "lan", "--nat", option, f"/dev/fd/{number}"],
                                      cwd=self.folder, capture_output=True, text=True, timeout=60)
                self.assertEqual(done.returncode, 73, done.stderr)
                self.assertRegex(done.stderr, r"^lanyard: cannot write [^\n]*: Bad file descriptor; [^\n]*\n$")
            done = subprocess.run([LANYARD, "switch", "lan", "--nat", "--allow", f"@/dev/fd/{number}"],
                                  cwd=self.folder, capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 66, done.stderr)

    def test_one_place_for_two_things_that_takes_both(self):
        for options in (["--capture", "/dev/null", "--egress-report", "/dev/null", "--learn", "/dev/null"],
                        ["--egress-report", "/dev/stdout", "--learn", "/dev/stdout"],
                        ["--capture", "a", "--egress-report", "b", "--learn", "c"]):
            with self.subTest(options):
                done = subprocess.run([LANYARD, "run", "--show", *options, "--", "qemu-system-x86_64"],
                                      cwd=self.folder, capture_output=True, text=True, timeout=30)
                self.assertEqual(done.returncode, 0, done.stderr)

    @staticmethod
    def opened(pid, descriptor):
        """How often the process holds what our descriptor leads to."""
        ours, count = os.fstat(descriptor), 0
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                count += os.path.samestat(os.stat(f"/proc/{pid}/fd/{fd}"), ours)
        return count

    def test_rules_that_nobody_writes(self):
        """A FIFO is refused; a pipe is waited for, and a signal ends the wait."""
        os.mkfifo(self.folder / "fifo")
        read_end, write_end = os.pipe()
        self.addCleanup(os.close, write_end)
        for words in (["switch", "lan", "--nat"], ["run"]):
            words = [LANYARD, *words, "--allow"]
            guest = ["--", "/bin/true"] if "run" in words else []
            done = subprocess.run([*words, "@fifo", *guest], cwd=self.folder, capture_output=True, text=True,
                                  timeout=60)
            self.assertEqual((done.returncode, done.stderr),
                             (66, "lanyard: cannot read the rules in fifo: nobody writes into this FIFO; start its "
                                  "writer first\n"))
            waiting = subprocess.Popen([*words, f"@/dev/fd/{read_end}", *guest], cwd=self.folder, pass_fds=[read_end])
            self.addCleanup(waiting.kill)
            lan_harness.wait_for(lambda: self.opened(waiting.pid, read_end) == 2, "the wait for rules")
            waiting.terminate()
            self.assertEqual(waiting.wait(60), -signal.SIGTERM)
        os.close(read_end)
        self.assertFalse((self.folder / "lan").exists())

    def test_rules_that_are_none(self):
        for options, why in ((["--nat", "--allow", "tcp:example.org:https"], "neither a port nor a range"),
                             (["--nat", "--deny", "10.0.0.1/8"], "bits behind the prefix"),
                             (["--nat", "--allow", "@/absent"], "No such file"),
                             (["--deny", "any"], "add --nat")):
            done = subprocess.run([LANYARD, "switch", self.folder / "lan", *options], capture_output=True,
                                  text=True, timeout=30)
            self.assertNotEqual(done.returncode, 0)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
            self.assertIn(why, done.stderr)


if __name__ == "__main__":
    lan_harness.main()
