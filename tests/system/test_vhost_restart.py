"""The switch is killed under load and started again, and QEMU reconnects: no byte and no descriptor
is lost."""

import random
import time

import lan_harness
from vhost_bed import SILENT, VhostTest

ADDRESS_A, ADDRESS_B = "10.0.2.50", "10.0.2.51"
MAC_A, MAC_B = "52:54:00:00:0a:01", "52:54:00:00:0b:02"
DEATHS_COUNT = 4
ALIVE_S = (1.5, 3.0)  # at random, so that a death meets every phase
PORTS = {"a": 6001, "b": 6002}


class Restart(VhostTest):
    def start_stream(self, source, target, address):
        """Random bytes without an end over one TCP connection, until stop_stream()."""
        port = PORTS[source.name]
        self.listen_for_digest(target, port)
        source.run("rm -f /tmp/stop /tmp/sent; mkfifo /tmp/copy 2>/dev/null; "
                   "head -c 1000000 /dev/urandom >/tmp/piece")
        source.start_job("sha256sum </tmp/copy >/tmp/sum; mv /tmp/sum /tmp/sent")
        source.start_job("while [ ! -f /tmp/stop ]; do cat /tmp/piece; done | tee /tmp/copy | "
                         f"nc {address} {port}")

    def listen_for_digest(self, guest, port):
        guest.run("rm -f /tmp/digest")
        guest.start_job(f"nc -l -p {port} {SILENT} | sha256sum >/tmp/sum.in; mv /tmp/sum.in /tmp/digest")
        guest.run(f"while ! netstat -ltn | grep -q :{port}; do sleep 0.1; done")

    def judge_stream(self, source, target):
        source.run("touch /tmp/stop")
        sent = source.run("while [ ! -f /tmp/sent ]; do sleep 0.2; done; cat /tmp/sent")
        received = target.run("while [ ! -f /tmp/digest ]; do sleep 0.2; done; cat /tmp/digest")
        self.assertEqual(received, sent, f"{source.name} to {target.name}")

    def received_bytes(self, guest):
        return int(guest.run("cat /sys/class/net/eth0/statistics/rx_bytes"))

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
            for guest in (a, b):
                before = self.received_bytes(guest)
                guest.run(f"while [ $(cat /sys/class/net/eth0/statistics/rx_bytes) -lt "
                          f"$(({before} + 1000000)) ]; do sleep 0.2; done")
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


if __name__ == "__main__":
    lan_harness.main()
