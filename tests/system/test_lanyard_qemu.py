#!/usr/bin/env python3
"""`lanyard-qemu` in the place of QEMU, and what `lanyard run` makes of a command's own networks."""

import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading

import lan_harness
from lan_harness import LanTest

WRAPPER = str(lan_harness.BUILD_DIR / "bin" / "lanyard-qemu")
NIXOS_MAC = "52:54:00:12:01:01"
HELP = "QEMU emulator version 7.2.0\n-netdev stream,\n-netdev vde,\n-netdev vhost-user,\n"
FAKE_STATUS = 37

# Says what it was given and who it is. With -help it speaks like QEMU.
FAKE_QEMU = f"""#!/bin/sh
if [ "$*" = -help ]; then printf '%s' '{HELP}'; exit 0; fi
echo "pid $$"
for word; do echo "word $word"; done
for fd in /proc/$$/fd/*; do echo "fd ${{fd##*/}} $(readlink "$fd")"; done
if [ "$FAKE_DIES" ]; then kill -TERM $$; fi
cat
exit {FAKE_STATUS}
"""


class FakeRun:
    """One run of lanyard-qemu over the fake QEMU."""

    def __init__(self, argv, env, stdin=b"typed\n"):
        child = subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, preexec_fn=lan_harness.die_with_parent)
        out, err = child.communicate(stdin, timeout=30)
        self.pid, self.status = child.pid, child.returncode
        self.errors = err.decode()
        self.lines = out.decode().splitlines()
        self.words = [line[5:] for line in self.lines if line.startswith("word ")]
        self.descriptors = dict(line[3:].split(" ", 1) for line in self.lines
                                if line.startswith("fd "))


