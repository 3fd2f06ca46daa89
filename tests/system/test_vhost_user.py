"""Guests over vhost-user: among themselves, with other plugs, the gateway, through restarts."""

import os
import pathlib
import signal
import time

import lan_harness
from lan_harness import Guest, LanTest, make_blob, tcpdump_lines, wait_for, web_server

ADDRESS_A, ADDRESS_B, ADDRESS_C = "10.0.2.50", "10.0.2.51", "10.0.2.52"
MAC_A, MAC_B, MAC_C = "52:54:00:00:0a:01", "52:54:00:00:0b:02", "52:54:00:00:0c:03"
MEMORY_MIB = 256
BLOB_BYTES = 20_000_000
IDLE_S = 2

# TCP both ways between two guests, in what the guests' own stacks make of it: super-frames.
SERVE = "iperf3 -s -1 --forceflush"


def load(peer, *options):
    return f"sleep 1; retry 10 iperf3 -c {peer} {' '.join(options)}"


class VhostUser(LanTest):
    def start_vhost_guest(self, name, commands, socket, mac, guest_options=(), card="",
                          reconnect=0):
        """A stock QEMU guest with shared memory on a vhost-user socket. Without interrupt vectors,
        since QEMU before 8 crashes on them under TCG."""
        memory = f"memory-backend-memfd,id=mem,share=on,size={MEMORY_MIB}M"
        again = f",reconnect={reconnect}" if reconnect else ""
        return self.start(name, [
            *self.guest_words(commands, *guest_options), "-object", memory,
            "-machine", "memory-backend=mem", "-chardev", f"socket,id=front,path={socket}{again}",
            "-netdev", "vhost-user,chardev=front,id=net0",
            "-device", f"virtio-net-pci,netdev=net0,vectors=0,mac={mac}{card}"], kind=Guest)

    def at(self, address, name):
        return ["--name", name, "--ip", f"{address}/24", "--gateway", "10.0.2.2"]

    def assert_all(self, console):
        for command in console.commands:
            self.assert_command(command)
        return console

    def cpu_ticks(self, process):
        """Of user and kernel time, proc(5)."""
        fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().split()
        return int(fields[13]) + int(fields[14])

    def judge_end(self, switch):
        self.assertTrue(switch.running(), switch.stderr())
        self.assertEqual(switch.stop(), 0, switch.stderr())
        self.assertNotIn("contradicts", switch.stderr())

    def test_two_guests_exchange_super_frames(self):
        """Ring kinds that differ, and a capture that holds what would be on a wire."""
        for card_a, card_b in (("", ",packed=on"),
                               (",mrg_rxbuf=off", ",event_idx=off,indirect_desc=off")):
            with self.subTest(a=card_a, b=card_b):
                capture = self.folder / "lan.pcap"
                directory, switch = self.start_lan("--capture", capture)
                a = self.start_vhost_guest("a", [SERVE], directory / "vhost-user", MAC_A,
                                           self.at(ADDRESS_A, "a"), card_a)
                b = self.start_vhost_guest(
                    "b", [f"retry 60 ping -c 1 -W 1 {ADDRESS_A}", load(ADDRESS_A, "-n 50M"),
                          "cat /sys/class/net/eth0/statistics/rx_errors"],
                    directory / "vhost-user", MAC_B, self.at(ADDRESS_B, "b"), card_b)
                console = self.assert_all(b.finish())
                self.assert_all(a.finish())
                self.assertEqual(console.commands[2].output.strip(), "0")
                self.judge_end(switch)
                self.assertEqual(tcpdump_lines(capture, "greater 1515"), [])
                wrong = [line for line in tcpdump_lines(capture, "-vv", "-c", "5000", "tcp")
                         if "incorrect" in line]
                self.assertEqual(wrong, [])
                capture.unlink()

    def test_beside_vde_and_stream(self):
        """Every pair of the three plugs, TCP both ways: offloads are finished where needed."""
        directory, switch = self.start_lan()
        serve = "iperf3 -s -1 & iperf3 -s -1 -p 5202; wait"
        a = self.start_vhost_guest("a", [serve], directory / "vhost-user", MAC_A,
                                   self.at(ADDRESS_A, "a"))
        b = self.start_stock_guest("b", [
            f"retry 60 ping -c 1 -W 1 {ADDRESS_A}", load(ADDRESS_A, "-n 20M"), "iperf3 -s -1"],
            f"vde,sock={directory}", MAC_B, self.at(ADDRESS_B, "b"))
        c = self.start_stock_guest("c", [
            f"retry 60 ping -c 1 -W 1 {ADDRESS_A}", load(ADDRESS_A, "-n 20M", "-R", "-p 5202"),
            f"retry 60 iperf3 -c {ADDRESS_B} -n 10M"],
            f"stream,server=off,addr.type=unix,addr.path={directory}/stream", MAC_C,
            self.at(ADDRESS_C, "c"))
        for guest in (a, b, c):
            self.assert_all(guest.finish())
        self.judge_end(switch)

    def test_through_the_gateway(self):
        """A download whose segments are joined for the guest, and an upload in super-frames."""
        shared = self.folder / "web"
        shared.mkdir()
        digest = make_blob(shared / "blob", BLOB_BYTES)
        directory, switch = self.start_lan("--nat")
        with web_server(shared) as port:
            sink = self.start("sink", ["sh", "-c", "iperf3 -s -1 -p 5300"])
            guest = self.start_vhost_guest("a", [
                f"wget -q -O - http://10.0.2.2:{port}/blob | sha256sum",
                "retry 10 iperf3 -c 10.0.2.2 -p 5300 -n 20M",
                "cat /sys/class/net/eth0/statistics/rx_packets"],
                directory / "vhost-user", MAC_A, ["--name", "a"])
            console = self.assert_all(guest.finish())
        sink.wait(10)
        self.assertIn(digest, console.commands[0].output)
        received = int(console.commands[2].output)
        self.assertLess(received, BLOB_BYTES / 1460, "segments were not joined")
        self.judge_end(switch)

    def test_jumbo_frames_and_tags(self):
        """One guest by the LAN's own socket, one by another."""
        other = self.folder / "other.sock"
        directory, switch = self.start_lan("--vhost-user", other)
        jumbo = "ip link set eth0 mtu 9000"
        vlan = ("modprobe 8021q; ip link add link eth0 name eth0.42 type vlan id 42 && "
                "ip link set eth0.42 up && ip address add 10.9.0.{}/24 dev eth0.42")
        a = self.start_vhost_guest("a", [jumbo, vlan.format(1), SERVE, SERVE],
                                   directory / "vhost-user", MAC_A, self.at(ADDRESS_A, "a"),
                                   ",host_mtu=9000")
        b = self.start_vhost_guest("b", [
            jumbo, vlan.format(2), f"retry 60 ping -c 1 -W 1 {ADDRESS_A}",
            f"ping -c 3 -i 0.2 -M do -s 8972 {ADDRESS_A}", "retry 30 ping -c 1 -W 1 10.9.0.1",
            load("10.9.0.1", "-n 20M"), load(ADDRESS_A, "-n 20M")],
            other, MAC_B, self.at(ADDRESS_B, "b"), ",host_mtu=9000")
        self.assert_all(b.finish())
        self.assert_all(a.finish())
        self.judge_end(switch)

    def test_driver_reload_and_stopped_neighbour(self):
        """The driver is unloaded and loaded again; a neighbour that stands still harms nobody."""
        directory, switch = self.start_lan("--nat")
        ping = "retry 60 ping -c 2 -i 0.2 -W 1 10.0.2.2"
        still = self.start_vhost_guest("still", ["sleep 60"], directory / "vhost-user", MAC_C,
                                       self.at(ADDRESS_C, "still"))
        wait_for(lambda: "@@ 1" in still.stdout(), "the neighbour to boot", limit_s=60)
        os.kill(still.pid, signal.SIGSTOP)
        self.addCleanup(os.kill, still.pid, signal.SIGCONT)
        a = self.start_vhost_guest("a", [
            ping, f"ping -c 20 -i 0.01 -W 1 -b 10.0.2.255 -s 1400 >/dev/null; true",
            "rmmod virtio_net && modprobe virtio_net && sleep 1 && ip link set eth0 up && "
            f"ip address add {ADDRESS_A}/24 dev eth0", ping],
            directory / "vhost-user", MAC_A, self.at(ADDRESS_A, "a"))
        self.assert_all(a.finish())
        self.judge_end(switch)

    def test_switch_restarts_under_a_guest(self):
        """QEMU reconnects by itself; the guest's rings go on, idle at no cost in between."""
        directory, switch = self.start_lan("--nat")
        a = self.start_vhost_guest("a", [
            "retry 60 ping -c 2 -i 0.2 -W 1 10.0.2.2",
            "sleep 8; retry 60 ping -c 2 -i 0.2 -W 1 10.0.2.2"],
            directory / "vhost-user", MAC_A, self.at(ADDRESS_A, "a"), reconnect=1)
        wait_for(lambda: "@@ 1 exit" in a.stdout(), "the first ping", limit_s=60)
        before = self.cpu_ticks(switch)
        time.sleep(IDLE_S)
        ticks = self.cpu_ticks(switch) - before
        self.assertLessEqual(ticks, 1, "the switch works while nothing moves")
        switch.child.kill()
        switch.child.wait()
        self.start_lan("--nat")
        self.assert_all(a.finish())


if __name__ == "__main__":
    lan_harness.main()
