"""The switch is killed under load and started again, and QEMU reconnects: no byte and no descriptor
is lost."""

import random
import time

import lan_harness
from vhost_bed import VhostTest

ADDRESS_A, ADDRESS_B = "10.0.2.50", "10.0.2.51"
MAC_A, MAC_B = "52:54:00:00:0a:01", "52:54:00:00:0b:02"
DEATHS_COUNT = 4
ALIVE_S = (1.5, 3.0)  # at random, so that a death meets every phase


class Restart(VhostTest):
    def die_and_return(self, switch):
        switch.child.kill()
        switch.child.wait()
        return self.start_lan()[1]

    def restart_under_load(self, card):
        directory, switch = self.start_lan()
        a, b = (self.spawn(name, address,
                           self.vhost_words(directory / "vhost-user", mac, card, reconnect=1))
                for name, address, mac in (("a", ADDRESS_A, MAC_A), ("b", ADDRESS_B, MAC_B)))
        self.boot(a, b)
        self.start_stream(a, b, ADDRESS_B)
        self.start_stream(b, a, ADDRESS_A)
        for _ in range(DEATHS_COUNT):
            time.sleep(random.uniform(*ALIVE_S))
            switch = self.die_and_return(switch)
            self.wait_for_stream(a, b)
        self.judge_stream(a, b)
        self.judge_stream(b, a)
        for guest in (a, b):
            self.assert_kernel_content(guest)
        return a, b, switch

    def test_split_rings(self):
        a, b, switch = self.restart_under_load("")
        for guest in (a, b):
            self.assertEqual(guest.monitor.outstanding(1), 0)
        self.judge_end(switch)

    def test_packed_rings(self):
        """Here QEMU cannot say where the rings stand: they have to show it."""
        a, b, switch = self.restart_under_load(",packed=on")
        self.judge_end(switch)


if __name__ == "__main__":
    lan_harness.main()
