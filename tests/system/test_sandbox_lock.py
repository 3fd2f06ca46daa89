"""The lock: what each program has given away when it works, and that what it needs works on.

Every other system test runs its programs locked, too, because that is what they do. Here it is
looked at from outside; tests/unit/sandbox_test.cc tries the walls from inside.
"""

import ctypes
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import unittest

import lan_harness
from lan_harness import BUILD_DIR, LANYARD, wait_for
from test_pcapng import ETHERTYPE_ARP, arp_request
from vde_harness import VDE_SWITCH, Plug, frame, mac

sys.path.insert(0, str(lan_harness.SOURCE_DIR / "tools" / "python"))
import lanyard  # noqa: E402

PLUG2TAP = str(BUILD_DIR / "bin" / "vde_plug2tap")
SLIRPVDE = str(BUILD_DIR / "bin" / "slirpvde")
EX_DATAERR = 65
LANDLOCK_CREATE_RULESET = 444
ENOSYS = 38
SCMP_ACT_ALLOW, SCMP_ACT_ERRNO = 0x7fff0000, 0x00050000


def status_of(pid):
    """/proc/PID/status of each thread."""
    return [dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines()
                 if ":\t" in line) for task in pathlib.Path(f"/proc/{pid}/task").iterdir()]


def no_landlock():
    """For preexec_fn: a kernel as it was before Landlock."""
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(SCMP_ACT_ALLOW))
    done = seccomp.seccomp_rule_add(context, ctypes.c_uint32(SCMP_ACT_ERRNO | ENOSYS),
                                    LANDLOCK_CREATE_RULESET, 0)
    if done != 0 or seccomp.seccomp_load(context) != 0:
        os._exit(99)


class LockTest(lan_harness.LanTest):
    @classmethod
    def setUpClass(cls):
        for program in (LANYARD, VDE_SWITCH, PLUG2TAP, SLIRPVDE, "setpriv"):
            if shutil.which(program) is None:
                raise AssertionError(f"{program} is missing: tools/check installs and builds it")

    def assert_locked(self, pid, capabilities=0):
        for task in status_of(pid):
            self.assertEqual(task["NoNewPrivs"], "1", task["Name"])
            self.assertEqual(task["Seccomp"], "2", task["Name"])
            for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd"):
                allowed = capabilities if kind in ("CapPrm", "CapEff") else 0
                if kind == "CapBnd" and os.geteuid() != 0:
                    continue
                self.assertEqual(int(task[kind], 16) & ~allowed, 0, (task["Name"], kind))

    def assert_open(self, pid):
        for task in status_of(pid):
            self.assertEqual((task["NoNewPrivs"], task["Seccomp"]), ("0", "0"), task["Name"])

    def told(self, directory):
        """What the LAN tells of its own lock, compared with what the kernel says of it."""
        sandbox = lanyard.Control(directory).about()["sandbox"]
        text = subprocess.run([LANYARD, "ctl", directory], text=True, capture_output=True, check=True,
                              timeout=20).stdout
        self.assertIn(f"The switch is {sandbox['explanation']}\n", text)
        for gap in sandbox["gaps"]:
            self.assertIn(gap, text)
        return sandbox

    def plug(self, directory):
        plug = Plug(directory)
        self.addCleanup(plug.close)
        return plug

    def talk(self, directory):
        """Two plugs come after the lock, and hear each other."""
        one, two = self.plug(directory), self.plug(directory)
        one.send(frame(mac(1)))
        self.assertEqual(two.receive(), frame(mac(1)))
        one.close()  # its name stands in the directory until then
        two.close()

    def end(self, process, directory):
        self.assertEqual(process.stop(), 0, process.stderr())
        self.assertFalse(os.path.exists(directory))

    def locked(self, process):
        wait_for(lambda: status_of(process.pid)[0]["Seccomp"] != "0" or not process.running(),
                 f"the lock of {process.name}")