class Wrapper(LanTest):
    def setUp(self):
        super().setUp()
        self.real = self.folder / "real"
        self.real.mkdir()
        self.fake = self.real / "qemu-system-x86_64"
        self.fake.write_text(FAKE_QEMU)
        self.fake.chmod(0o755)

    def run_wrapper(self, *words, name=WRAPPER, env=None):
        return FakeRun([name, *words], {**os.environ, "LANYARD_QEMU": str(self.fake),
                                        **(env or {})})

    def vde_words(self, directory):
        return ["-device", f"virtio-net-pci,netdev=vlan1,mac={NIXOS_MAC}",
                "-netdev", f"vde,id=vlan1,sock={directory}"]

    def assert_untouched(self, run, words):
        self.assertEqual(run.words, list(words))
        self.assertEqual(run.errors, "")
        self.assertEqual(run.status, FAKE_STATUS)

    def test_becomes_qemu(self):
        words = ["-m", "1G", "", "a b", "it's", "-netdev", "vde,id=n,sock=/absent", "-S"]
        run = self.run_wrapper(*words)
        self.assert_untouched(run, words)
        self.assertEqual(run.lines[0], f"pid {run.pid}")
        self.assertEqual(run.lines[-1], "typed")
        self.assertEqual(self.run_wrapper(env={"FAKE_DIES": "1"}).status, -signal.SIGTERM)

    def test_moves_to_the_stream_of_the_same_lan(self):
        directory, _ = self.start_lan()
        run = self.run_wrapper("-m", "64", *self.vde_words(directory),
                               env={"LANYARD_QEMU_TRANSPORT": "stream"})
        device, netdev = run.words[3], run.words[5]
        self.assertEqual(device, f"virtio-net-pci,netdev=vlan1,mac={NIXOS_MAC}")
        self.assertRegex(netdev, r"^stream,server=off,addr\.type=fd,addr\.str=\d+,id=vlan1$")
        number = netdev.split("addr.str=")[1].split(",")[0]
        self.assertTrue(run.descriptors[number].startswith("socket:"), run.descriptors)
        self.assertEqual((run.status, run.errors), (FAKE_STATUS, ""))

    def test_says_what_it_did_only_when_asked(self):
        directory, _ = self.start_lan()
        run = self.run_wrapper(*self.vde_words(directory), "-netdev", "vde,id=x,sock=/absent",
                               env={"LANYARD_QEMU_VERBOSE": "1"})
        self.assertIn("lanyard-qemu: -netdev vde,id=x: left as it is: /absent has no socket",
                      run.errors)
        self.assertIn("lanyard-qemu: starting:", run.errors)

    def test_leaves_what_it_cannot_reach(self):
        directory, switch = self.start_lan()
        words = self.vde_words(directory)
        self.assert_untouched(self.run_wrapper(*words, env={"LANYARD_QEMU_TRANSPORT": "vde"}),
                              words)
        self.assert_untouched(self.run_wrapper(*words, env={"LANYARD_QEMU_TRANSPORT": "tap"}),
                              words)
        self.assert_untouched(self.run_wrapper("-help", *words), ["-help", *words])
        self.fake.write_text(FAKE_QEMU.replace("-netdev stream,\\n", ""))
        switch.child.kill()  # its sockets stay behind, and nobody listens
        switch.wait(lan_harness.STOP_LIMIT_S)
        self.assertTrue((directory / "stream").is_socket())
        self.assert_untouched(self.run_wrapper(*words), words)

    def test_a_qemu_without_a_faster_transport_keeps_vde(self):
        directory, _ = self.start_lan()
        words = self.vde_words(directory)
        for text in ("QEMU emulator version 6.2.0\n-netdev vde,\n", "nonsense"):
            self.fake.write_text(FAKE_QEMU.replace(HELP, text))
            run = self.run_wrapper(*words)
            if text == "nonsense":  # then it is taken to be recent
                self.assertIn("stream,", run.words[3])
            else:
                self.assert_untouched(run, words)

    def test_finds_the_next_qemu_of_its_name(self):
        """By a symbolic link, and by two copies of the wrapper that must not call each other."""
        first, second = self.folder / "first", self.folder / "second"
        first.mkdir()
        second.mkdir()
        (first / "qemu-system-x86_64").symlink_to(WRAPPER)
        shutil.copy(WRAPPER, second / "qemu-system-x86_64")
        env = {"PATH": f"{first}:{second}:{self.real}:{os.environ['PATH']}", "LANYARD_QEMU": ""}
        for name in (first / "qemu-system-x86_64", second / "qemu-system-x86_64",
                     "qemu-system-x86_64"):
            run = FakeRun(["env", str(name), "-m", "1"], {**os.environ, **env})
            self.assert_untouched(run, ["-m", "1"])
        run = self.run_wrapper("-m", "1", env=env)  # by its own name: this machine's QEMU
        self.assert_untouched(run, ["-m", "1"])
        run = self.run_wrapper("-m", "1", env={**env, "LANYARD_QEMU": "qemu-system-x86_64"})
        self.assert_untouched(run, ["-m", "1"])

    def test_says_when_there_is_no_qemu(self):
        run = self.run_wrapper(env={"PATH": str(self.folder), "LANYARD_QEMU": ""})
        self.assertEqual(run.status, 127)
        self.assertEqual(run.errors, "lanyard-qemu: cannot start QEMU: no qemu-system-"
                         f"{os.uname().machine} but this one is in PATH; name QEMU's binary in "
                         "LANYARD_QEMU\n")
        run = self.run_wrapper(env={"LANYARD_QEMU": WRAPPER})
        self.assertEqual(run.status, 78)
        self.assertIn("is this program", run.errors)
        run = self.run_wrapper(env={"LANYARD_QEMU": "/absent/qemu"})
        self.assertEqual(run.status, 127)


