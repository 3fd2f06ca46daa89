"""A vhost-user guest moves from one QEMU to another on the same switch, and its neighbours keep
talking to it: with streams in the air, and without a word of its own."""

import subprocess
import time

import lan_harness
from lan_harness import LANYARD, tcpdump_lines, wait_for
from vhost_bed import ANSWER_LIMIT_S, Bystanders, VhostTest

ADDRESS_A, ADDRESS_B = "10.0.2.50", "10.0.2.51"
MAC_A, MAC_B = "52:54:00:00:0a:01", "52:54:00:00:0b:02"
LOGGED_S = 2  # of a migration that is called off


class Migration(VhostTest):
    def spawn_a(self, name, *more):
        words = self.vhost_words(self.directory / "vhost-user", MAC_A)
        return self.spawn(name, ADDRESS_A, [*words, *more])

    def status_of(self, guest):
        return guest.monitor.ask("query-migrate").get("status")

    def call_off(self, source):
        """A migration begins, what is written is logged for a while, and it is called off."""
        path = self.folder / "nobody.in"
        with subprocess.Popen(["socat", "-u", f"UNIX-LISTEN:{path}", "CREATE:/dev/null"],
                              preexec_fn=lan_harness.die_with_parent) as sink:
            wait_for(path.exists, f"{path}")
            source.monitor.ask("migrate-set-parameters", **{"max-bandwidth": 1 << 20})
            source.monitor.ask("migrate", uri=f"unix:{path}")
            wait_for(lambda: self.status_of(source) == "active", "the migration to begin")
            time.sleep(LOGGED_S)
            source.monitor.ask("migrate_cancel")
            wait_for(lambda: self.status_of(source) == "cancelled", "the migration's end")
            sink.terminate()

    def move(self, source, name):
        """Returns the guest where it is now. The QEMU it has left stays, with its port."""
        path = self.folder / f"{name}.in"
        target = self.spawn_a(name, "-incoming", f"unix:{path}")
        source.monitor.ask("migrate-set-parameters", **{"max-bandwidth": 1 << 32})
        source.monitor.ask("migrate", uri=f"unix:{path}")
        wait_for(lambda: self.status_of(source) in ("completed", "failed"),
                 "the migration's end", ANSWER_LIMIT_S)
        self.assertEqual(self.status_of(source), "completed", source.process.stderr())
        self.bystanders.still_talk()
        return target

    def port_of_a(self):
        """Where the switch thinks it is."""
        said = subprocess.run([LANYARD, "ctl", self.directory, "fdb"], check=True, text=True,
                              stdout=subprocess.PIPE).stdout
        lines = [line for line in said.splitlines() if MAC_A in line]
        self.assertEqual(len(lines), 1, said)
        return lines[0]

    def begin(self):
        self.capture = self.folder / "lan.pcap"
        self.directory, self.switch = self.start_lan("--capture", self.capture)
        self.bystanders = Bystanders(self.directory)
        self.addCleanup(self.bystanders.close)
        a = self.spawn_a("a")
        b = self.spawn("b", ADDRESS_B, self.vhost_words(self.directory / "vhost-user", MAC_B))
        self.boot(a, b)
        return a, b

    def end(self, *guests):
        for guest in guests:
            self.assert_kernel_content(guest)
            self.assertNotIn("fails to broadcast", guest.process.stderr())
        self.bystanders.judge()
        self.judge_end(self.switch)

    def test_streams_go_on(self):
        a, b = self.begin()
        self.start_stream(a, b, ADDRESS_B)
        self.start_stream(b, a, ADDRESS_A)
        self.call_off(a)
        self.wait_for_stream(a, b)
        there = self.move(a, "there")
        self.wait_for_stream(there, b)
        again = self.move(there, "again")
        self.wait_for_stream(again, b)
        self.judge_stream(again, b)
        self.judge_stream(b, again)
        self.end(again, b)

    def test_a_silent_guest_is_announced(self):
        """By QEMU through the switch: neighbours reach it before it has said anything."""
        a, b = self.begin()
        b.run(f"ping -c 1 -W 20 {ADDRESS_A}")
        before = self.port_of_a()
        there = self.move(a, "there")
        wait_for(lambda: self.port_of_a() != before, "word of the guest's new place",
                 ANSWER_LIMIT_S)
        b.run(f"ping -c 3 -W 20 {ADDRESS_A}")
        a.end()
        b.run(f"ping -c 3 -W 20 {ADDRESS_A}")
        self.end(there, b)
        self.assertNotEqual(tcpdump_lines(self.capture, f"rarp and ether src {MAC_A}"), [])


if __name__ == "__main__":
    lan_harness.main()