class Switch(LockTest):
    def test_a_switch_is_locked_and_works(self):
        directory, switch = self.start_lan()
        self.locked(switch)
        self.assert_locked(switch.pid)
        self.talk(directory)
        told = self.told(directory)
        self.assertEqual((told["locked"], told["why_off"]), (True, None))
        self.assertEqual((told["no_new_privileges"], told["seccomp"]), (True, True))
        self.assertEqual(told["landlock_abi"] is None, told["gaps"] != [])
        self.assertEqual(told["writable"], [str(directory)])
        self.end(switch, directory)
        self.assertEqual(switch.stderr(), "".join(f"lanyard: {gap}\n" for gap in told["gaps"])
                         + f"lanyard: LAN {directory} is ready\n")

    def test_a_gateway_with_a_capture_is_locked_in_every_thread(self):
        capture = self.folder / "x.pcapng"
        directory, switch = self.start_lan("--nat", "--capture", capture)
        self.locked(switch)
        wait_for(lambda: len(status_of(switch.pid)) == 2, "the capture's thread")
        self.assert_locked(switch.pid)
        self.talk(directory)
        plug = self.plug(directory)
        plug.send(arp_request())
        while plug.receive()[12:14] != ETHERTYPE_ARP.to_bytes(2, "big"):
            pass
        plug.close()
        self.end(switch, directory)
        self.assertIn(arp_request()[14:], capture.read_bytes())

    def test_it_can_be_left_out(self):
        for options, env, why in ((["--no-sandbox"], {}, "--no-sandbox was given"),
                                  ([], {"LANYARD_SANDBOX": "off"}, "LANYARD_SANDBOX=off is set")):
            directory = self.folder / "open"
            switch = self.start("open", [LANYARD, "switch", directory, *options], env=env)
            wait_for(lambda: (directory / "ctl").exists(), "the LAN")
            wait_for(lambda: "is ready" in switch.stderr(), "the end of its start")
            self.assert_open(switch.pid)
            told = self.told(directory)
            self.assertEqual((told["locked"], told["explanation"]), (False, f"not locked in: {why}"))
            self.end(switch, directory)

    def test_another_word_than_off_is_refused(self):
        switch = self.start("misspelt", [LANYARD, "switch", self.folder / "open"], env={"LANYARD_SANDBOX": "of"})
        self.assertEqual(switch.wait(20), 64)
        self.assertIn("cannot understand LANYARD_SANDBOX=of: it is neither on nor off", switch.stderr())

    def test_another_word_is_refused_before_anything_is_touched(self):
        capture, pid_file, started = (self.folder / name for name in ("kept.pcap", "pid", "started"))
        capture.write_text("of before")
        for name, command in {
                "run": [LANYARD, "run", "--capture", capture, "--", "sh", "-c", f"touch {started}"],
                "switch": [LANYARD, "switch", self.folder / "open", "--capture", capture],
                "vde_switch": [VDE_SWITCH, "-s", self.folder / "open", "-p", pid_file, "-d"],
                "slirpvde": [SLIRPVDE, "-s", self.folder / "open", "-p", pid_file, "-d"]}.items():
            refused = self.start(name, command, env={"LANYARD_SANDBOX": "of"})
            self.assertNotEqual(refused.wait(20), 0, name)
            self.assertIn("cannot understand LANYARD_SANDBOX=of", refused.stderr(), name)
        self.assertEqual(capture.read_text(), "of before")
        for path in pid_file, started, self.folder / "open":
            self.assertFalse(path.exists(), path)

    def test_as_nobody(self):
        lan_harness.need_two_users(self)
        self.folder.chmod(0o711)
        mine = self.folder / "nobody"
        mine.mkdir()
        os.chown(mine, lan_harness.NOBODY_ID, lan_harness.NOBODY_ID)
        directory = mine / "lan"
        switch = self.start("nobody", [*lan_harness.NOBODY, LANYARD, "switch", directory, "--nat",
                                       "--capture", mine / "x.pcap"])
        wait_for(lambda: (directory / "ctl").exists() or not switch.running(), "the LAN")
        self.locked(switch)
        for task in status_of(switch.pid):
            self.assertEqual((task["NoNewPrivs"], task["Seccomp"], int(task["CapEff"], 16)),
                             ("1", "2", 0))
        one = Plug(directory, own_directory=str(self.folder))
        self.addCleanup(one.close)
        os.chmod(one.path, 0o777)
        self.end(switch, directory)

    def test_root_takes_away_what_it_made_in_a_directory_of_another_user(self):
        lan_harness.need_two_users(self)
        theirs = self.folder / "theirs"
        theirs.mkdir()
        directory, _ = self.start_lan()
        guest = self.folder / "guest"
        guest.write_text("#!/bin/sh\nexec sleep 60\n")
        guest.chmod(0o755)
        kills, overrides = 1 << 5, 1 << 1  # CAP_KILL, CAP_DAC_OVERRIDE
        for mode in 0o755, 0o700:
            theirs.chmod(mode)
            os.chown(theirs, lan_harness.NOBODY_ID, lan_harness.NOBODY_ID)
            for name, words, made, kept in (
                    ("vde_switch", [VDE_SWITCH, "-s", theirs / "rv", "-m", "0600", "--nostdin", "-p", theirs / "p",
                                    "-M", theirs / "m"], {"rv", "p", "m"}, overrides),
                    ("switch", [LANYARD, "switch", theirs / "lan", "--vhost-user", theirs / "vu"], {"lan", "vu"},
                     overrides),
                    ("elsewhere", [LANYARD, "switch", self.folder / "mine", "--vhost-user", theirs / "vu"],
                     {"vu"}, overrides),
                    ("slirpvde", [SLIRPVDE, "-s", directory, "-p", theirs / "p"], {"p"}, overrides),
                    ("run", [LANYARD, "run", "--control", theirs / "rc", "--hostfwd", f"unix:{theirs}/ux-:22",
                             "--", guest], {"rc", "ux"}, overrides | kills)):
                with self.subTest(name, mode=oct(mode)):
                    process = self.start(name, words)
                    self.locked(process)
                    self.assertEqual(set(os.listdir(theirs)), made, process.stderr())
                    self.assert_locked(process.pid, capabilities=kept)
                    process.stop()
                    self.assertEqual(os.listdir(theirs), [], process.stderr())

    def test_captures_go_where_the_plan_says(self):
        allowed = self.folder / "captures"
        allowed.mkdir()
        directory, switch = self.start_lan("--capture-dir", allowed)
        elsewhere = subprocess.run([LANYARD, "ctl", directory, "capture", "start",
                                    self.folder / "no.pcap"], capture_output=True, text=True,
                                   timeout=20)
        self.assertEqual(elsewhere.returncode, EX_DATAERR)
        self.assertIn("the switch has locked itself out of that directory; capture to a file in "
                      f"{directory}, {allowed}, or start the switch with --capture-dir", elsewhere.stderr)
        self.assertEqual(elsewhere.stderr.count("\n"), 1)
        for place in (allowed / "yes.pcap", directory / "yes.pcap"):
            subprocess.run([LANYARD, "ctl", directory, "capture", "start", place], check=True,
                           timeout=20)
            wait_for(place.exists, place)
            self.assert_locked(switch.pid)  # the new thread, too
            subprocess.run([LANYARD, "ctl", directory, "capture", "stop"], check=True, timeout=20,
                           stdout=subprocess.DEVNULL)
        os.unlink(directory / "yes.pcap")
        self.end(switch, directory)

    def test_a_kernel_without_landlock_is_told(self):
        directory = self.folder / "lan"
        with open(self.folder / "err", "w") as err:
            switch = subprocess.Popen([LANYARD, "switch", directory], stderr=err,
                                      preexec_fn=no_landlock)
        self.addCleanup(switch.kill)
        wait_for(lambda: "is ready" in (self.folder / "err").read_text(), "the LAN")
        self.assert_locked(switch.pid)
        self.talk(directory)
        told = self.told(directory)
        self.assertEqual(told["explanation"], "locked in, with gaps: no new privileges, seccomp, no Landlock")
        self.assertIn("this kernel has no Landlock (Function not implemented)", told["gaps"][0])
        elsewhere = self.folder / "now-possible.pcap"
        subprocess.run([LANYARD, "ctl", directory, "capture", "start", elsewhere], check=True,
                       timeout=20)
        switch.terminate()
        self.assertEqual(switch.wait(20), 0)
        self.assertTrue(elsewhere.exists())
        said = (self.folder / "err").read_text().splitlines()
        self.assertTrue(said[0].startswith(
            "lanyard: the sandbox is incomplete: this kernel has no Landlock"), said)

    def test_the_next_switch_takes_over_from_one_that_a_forbidden_call_ended(self):
        directory, switch = self.start_lan()
        switch.child.send_signal(signal.SIGSYS)
        self.assertEqual(switch.wait(20), -signal.SIGSYS)
        switch = self.start("next", [LANYARD, "switch", directory])
        wait_for(lambda: "is ready" in switch.stderr(), "the next switch")
        self.talk(directory)
        self.assertEqual(switch.stop(), 0)