class VhostUserPeer(threading.Thread):
    """Enough of a vhost-user back end for QEMU to hand over memory and queues; moves no packet."""

    GET_FEATURES, SET_MEM_TABLE, GET_VRING_BASE, SET_VRING_KICK = 1, 5, 11, 12
    GET_PROTOCOL_FEATURES = 15
    FEATURES = 1 << 32 | 1 << 30  # VERSION_1, and that there are protocol features
    REPLY, VERSION = 4, 1

    def __init__(self, path):
        super().__init__(daemon=True)
        self.requests = set()
        self.memory_sizes = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    while self.serve(connection):
                        pass

    def serve(self, connection):
        head, descriptors, _, _ = socket.recv_fds(connection, 12, 8)
        if len(head) < 12:
            return False
        request, _, size = struct.unpack("=III", head)
        body = connection.recv(size, socket.MSG_WAITALL) if size else b""
        self.requests.add(request)
        if request == self.SET_MEM_TABLE:
            count, = struct.unpack_from("=I", body)
            self.memory_sizes = [struct.unpack_from("=QQQQ", body, 8 + 32 * i)[1]
                                 for i in range(count)]
            assert len(descriptors) == count
        for fd in descriptors:
            os.close(fd)
        if request == self.GET_FEATURES:
            self.answer(connection, request, struct.pack("=Q", self.FEATURES))
        if request == self.GET_PROTOCOL_FEATURES:
            self.answer(connection, request, struct.pack("=Q", 0))
        if request == self.GET_VRING_BASE:
            self.answer(connection, request, struct.pack("=II", *struct.unpack("=II", body)))
        return True

    def answer(self, connection, request, body):
        head = struct.pack("=III", request, self.REPLY | self.VERSION, len(body))
        connection.sendall(head + body)

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class RealQemu(LanTest):
    def start_wrapped(self, words):
        self.assertEqual(words[0], "qemu-system-x86_64")
        return self.start("guest", [WRAPPER, *words[1:]], kind=lan_harness.Guest,
                          env={"LANYARD_QEMU": shutil.which(words[0]), "LANYARD_QEMU_VERBOSE": "1"})

    def test_guest_on_the_stream_of_its_vde_lan(self):
        directory, _ = self.start_lan("--nat")
        words = self.guest_words(["ping -c 1 10.0.2.2", "cat /sys/class/net/eth0/address"])
        guest = self.start_wrapped([*words, "-device",
                                    f"virtio-net-pci,netdev=vlan1,mac={NIXOS_MAC}",
                                    "-netdev", f"vde,id=vlan1,sock={directory}"])
        console = guest.finish()
        self.assert_command(console.commands[0])
        self.assertEqual(console.commands[1].output.strip(), NIXOS_MAC)
        self.assertRegex(guest.stderr(), r"(stream|vhost-user),.*id=vlan1")
        self.assertNotIn("-netdev vde", guest.stderr())

    def vhost_user_guest(self, *network):
        """A guest whose LAN offers vhost-user alone; returns (its stderr, what the peer saw)."""
        directory = self.folder / "fast"
        directory.mkdir()
        peer = VhostUserPeer(directory / "vhost-user")
        self.addCleanup(peer.close)
        words = self.guest_words(["cat /sys/class/net/eth0/address"], "--ip", "10.0.2.50/24")
        guest = self.start_wrapped([*words, *[word.format(directory) for word in network]])
        console = guest.finish()
        self.assertEqual(console.commands[0].output.strip(), NIXOS_MAC)
        self.assertIn(VhostUserPeer.SET_VRING_KICK, peer.requests)
        self.assertGreaterEqual(max(peer.memory_sizes), 256 << 20)
        return guest.stderr()

    def test_nixos_machine_on_vhost_user(self):
        said = self.vhost_user_guest(
            "-device", f"virtio-net-pci,netdev=vlan1,mac={NIXOS_MAC}",
            "-netdev", "vde,id=vlan1,sock={}", "-object",
            "memory-backend-memfd,id=mem,size=256M,share=on", "-machine", "memory-backend=mem")
        self.assertIn(f"netdev=vlan1,mac={NIXOS_MAC},vectors=0", said)
        self.assertIn("vhost-user,chardev=lanyard0,id=vlan1", said)
        self.assertEqual(said.count("memory-backend-memfd"), 1)

    def test_memory_is_made_shared_for_vhost_user(self):
        said = self.vhost_user_guest("-device", f"virtio-net,netdev=n,mac={NIXOS_MAC}",
                                     "-netdev", "vde,id=n,sock={}")
        self.assertIn("memory-backend-memfd,id=lanyard1,size=268435456,share=on", said)

    def test_onboard_card_on_vhost_user(self):
        said = self.vhost_user_guest("-nic", f"vde,sock={{}},model=virtio,mac={NIXOS_MAC}")
        self.assertIn(f"nic,netdev=lanyard0,model=virtio,macaddr={NIXOS_MAC},vectors=0", said)


