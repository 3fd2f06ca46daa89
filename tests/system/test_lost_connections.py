"""Connections that were open, and that the host's kernel gives up: the guest gets a RST where libslirp
would end them with a FIN, as if all had been said, and the log, the events, the account and the capture say why."""

import causes_bed
import lan_harness
from causes_bed import BEYOND, OUTSIDE, lanyard
from hand_guest import ACK, PSH, RST, HandGuest, tcp_of
from lan_harness import NetNamespace, wait_for

FIN = 1
SERVER = """
import socket, struct, sys
server = socket.create_server((sys.argv[1], 80))
client = server.accept()[0]
print(client.recv(100).decode(), flush=True)
client.sendall(b"heard")
size = 0
while data := client.recv(10000):
    size += len(data)
    if data == b"reset":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sys.exit()
    print("more:", size, flush=True)
"""
# A link of 1280 bytes to 9.9.9.9, and no word of the router's to those whose packets are bigger.
HOLE = """
ip link set x1 netns {pid}
ip rule add iif lo to 10.1.0.2 blackhole
"""
BEHIND = f"""
ip addr add {BEYOND}/24 dev x1
ip link set x1 up
ip route add default via 9.9.9.1
"""


class LostConnection(causes_bed.CauseTest):
    def connect(self, server=None, place=OUTSIDE):
        """A connection of the guest's to `place` in the namespace `server`, "far" unless given, and both ends'
        next sequence numbers."""
        server = server or self.far
        self.start_gateway()
        self.server = self.start("server", [*server.prefix(), "python3", "-c", SERVER, place])
        port = "".join(f"{int(part):02X}" for part in reversed(place.split("."))) + ":0050"
        wait_for(lambda: port in server.run("cat /proc/net/tcp"), "the server")
        self.guest, self.place = HandGuest(self, self.directory), place
        seq, ack = self.guest.open_tcp(place, 80, 1000)
        self.say(seq, ack, b"hello")
        wait_for(lambda: "hello" in self.server.stdout(), "the server to hear the guest")
        heard = tcp_of(self.guest.receive(lambda frame: (tcp_of(frame) or [b""])[-1] == b"heard"))
        return seq + 5, heard[2] + 5

    def say(self, seq, ack, data):
        self.guest.send_tcp(self.place, 80, PSH | ACK, seq, ack, data, 1000)

    def give_up_early(self):
        self.host.run("echo 1 >/proc/sys/net/ipv4/tcp_retries2")

    def last_segment(self):
        """The one that ends the connection: a FIN or a RST."""
        return tcp_of(self.guest.receive(lambda frame: (tcp_of(frame) or [0, 0])[1] & (FIN | RST)))

    def check_told(self, cause, errno, words):
        event = self.event(cause)
        self.assertEqual((event["errno"], event["told"]), (errno, "Connection reset by peer"))
        self.assertIn(words, event["fact"])
        line = next(line.removeprefix("lanyard: ") for line in self.switch.stderr().splitlines() if event["fact"] in line)
        flow, = [flow for flow in lanyard.Control(self.directory).request("GET", "/flows")["flows"]
                 if flow["address"] == self.place]
        self.assertEqual((flow["live"], flow["reason"]), (False, cause))
        self.assertEqual(self.switch.stop(), 0)
        rows = lan_harness.read_lines("tshark", "-n", "-r", self.capture, "-T", "fields", "-e", "frame.comment",
                                      "-Y", "tcp.flags.reset == 1 and frame.comment")
        self.assertEqual(rows, [line])

    def test_nothing_is_acknowledged_any_more(self):
        self.connect_far()
        self.give_up_early()
        seq, ack = self.connect()
        self.far.run("ip rule add to 10.1.0.2 blackhole")  # its acknowledgements, and nothing is said
        self.say(seq, ack, b"anybody there?")
        _, flags, end, _, _ = self.last_segment()
        self.assertEqual((flags & (FIN | RST), end), (RST, ack))
        self.check_told("no-answer", "ETIMEDOUT", "was open, and nothing that left")

    def test_the_next_hop_dies(self):
        self.connect_far()
        self.give_up_early()
        seq, ack = self.connect()
        self.host.run("echo 1 >/proc/sys/net/ipv4/neigh/eth0/mcast_solicit;"
                      "echo 100 >/proc/sys/net/ipv4/neigh/eth0/retrans_time_ms; ip neigh flush dev eth0")
        self.far.run("ip link set eth0 arp off")
        self.say(seq, ack, b"anybody there?")
        _, flags, end, _, _ = self.last_segment()
        self.assertEqual((flags & (FIN | RST), end), (RST, ack))
        self.check_told("neighbour-dead", "EHOSTUNREACH", "does not answer ARP")

    def connect_beyond(self):
        """As connect(), through a router that drops what is too big and says nothing."""
        self.connect_far()
        behind = NetNamespace()
        self.addCleanup(behind.close)
        self.far.run(HOLE.format(pid=behind.pid))
        behind.run(BEHIND)
        return self.connect(behind, BEYOND)

    def test_big_packets_vanish(self):
        """Which looks like a far end that is gone. The line names the other possibility, and what helps then."""
        self.give_up_early()
        seq, ack = self.connect_beyond()
        self.say(seq, ack, b"x" * 1400)
        _, flags, end, _, _ = self.last_segment()
        self.assertEqual((flags & (FIN | RST), end), (RST, ack))
        self.assertNotIn("more", self.server.stdout())
        self.assertIn("net.ipv4.tcp_mtu_probing=1", self.event("no-answer")["cure"])
        self.check_told("no-answer", "ETIMEDOUT", "was open, and nothing that left")

    def test_big_packets_vanish_and_the_cure_helps(self):
        self.host.run("echo 1 >/proc/sys/net/ipv4/tcp_mtu_probing")
        seq, ack = self.connect_beyond()
        self.say(seq, ack, b"x" * 1400)
        wait_for(lambda: "more: 1400" in self.server.stdout(), "the bytes, in smaller packets", 60)

    def test_the_far_end_resets(self):
        """A RST as ever, and no reason: the far end has spoken."""
        self.connect_far()
        seq, ack = self.connect()
        self.say(seq, ack, b"reset")
        _, flags, end, _, _ = self.last_segment()
        self.assertEqual((flags & (FIN | RST), end), (RST, ack))
        self.assertEqual([event for event in self.events if event["event"] == "unreachable"], [])


if __name__ == "__main__":
    lan_harness.main()