class Run(LockTest):
    def test_run_is_locked_and_its_guest_is_not(self):
        script = self.folder / "guest"
        script.write_text(f"#!/bin/sh\ncat /proc/self/status >{self.folder}/guest.status\n"
                          f"echo $$ >{self.folder}/pid && mv {self.folder}/pid {self.folder}/guest.pid\nwhile :; do sleep 0.05; done\n")
        script.chmod(0o755)
        run = self.start("run", [LANYARD, "run", "--capture", self.folder / "x.pcap", "--", script])
        wait_for(lambda: (self.folder / "guest.pid").exists() or not run.running(), "the guest")
        self.locked(run)
        self.assert_locked(run.pid, capabilities=1 << 5)  # CAP_KILL
        guest = (self.folder / "guest.status").read_text()
        self.assertIn("NoNewPrivs:\t0", guest)
        self.assertIn("Seccomp:\t0", guest)
        pid = int((self.folder / "guest.pid").read_text())
        self.assertEqual(run.stop(), 128 + 15)
        self.assertFalse(os.path.exists(f"/proc/{pid}"))
        self.assert_nothing_left()


class Plugs(LockTest):
    """Programs that join an interface of this machine to a LAN: locked, frames pass both ways, and the end comes
    as before."""

    def veth(self):
        subprocess.run("ip link add near type veth peer name far && ip link set near up arp off && "
                       "ip link set far up", shell=True, check=True)
        self.addCleanup(subprocess.run, ["ip", "link", "del", "near"])

    def pass_frames(self, directory, interface):
        """From the LAN to the interface and back."""
        plug = self.plug(directory)
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88b5)) as wire:
            wire.bind((interface, 0x88b5))
            wire.settimeout(10)
            ethertype = b"\x88\xb5"
            outgoing = b"\xff" * 6 + mac(1) + ethertype + bytes(46)
            plug.send(outgoing)
            self.assertEqual(wire.recv(2000)[:14], outgoing[:14])
            back = b"\xff" * 6 + mac(2) + ethertype + bytes(46)
            wire.send(back)
            while plug.receive()[6:12] != mac(2):
                pass

    def start_plug(self, name, argv, env=None):
        plug = self.start(name, argv, env=env)
        wait_for(lambda: "is plugged into" in plug.stderr() or not plug.running(), "the plug")
        return plug

    def test_a_plug_of_a_veth(self):
        self.veth()
        directory, _ = self.start_lan()
        plug = self.start_plug("plug", [LANYARD, "plug", "--packet", "near", directory])
        self.locked(plug)
        self.assert_locked(plug.pid)
        self.pass_frames(directory, "far")
        self.assertEqual(plug.stop(), 0, plug.stderr())
        for options, env in (["--no-sandbox"], {}), ([], {"LANYARD_SANDBOX": "off"}):
            plug = self.start_plug("open", [LANYARD, "plug", *options, "--packet", "near", directory], env)
            self.pass_frames(directory, "far")
            self.assert_open(plug.pid)
            self.assertEqual(plug.stop(), 0)
        plug = self.start_plug("again", [LANYARD, "plug", "--packet", "near", directory])
        self.locked(plug)
        subprocess.run(["ip", "link", "set", "near", "down"], check=True)
        self.assertEqual(plug.wait(20), 69, plug.stderr())
        self.assertIn("the interface went down", plug.stderr())

    def test_a_plug_of_a_tap(self):
        lan_harness.need_tun(self)
        directory, _ = self.start_lan()
        plug = self.start_plug("plug", [LANYARD, "plug", "--tap", "tap3", directory])
        self.locked(plug)
        self.assert_locked(plug.pid)
        subprocess.run(["ip", "link", "set", "tap3", "up"], check=True)
        self.pass_frames(directory, "tap3")
        self.assertEqual(plug.stop(), 0, plug.stderr())

    def test_vde_plug2tap(self):
        directory, _ = self.start_lan()
        face = self.start("face", [PLUG2TAP, "-s", directory, "-P", self.folder / "pid", "tap3"])
        self.locked(face)
        self.assert_locked(face.pid)
        subprocess.run(["ip", "link", "set", "tap3", "up"], check=True)
        self.pass_frames(directory, "tap3")
        self.assertEqual(face.stop(), 0, face.stderr())
        self.assertFalse((self.folder / "pid").exists())

    def test_the_veth_pair_of_a_locked_process_goes_with_it_even_when_it_is_killed(self):
        directory, _ = self.start_lan()
        subprocess.run(["mount", "--bind", "/dev/null", "/dev/net/tun"], check=True)
        self.addCleanup(subprocess.run, ["umount", "/dev/net/tun"])
        for end in signal.SIGTERM, signal.SIGKILL:
            face = self.start(f"face-{end}", [PLUG2TAP, "-s", directory, "pair3"])
            self.locked(face)
            self.assert_locked(face.pid)
            children = pathlib.Path(f"/proc/{face.pid}/task/{face.pid}/children").read_text().split()
            self.assertEqual(len(children), 1)
            wait_for(lambda: status_of(children[0])[0]["Seccomp"] == "2", "the lock of its child")
            self.assert_locked(children[0], capabilities=1 << 12)  # CAP_NET_ADMIN
            self.assertEqual(os.listdir(f"/proc/{children[0]}/fd"), ["0"])
            subprocess.run(["ip", "link", "set", "pair3", "up"], check=True)
            self.pass_frames(directory, "pair3")
            face.child.send_signal(end)
            face.wait(20)
            wait_for(lambda: not os.path.exists("/sys/class/net/pair3") and not os.path.exists(
                f"/proc/{children[0]}/fd/0"), "the end of the pair and its child")


