"""What happens to a vhost-user guest in its life, and that the rest of the LAN never notices: driver
unloaded, stopped, reset, killed."""

import os
import signal
import time

import lan_harness
from vhost_bed import Bystanders, VhostTest

ADDRESS_A, ADDRESS_B = "10.0.2.50", "10.0.2.51"
MAC_A, MAC_B = "52:54:00:00:0a:01", "52:54:00:00:0b:02"
STOPPED_S = 3
BLOB_MIB = 4


class Life(VhostTest):
    def setUp(self):
        super().setUp()
        self.directory, self.switch = self.start_lan()
        self.bystanders = Bystanders(self.directory)
        self.addCleanup(self.bystanders.close)

    def spawn_a(self, **knobs):
        return self.spawn("a", ADDRESS_A, self.vhost_words(self.directory / "vhost-user", MAC_A,
                                                           **knobs))

    def spawn_b(self, **knobs):
        return self.spawn("b", ADDRESS_B, self.vhost_words(self.directory / "vhost-user", MAC_B,
                                                           **knobs))

    def talk(self, a, b):
        self.exchange(((a, ADDRESS_A), (b, ADDRESS_B)))
        self.bystanders.still_talk()

    def load(self, b):
        """b floods a with what it can, over whatever happens to a."""
        b.start_job(f"while [ ! -f /tmp/calm ]; do ping -i 0.01 -c 500 -W 1 -s 1400 {ADDRESS_A}; done")

    def calm(self, b):
        b.run("touch /tmp/calm; while pidof ping >/dev/null; do sleep 0.1; done; rm /tmp/calm")

    def test_resets_stops_and_death(self):
        a, b = self.spawn_a(), self.spawn_b()
        self.boot(a, b)
        self.make_blob_in(a, BLOB_MIB)
        self.make_blob_in(b, BLOB_MIB)
        self.talk(a, b)
        self.load(b)

        self.reload_driver(a, ADDRESS_A)
        self.talk(a, b)

        self.listen(b, 6000)
        a.start_job(f"nc {ADDRESS_B} 6000 </tmp/blob")
        os.kill(a.process.pid, signal.SIGSTOP)
        time.sleep(STOPPED_S)
        self.bystanders.still_talk()
        os.kill(a.process.pid, signal.SIGCONT)
        self.assertEqual(self.received(b, 6000), a.run("sha256sum </tmp/blob"))
        self.talk(a, b)

        for _ in range(2):
            a.monitor.ask("system_reset")
            self.boot(a)
            self.make_blob_in(a, BLOB_MIB)
            self.talk(a, b)

        a.end()
        self.bystanders.still_talk()
        a = self.spawn_a()
        self.boot(a)
        self.make_blob_in(a, BLOB_MIB)
        self.talk(a, b)
        self.calm(b)
        self.assertEqual(b.monitor.outstanding(1), 0)
        for guest in (a, b):
            self.assert_kernel_content(guest)
        self.bystanders.judge()
        self.judge_end(self.switch)


if __name__ == "__main__":
    lan_harness.main()
