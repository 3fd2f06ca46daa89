"""flake.nix evaluates, output by output, and its evaluation can fail.

tests/nix/evaluate does the work, against a stand-in for nixpkgs; see there. Here it is run on the
flake as it is, and on copies with one mistake each, which it has to name in one sentence.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(os.environ.get("LANYARD_SOURCE_DIR",
                                     pathlib.Path(__file__).resolve().parent.parent.parent))
BUILD = pathlib.Path(os.environ.get("LANYARD_BUILD_DIR", SOURCE / "build" / "release")).resolve()
EVALUATE = SOURCE / "tests" / "nix" / "evaluate"
LIMIT_S = 120

FLAKE = "flake.nix"
VLAN = "tests/nix/vlan.nix"
# What is wrong, in which file, what becomes what, and words the sentence must have.
MISTAKES = [
    ("a package nixpkgs has not", FLAKE, "pkgs.cli11", "pkgs.cli12",
     ["attribute 'cli12' missing", "flake.nix:"]),
    ("a tool nixpkgs has not", FLAKE, "pkgs.wireshark-cli", "pkgs.tshark",
     ["devShells", "tshark"]),
    ("a formatter nixpkgs has not", FLAKE, "pkgs.nixfmt-tree", "pkgs.nixfmt-forest",
     ["formatter", "nixfmt-forest"]),
    ("a function lib has not", FLAKE, "lib.throwIfNot", "lib.throwUnless", ["throwUnless"]),
    ("an unknown argument of mkDerivation", FLAKE, "cmakeFlags =", "cmakeFlag =", ["cmakeFlag"]),
    ("a source that is not there", FLAKE, "./netstack", "./netstacks", ["fileset", "netstacks"]),
    ("an input that is not a package", FLAKE, "pkgs.libmnl\n", "\"libmnl\"\n", ["buildInputs"]),
    ("an output nobody looks at", FLAKE, "devShells = forEach", "devShell = forEach",
     ["devShell"]),
    ("vde2 changed for everybody", FLAKE, "nixos-test-driver = prev.nixos-test-driver.override",
     "vde2 = vdeCompat prev; nixos-test-driver = prev.nixos-test-driver.override",
     ["overlays.default", "QEMU would be rebuilt"]),
    ("the driver left with vde2", FLAKE, "vde2 = final.lanyard-vde-compat;", "",
     ["checks", "another switch"]),
    ("an argument the driver has not", FLAKE, "vde2 = final", "vde = final", ["vde"]),
    ("an older nixpkgs taken silently", FLAKE, "lib.throwIfNot (prev ? nixos-test-driver)",
     "lib.throwIfNot true", ["overlays.default"]),
    ("a Mac's packages changed", FLAKE, "lib.optionalAttrs prev.stdenv.hostPlatform.isLinux",
     "lib.optionalAttrs true", ["overlays.default", "macOS"]),
    ("tests without the overlay", FLAKE, "pkgs.extend self.overlays.default",
     "pkgs.extend (_: _: { })",
     ["checks", "another switch"]),
    ("a face that does not take its place", FLAKE, "${toString faces}; do\n              test",
     "vde_switch; do\n              test", ["vde-compat", "bin/slirpvde"]),
    ("an option NixOS has not", VLAN, "useDHCP = false", "useDhcp = false",
     ["checks", "networking has no option 'useDhcp'"]),
    ("an option of another type", VLAN, "id = 42;", 'id = "42";', ["vlan42.id", "type"]),
    ("a test attribute there is not", VLAN, "globalTimeout =", "timeout =", ["timeout"]),
    ("a script that is not Python", VLAN, "while True:", "while True", ["checks", "Python"]),
    ("an expression that is not Nix", FLAKE, "outputs =", "outputs", ["syntax error"]),
    ("a version that is not there", "CMakeLists.txt", "project(lanyard VERSION", "project(lanyard",
     ["flake.nix:"]),
]


def evaluate(folder, **environment):
    return subprocess.run([sys.executable, "-B", EVALUATE, folder], capture_output=True, text=True,
                          timeout=LIMIT_S, stdin=subprocess.DEVNULL,
                          env={**os.environ, **environment})


class Flake(unittest.TestCase):
    def test_every_output_evaluates(self):
        done = evaluate(SOURCE)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        lines = done.stdout.splitlines()
        for system in ("x86_64-linux", "aarch64-linux"):
            for output in ("packages.{}.default", "packages.{}.vde-compat", "checks.{}.internet",
                           "checks.{}.gateway", "checks.{}.vlan", "devShells.{}.default",
                           "formatter.{}"):
                name = f"ok  {output.format(system)}: "
                self.assertEqual(sum(line.startswith(name) for line in lines), 1, name)
        self.assertRegex(done.stdout, r"ok  overlays\.default: ")
        self.assertEqual(lines[-1], f"evaluate: all {len(lines) - 1} outputs evaluate")

    def test_each_mistake_is_named_in_one_sentence(self):
        for what, path, before, after, words in MISTAKES:
            with self.subTest(what), tempfile.TemporaryDirectory() as folder:
                copy = pathlib.Path(folder)
                self.copy_flake(copy)
                text = (copy / path).read_text()
                self.assertIn(before, text, "the mistake cannot be made any more")
                (copy / path).write_text(text.replace(before, after))
                done = evaluate(copy)
                self.assertEqual(done.returncode, 1, done.stdout)
                self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
                for word in words:
                    self.assertIn(word, done.stderr)

    def test_without_nix_it_says_what_to_install(self):
        with tempfile.TemporaryDirectory() as empty:
            done = evaluate(SOURCE, PATH=empty)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr, "evaluate: there is no nix-instantiate. Install the Debian "
                                      "package nix-bin\n")

    def copy_flake(self, folder):
        """What flake.nix reads as files of its own, the rest as links."""
        for name in (FLAKE, "CMakeLists.txt", "LICENSE"):
            shutil.copy(SOURCE / name, folder)
        shutil.copytree(SOURCE / "tests" / "nix", folder / "tests" / "nix")
        for name in ("driver", "netstack", "tools", "vlan"):
            (folder / name).symlink_to(SOURCE / name)


class TestScript(unittest.TestCase):
    """The part of a test's script that talks to the host, with the real switch and no guests."""

    def test_vlan_script_switches_the_hub_off(self):
        script = self.script_of("vlan")
        with tempfile.TemporaryDirectory() as folder:
            switch = subprocess.Popen(
                [BUILD / "bin" / "vde_switch", "--sock", folder + "/vde1.ctl", "--dirmode", "0700",
                 "--hub"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                text=True, bufsize=1)
            try:
                asked = []
                known = self.stub_driver(switch, asked)
                path = os.environ["PATH"]
                os.environ["PATH"] = f"{BUILD / 'bin'}:{path}"
                try:
                    exec(compile(script, "vlan", "exec"), known)
                    self.assertIn("HUB=false", known["console"]("port/showinfo"))
                    with self.assertRaisesRegex(AssertionError, "was refused"):
                        known["console"]("nonsense")
                finally:
                    os.environ["PATH"] = path
                self.assertIn("ping -c 3 -M do -s 1472 10.42.0.2", asked)
            finally:
                switch.stdin.close()
                switch.wait(LIMIT_S)
                switch.stdout.close()

    def script_of(self, name):
        command = ["nix-instantiate", "--eval", "--strict", "--json", "--attr", "testScript",
                   SOURCE / "tests" / "nix" / f"{name}.nix"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=True,
                              env={**os.environ, "NIX_REMOTE": "dummy://"})
        return json.loads(done.stdout)

    def stub_driver(self, switch, asked):
        """The names a script finds, as far as this one uses them."""
        class Node:
            def wait_for_unit(self, unit):
                pass

            def succeed(self, command):
                asked.append(command)
                return ""

            def wait_until_succeeds(self, command, timeout=900):
                return self.succeed(command)

        class Vlan:
            process = switch

        class Subtest:
            def __init__(self, name):
                pass

            def __enter__(self):
                return None

            def __exit__(self, *_):
                return None

        return {"vlan1": Vlan(), "left": Node(), "right": Node(), "subtest": Subtest,
                "start_all": lambda: None}


if __name__ == "__main__":
    unittest.main()
