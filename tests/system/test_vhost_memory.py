"""Memory that comes and goes under a running vhost-user guest: more pieces than one message of the
protocol can name, frames in them, and one taken out again."""

import lan_harness
from lan_harness import wait_for
from vhost_bed import ANSWER_LIMIT_S, Bystanders, VhostTest

ADDRESS_A, ADDRESS_B = "10.0.2.50", "10.0.2.51"
MAC_A, MAC_B = "52:54:00:00:0a:01", "52:54:00:00:0b:02"
PIECE_MIB = 128     # Linux' smallest on x86
PIECES_COUNT = 9    # with what is there already, beyond VHOST_MEMORY_BASELINE_NREGIONS
PLUGGED_FROM = 1 << 32
BLOB_MIB = 4


class Memory(VhostTest):
    def plug(self, guest, name):
        guest.monitor.ask("object-add", **{"qom-type": "memory-backend-memfd", "id": f"{name}.mem",
                                           "size": PIECE_MIB << 20, "share": True})
        guest.monitor.ask("device_add", driver="pc-dimm", id=name, memdev=f"{name}.mem")

    def pieces(self, guest):
        return len(guest.monitor.ask("query-memory-devices"))

    def wait_for_memory(self, guest, piece_count):
        kib = int(guest.run("sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo"))
        floor = int(kib + piece_count * PIECE_MIB * 1024 * 0.9)
        return (f"while [ $(sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo) -lt {floor} ]"
                "; do sleep 0.2; done")

    def buffer_addresses(self, guest, queue):
        ring = guest.monitor.ring(queue)
        return guest.monitor.words_at(ring["desc-phys"], 2 * ring["num"], 64)[::2]

    def test_plugged_and_unplugged(self):
        directory, switch = self.start_lan()
        bystanders = Bystanders(directory)
        self.addCleanup(bystanders.close)
        path = directory / "vhost-user"
        a = self.spawn("a", ADDRESS_A, self.vhost_words(path, MAC_A),
                       memory_slots=PIECES_COUNT + 1)
        b = self.spawn("b", ADDRESS_B, self.vhost_words(path, MAC_B))
        self.boot(a, b)
        self.make_blob_in(b, BLOB_MIB)
        self.assertLess(max(self.buffer_addresses(a, 0)), PLUGGED_FROM)

        a.run("mount -t tmpfs -o size=100M tmpfs /tmp; mkfifo /tmp/silence")  # / is too small
        a.run("echo online >/sys/devices/system/memory/auto_online_blocks")
        grown = self.wait_for_memory(a, PIECES_COUNT)
        b.start_job(f"while [ ! -f /tmp/calm ]; do ping -i 0.01 -c 500 -W 1 {ADDRESS_A}; done")
        for at in range(PIECES_COUNT):
            self.plug(a, f"piece{at}")
        a.run(grown)
        bystanders.still_talk()
        self.make_blob_in(a, BLOB_MIB)
        self.exchange(((a, ADDRESS_A), (b, ADDRESS_B)))
        self.assertGreaterEqual(max(self.buffer_addresses(a, 0)), PLUGGED_FROM)

        a.run("echo online_movable >/sys/devices/system/memory/auto_online_blocks")
        grown = self.wait_for_memory(a, 1)
        self.plug(a, "passing")
        a.run(grown)
        a.monitor.ask("device_del", id="passing")
        wait_for(lambda: self.pieces(a) == PIECES_COUNT, "the guest to give memory back",
                 ANSWER_LIMIT_S)
        self.exchange(((a, ADDRESS_A), (b, ADDRESS_B)))
        b.run("touch /tmp/calm")
        for guest in (a, b):
            self.assert_kernel_content(guest)
        bystanders.judge()
        self.judge_end(switch)


if __name__ == "__main__":
    lan_harness.main()
