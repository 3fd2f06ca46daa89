"""What the tests of `lanyard doctor` stand on: shell lines that make a case, a run of doctor in fresh
network and mount namespaces (as root, or in a user namespace), so that nothing is sent beyond them and
nothing is left behind, and a nameserver for them: this file run as a program, with --respond.
"""

import functools
import json
import os
import socket
import subprocess
import sys
import tempfile
import unittest

BINARY = os.path.join(os.environ.get("LANYARD_BUILD_DIR", "build/debug"), "bin", "lanyard")
WAIT_S = 60  # for one case; a silent nameserver takes 2 s
RESPONDER_LIFE_S = 30

# Shell lines that cases are put together from.
LO_UP = "ip link set lo up"
PING_OPEN = 'echo "0 0" > /proc/sys/net/ipv4/ping_group_range'
VETH = """
ip link add eth0 type veth peer name far0
ip link set far0 up
"""
ETH_V4 = VETH + "ip addr add 10.1.0.2/24 dev eth0; ip link set eth0 up"
ETH_V6 = VETH + """
ip -6 addr add fd00::2/64 dev eth0 nodad
ip link set eth0 up
ip -6 route add default via fd00::1
"""
# A second namespace behind a veth pair: 10.1.0.1 there is the router, and far() runs commands in it.
FAR_SIDE = """
unshare -n sleep 30 & FAR=$!
trap 'kill $FAR' EXIT
until [ "$(readlink /proc/$FAR/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
far() { nsenter -t $FAR -n "$@"; }
ip link add eth0 type veth peer name far0
ip link set far0 netns $FAR
far ip link set lo up
far ip addr add 10.1.0.1/24 dev far0
far ip -6 addr add fd00::1/64 dev far0 nodad
far ip link set far0 up
ip addr add 10.1.0.2/24 dev eth0
ip -6 addr add fd00::2/64 dev eth0 nodad
ip link set eth0 up
ip route add default via 10.1.0.1
"""


def resolv_conf(text):
    """Puts an /etc in place that holds a resolv.conf (or none) and nothing else."""
    lines = "mount -t tmpfs none /etc\n"
    if text is not None:
        lines += f"printf '%s\\n' '{text}' > /etc/resolv.conf\n"
    return lines


def responder(kind, address):
    """A DNS server in the namespace, ready when the line is over."""
    return f"""
"{sys.executable}" -B "{os.path.abspath(__file__)}" --respond {kind} {address} > "$SCRATCH/ready" &
DNS=$!
trap 'kill $DNS' EXIT
until [ -s "$SCRATCH/ready" ]; do kill -0 $DNS; sleep 0.02; done
"""


def respond(kind, address):
    """Answers DNS queries in one way, or takes them in and says nothing."""
    server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 53))
    server.settimeout(RESPONDER_LIFE_S)
    count_file = os.path.join(os.environ["SCRATCH"], "count")
    asked = 0
    with open(count_file, "w", encoding="ascii") as file:
        file.write("0")
    print("ready", flush=True)
    while True:
        try:
            query, client = server.recvfrom(4096)
        except socket.timeout:
            return
        asked += 1
        with open(count_file, "w", encoding="ascii") as file:
            file.write(str(asked))
        if kind == "silent":
            continue
        if kind == "stray":  # an answer to somebody else's query, and the query itself sent back
            server.sendto(b"\x00\x01\x81\x80" + query[4:], client)
            server.sendto(query, client)
            continue
        flags = {"answer": b"\x81\x80", "count": b"\x81\x80", "servfail": b"\x81\x82"}[kind]
        server.sendto(query[:2] + flags + query[4:], client)


@functools.cache
def namespace_command():
    """`unshare` with what this user needs for namespaces of its own."""
    for flags in (["-n", "-m"], ["-r", "-n", "-m"]):
        command = ["unshare", *flags]
        if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
            return command
    raise RuntimeError("cannot make network namespaces: run as root, or allow user namespaces")


def run_doctor(setup, *arguments, stdout=subprocess.PIPE, after=":", wrapper="", **signs):
    """Runs doctor between two shell scripts in new namespaces; `signs` are environment variables."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NIX_")}
    environment.update({"LC_ALL": "C.UTF-8", **signs})
    with tempfile.TemporaryDirectory(prefix="lanyard-doctor-") as scratch:
        environment["SCRATCH"] = scratch
        script = f'set -eu\n{setup}\nset +e\n{wrapper} "$0" doctor "$@"\nSTATUS=$?\n{after}\nexit $STATUS\n'
        return subprocess.run([*namespace_command(), "sh", "-c", script, os.path.abspath(BINARY), *arguments],
                              env=environment, stdout=stdout, stderr=subprocess.PIPE, text=True,
                              timeout=WAIT_S, check=False)


class DoctorTest(unittest.TestCase):
    def judge(self, setup, *arguments, **signs):
        """The JSON verdict, checked for shape and agreement with the exit status."""
        done = run_doctor(setup, "--json", *arguments, **signs)
        self.assertEqual(done.stderr, "")
        verdict = json.loads(done.stdout)
        self.assertEqual(set(verdict), {"verdict", "reachable", "to", "guest_told", "fact", "cause", "cure",
                                        "errno", "checks"})
        marks = [check["mark"] for check in verdict["checks"]]
        worst = max(marks, key=["ok", "warning", "problem"].index)
        self.assertEqual(verdict["verdict"], worst)
        self.assertEqual(done.returncode, 1 if worst == "problem" else 0, done.stdout)
        self.assertEqual(verdict["reachable"], verdict["cause"] is None)
        for check in verdict["checks"]:
            self.assertEqual(set(check) - {"address"},
                             {"id", "mark", "ok", "needed", "fact", "cause", "cure", "errno"})
            self.assertNotEqual(check["fact"], "")
            self.assertEqual(check["ok"], check["mark"] == "ok")
            self.assertEqual(not check["ok"] and check["needed"], check["mark"] == "problem")
            if check["ok"]:
                self.assertEqual((check["cause"], check["cure"]), (None, None), check)
        return verdict

    def check_of(self, verdict, check_id):
        found = [check for check in verdict["checks"] if check["id"] == check_id]
        self.assertEqual(len(found), 1, verdict)
        return found[0]

    def expect(self, cause, setup, *arguments, **signs):
        verdict = self.judge(setup, *arguments, **signs)
        self.assertEqual(verdict["cause"], cause, verdict)
        return verdict


if __name__ == "__main__":
    if sys.argv[1:2] != ["--respond"]:
        sys.exit("cannot run as a test: test_doctor.py is one")
    respond(sys.argv[2], sys.argv[3])
