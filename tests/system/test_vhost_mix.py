"""Every pair of plugs and every kind of card exchange files that arrive as they were sent."""

import lan_harness
from vhost_bed import VhostTest

ADDRESSES = {"a": "10.0.2.50", "b": "10.0.2.51", "c": "10.0.2.52"}
MACS = {"a": "52:54:00:00:0a:01", "b": "52:54:00:00:0b:02", "c": "52:54:00:00:0c:03"}
BLOB_MIB = 3
FLOW_PAIRS_COUNT = 3  # of one exchange: so many that both queue pairs are met
TSO_BITS = (0, 1, 7, 8, 11, 12)  # VIRTIO_NET_F_CSUM, GUEST_CSUM, GUEST_TSO4/6, HOST_TSO4/6


class Mix(VhostTest):
    def spawn_named(self, name, words):
        return self.spawn(name, ADDRESSES[name], words)

    def socket_words(self, name, netdev):
        return ["-netdev", f"{netdev},id=net0",
                "-device", f"virtio-net-pci,id=card0,netdev=net0,mac={MACS[name]}"]

    def exchange_named(self, pairs):
        self.exchange(*[[(guest, ADDRESSES[guest.name]) for guest in pair] for pair in pairs])

    def test_every_pair_of_plugs(self):
        directory, switch = self.start_lan()
        a = self.spawn_named("a", self.vhost_words(directory / "vhost-user", MACS["a"]))
        b = self.spawn_named("b", self.socket_words("b", f"vde,sock={directory}"))
        c = self.spawn_named("c", self.socket_words(
            "c", f"stream,server=off,addr.type=unix,addr.path={directory}/stream"))
        self.boot(a, b, c)
        agreed = a.run("cat /sys/bus/virtio/devices/virtio0/features")
        self.assertEqual({agreed[bit] for bit in TSO_BITS}, {"1"}, agreed)
        for guest in (a, b, c):
            self.make_blob_in(guest, BLOB_MIB)
        self.exchange_named([(a, b), (a, c), (b, c)])
        for guest in (a, b, c):
            self.assert_kernel_content(guest)
        self.judge_end(switch)

    def test_two_queue_pairs_and_unusual_rings(self):
        """Two pairs of split rings against two pairs of packed ones with every convenience off;
        they start again with the driver and after a reset."""
        directory, switch = self.start_lan()
        cards = {"a": ",mq=on",
                 "b": ",mq=on,packed=on,mrg_rxbuf=off,indirect_desc=off,event_idx=off"}
        a, b = (self.spawn_named(name, ["-smp", "2", *self.vhost_words(
            directory / "vhost-user", MACS[name], card, queue_pairs=2)])
            for name, card in cards.items())
        self.boot(a, b)
        for guest in (a, b):
            self.make_blob_in(guest, BLOB_MIB)
            self.assertEqual(guest.run("ls -d /sys/class/net/eth0/queues/rx-1"),
                             "/sys/class/net/eth0/queues/rx-1")
        for guest in (a, b):
            self.reload_driver(guest, ADDRESSES[guest.name])
            self.exchange_named([(a, b)])
        b.monitor.ask("system_reset")
        self.boot(b)
        self.make_blob_in(b, BLOB_MIB)
        self.exchange_named([(a, b)] * FLOW_PAIRS_COUNT)
        for queue in range(4):
            _, used = a.monitor.words_at(a.monitor.stopped_ring(queue)["used-phys"], 2, 16)
            self.assertGreater(used, 0, f"queue {queue} was never used")
        for guest in (a, b):
            self.assert_kernel_content(guest)
        self.judge_end(switch)


if __name__ == "__main__":
    lan_harness.main()
