"""The face slirpvde: the gateway on a LAN that runs elsewhere."""

import re
import socket
import subprocess

import lan_harness
from lan_harness import wait_for, web_server
from name_server import NameServer
from plug_harness import SLIRPVDE, USAGE_STATUS, PlugTest, in_namespace_of


def call_when_let_in(port):
    """A connection to a forward, which refuses until it has found that the guest listens."""
    clients = []

    def let_in():
        try:
            clients.append(socket.create_connection(("127.0.0.1", port), 10))
        except (ConnectionRefusedError, ConnectionResetError):
            return False
        return True
    wait_for(let_in, f"port {port} to let clients in")
    return clients[0]


class SlirpVde(PlugTest):
    def start_slirpvde(self, directory, *options):
        return self.start_face("slirpvde", [SLIRPVDE, "-s", directory, *options],
                               lambda process: "gateway" in process.stderr())

    def lease(self, node):
        """Asks for a lease as a client does; its words, or nothing."""
        script = self.folder / "udhcpc.script"
        script.write_text("#!/bin/sh\n[ \"$1\" = bound ] || exit 0\n"
                          "ip address flush dev eth0\nip address add $ip/$mask dev eth0\n"
                          "ip route replace default via $router\n"
                          "echo LEASE $ip/$mask $router $dns\n")
        script.chmod(0o755)
        done = subprocess.run([*node.prefix(), "busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f",
                               "-t", "2", "-T", "1", "-s", script], text=True, timeout=30,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return re.findall(r"LEASE (.*)", done.stdout)

    def test_dhcp_dns_and_tcp_out_and_in(self):
        directory, _ = self.start_stock_switch()
        node, _ = self.plug_node(directory, 1)
        lan_harness.use_resolv_conf("nameserver 127.0.0.1\n")
        self.addCleanup(subprocess.run, ["umount", "/etc/resolv.conf"])
        NameServer({"host.example": ["192.0.2.80"]})
        slirpvde = self.start_slirpvde(directory, "-D", "-L", "4080:10.0.2.15:80", "-U",
                                       "4081:10.0.2.15:81")
        self.assertIn("leases from 10.0.2.15", slirpvde.stderr())
        self.assertEqual(self.lease(node), ["10.0.2.15/24 10.0.2.2 10.0.2.3"])
        self.assertIn("192.0.2.80", node.run("busybox nslookup host.example 10.0.2.3"))

        blob = self.folder / "blob"
        digest = lan_harness.make_blob(blob, 3 * 1024 * 1024)
        with web_server(self.folder) as port:
            got = node.run(f"busybox wget -q -O - http://10.0.2.2:{port}/blob | sha256sum")
        self.assertEqual(got.split()[0], digest)

        tcp = in_namespace_of(node.pid, lambda: socket.create_server(("10.0.2.15", 80)))
        udp = in_namespace_of(node.pid, lambda: self.bound_datagram(("10.0.2.15", 81)))
        with call_when_let_in(4080) as client:
            connection, _ = tcp.accept()
            client.sendall(b"in by tcp")
            self.assertEqual(connection.recv(100), b"in by tcp")
            connection.close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"in by udp", ("127.0.0.1", 4081))
            self.assertEqual(udp.recv(100), b"in by udp")
        tcp.close()
        udp.close()
        self.assertEqual(slirpvde.stop(), 0)

    @staticmethod
    def bound_datagram(address):
        taker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        taker.bind(address)
        taker.settimeout(10)
        return taker

    def test_no_dhcp_and_no_ipv6_unless_asked(self):
        directory, _ = self.start_lan()
        node, _ = self.plug_node(directory, 1)
        self.start_slirpvde(directory)
        self.assertEqual(self.lease(node), [])
        node.run("ip address add 10.0.2.77/24 dev eth0; ping -c 1 -W 5 10.0.2.2")

    def test_another_network_host_dns_and_start(self):
        directory, _ = self.start_lan()
        node, _ = self.plug_node(directory, 1)
        self.start_slirpvde(directory, "--host", "192.168.55.1/25", "-N192.0.2.53",
                            "--dhcp=192.168.55.44")
        self.assertEqual(self.lease(node), ["192.168.55.44/25 192.168.55.1 192.0.2.53"])
        node.run("ping -c 1 -W 5 192.168.55.1")

    def test_old_spellings_and_a_directory_at_the_end(self):
        directory, _ = self.start_lan()
        node, _ = self.plug_node(directory, 1)
        self.start_face("slirpvde", [SLIRPVDE, "-dhcp", "-network", "10.7.0.0/16", "-X",
                                     "10.7.0.15:1", directory],
                        lambda process: "display" in process.stderr())
        self.assertEqual(self.lease(node), ["10.7.0.15/16 10.7.0.2 10.7.0.3"])
        display = in_namespace_of(node.pid, lambda: socket.create_server(("10.7.0.15", 6001)))
        with call_when_let_in(6000):
            display.accept()[0].close()
        display.close()

    def test_what_is_refused(self):
        directory, _ = self.start_lan()

        def refused(status, words, *options):
            self.assert_ends([SLIRPVDE, "-s", directory, *options], status, words)
        refused(1, "no TFTP server", "-t", "/srv")
        refused(1, "to a UNIX socket", "-x", "6000:/tmp/.X11-unix/X0")
        refused(USAGE_STATUS, "same address", "-N", "10.0.2.2")
        refused(USAGE_STATUS, "would be leased", "-D", "-H", "10.0.2.20")
        refused(USAGE_STATUS, "not in the network", "--dhcp=10.9.9.9")
        refused(USAGE_STATUS, "do not fit", "--dhcp=10.0.2.250")
        refused(USAGE_STATUS, "/8 to /27", "-H", "10.0.2.2/30")
        refused(USAGE_STATUS, "no IPv4 address", "-H", "here")
        refused(USAGE_STATUS, "PORT:ADDRESS:PORT", "-L", "80:81")
        refused(USAGE_STATUS, "there is no option", "-Z")
        refused(USAGE_STATUS, "needs a value", "-H")
        with socket.create_server(("127.0.0.1", 4090)):
            refused(1, "Address already in use", "-L", "4090:10.0.2.15:80")
        self.assert_ends([SLIRPVDE, "/nowhere"], 1, "/nowhere")


if __name__ == "__main__":
    lan_harness.main()