class Faces(LockTest):
    def test_vde_switch(self):
        directory = self.folder / "vde"
        script = self.folder / "script"
        script.write_text("port/create 5\n")
        switch = subprocess.Popen(
            [VDE_SWITCH, "-s", directory, "-M", self.folder / "mgmt", "-p", self.folder / "pid"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(switch.kill)
        wait_for(lambda: (directory / "ctl").exists(), "ctl")
        wait_for(lambda: status_of(switch.pid)[0]["Seccomp"] != "0", "the lock")
        self.assert_locked(switch.pid)
        self.talk(directory)
        out, err = switch.communicate(f"load {script}\nport/setuser 5 root\nport/allprint\n", timeout=20)
        self.assertEqual(err, "vde_switch: EOF on stdin, cleaning up and exiting\n".replace(
            "vde_switch", VDE_SWITCH))
        self.assertEqual(switch.returncode, 0)
        self.assertIn("Port 0005", out)
        self.assertNotIn("1013", out)
        for left in ("vde", "mgmt", "pid"):
            self.assertFalse((self.folder / left).exists(), left)

    def test_vde_switch_that_serves_others_keeps_what_that_takes(self):
        directory = self.folder / "vde"
        switch = self.start("vde", [VDE_SWITCH, "--nostdin", "-s", directory, "-m", "0666",
                                    "--dirmode", "0777"])
        wait_for(lambda: (directory / "ctl").exists(), "ctl")
        self.locked(switch)
        self.assert_locked(switch.pid, capabilities=1 << 0 | 1 << 1 | 1 << 3)
        if os.geteuid() == 0:
            self.assertNotEqual(int(status_of(switch.pid)[0]["CapEff"], 16), 0)
        self.talk(directory)
        self.end(switch, directory)

    def test_the_environment_frees_a_face(self):
        directory = self.folder / "vde"
        switch = self.start("vde", [VDE_SWITCH, "--nostdin", "-s", directory],
                            env={"LANYARD_SANDBOX": "off"})
        wait_for(lambda: (directory / "ctl").exists(), "ctl")
        self.assert_open(switch.pid)
        self.end(switch, directory)

    def test_slirpvde(self):
        directory, switch = self.start_lan()
        gateway = self.start("slirpvde", [SLIRPVDE, "-s", directory, "-D", "-p",
                                          self.folder / "pid"])
        self.locked(gateway)
        self.assert_locked(gateway.pid)
        plug = self.plug(directory)
        plug.send(arp_request())
        while plug.receive()[12:14] != ETHERTYPE_ARP.to_bytes(2, "big"):
            pass
        self.assertEqual(gateway.stop(), 0)
        self.assertFalse((self.folder / "pid").exists())


if __name__ == "__main__":
    lan_harness.main()