class OwnNetworks(LanTest):
    """`lanyard run` with a command that has user networks of its own."""

    def show(self, *words, options=()):
        done = subprocess.run([lan_harness.LANYARD, "run", "--show", *options, "--",
                               "qemu-system-x86_64", *words], text=True, timeout=30,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return done

    def test_network_and_forward_move_to_the_gateway(self):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        options = f"user,id=n,net=192.168.77.0/24,dhcpstart=192.168.77.20,hostfwd=tcp::{port}-:22"
        guest = self.start_guest("guest", ["echo forwarded | nc -l -p 22"],
                                 qemu_options=["-netdev", options, "-device",
                                               f"virtio-net-pci,netdev=n,mac={NIXOS_MAC}"])
        heard = []

        def attempt():
            with contextlib.suppress(OSError):
                with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                    connection.shutdown(socket.SHUT_WR)
                    heard.append(connection.makefile("r").read())
            return bool(heard and heard[-1])

        lan_harness.wait_for(attempt, "the forwarded connection", lan_harness.GUEST_LIMIT_S)
        console = guest.finish()
        self.assertEqual(heard[-1].strip(), "forwarded")
        self.assertEqual(console.lease.address, "192.168.77.20")
        self.assertEqual(console.lease.gateway, "192.168.77.2")
        self.assertEqual(guest.stderr(), "")

    def test_old_forms_reach_the_gateway(self):
        for number, words in enumerate((["-nic", f"user,model=virtio,mac={NIXOS_MAC}"],
                                        ["-net", f"nic,model=virtio,macaddr={NIXOS_MAC}",
                                         "-net", "user"],
                                        ["-net", f"nic,model=virtio,macaddr={NIXOS_MAC}",
                                         "-net", "user", "-netdev",
                                         "hubport,id=spare,hubid=0"])):
            with self.subTest(words=words):
                capture = self.folder / f"{number}.pcap"
                guest = self.start_guest(f"guest{number}",
                                         ["ping -c 1 10.0.2.2", "ls /sys/class/net"],
                                         run_options=["--capture", capture], qemu_options=words)
                console = guest.finish()
                self.assert_command(console.commands[0])
                self.assertEqual(console.commands[1].output.split(), ["eth0", "lo"])
                self.assert_some(lan_harness.tcpdump_lines(capture, "-e"), NIXOS_MAC)

    def test_show_prints_and_starts_nothing(self):
        done = self.show("-m", "64", "-netdev", "user,id=n", "-device", "e1000,netdev=n",
                         "a b.img")
        self.assertRegex(done.stdout, r"^qemu-system-x86_64 \\\n  -m 64 \\\n"
                         r"  -netdev stream,server=off,addr\.type=fd,addr\.str=\d+,id=n \\\n"
                         r"  -device e1000,netdev=n \\\n  'a b\.img'\n$")
        self.assertEqual((done.stderr, done.returncode), ("", 0))
        directory, _ = self.start_lan()
        done = self.show(options=["--lan", directory, "--transport", "stream", "--mac", NIXOS_MAC])
        self.assertIn(f"addr.path={directory}/stream,id=lanyard0", done.stdout)
        done = self.show(options=["--lan", directory, "--transport", "vde", "--mac", NIXOS_MAC])
        self.assertIn(f"-netdev vde,sock={directory},id=lanyard0", done.stdout)

    def test_what_stays_is_said(self):
        done = self.show("-netdev", "user,id=n,tftp=/srv", "-device", "e1000,netdev=n")
        self.assertEqual(done.stderr, "lanyard: -netdev user,id=n: left as it is: tftp: the "
                         "gateway serves no files over TFTP\n")
        self.assertIn("-netdev user,id=n,tftp=/srv", done.stdout)
        self.assertIn("netdev=lanyard0", done.stdout)
        done = self.show("-netdev", "user,id=n,restrict=on,tftp=/srv", "-device", "e1000,netdev=n")
        self.assertNotIn("lanyard0", done.stdout)
        self.assertEqual(len(done.stderr.splitlines()), 2)
        done = self.show("-nic", "user", "-net", "nic", "-net", "user")
        self.assertIn("the LAN carries one user network", done.stderr)
        for words, options, why in (
                (["-nic", "user,net=10.9.0.0/24"], ["--net", "10.8.0.0/24"], "--net is given"),
                (["-nic", "user,hostfwd=tcp:localhost:1-:2"], [],
                 "cannot forward tcp:localhost:1-:2"),
                (["-nic", "user,host=10.0.2.16"], [], "would be leased"),
                (["-nic", "user,ipv6=on"], [], "ipv4=off")):
            done = self.show(*words, options=options)
            self.assertIn(why, done.stderr)
            self.assertIn(words[1], done.stdout)

    def test_a_transport_that_cannot_be_is_refused(self):
        done = self.show(options=["--transport", "vde"])
        self.assertEqual(done.returncode, 69)
        self.assertIn("vde: the LAN does not offer it", done.stderr)
        done = self.show(options=["--transport", "tap"])
        self.assertEqual(done.returncode, 64)
        done = self.show("-nic", "user", options=["--mac", NIXOS_MAC])
        self.assertEqual(done.returncode, 64)
        self.assertIn("cannot use --mac", done.stderr)


if __name__ == "__main__":
    lan_harness.main()
