"""Everything the control socket can do has its word in `lanyard ctl` and its method in lanyard.py.

A relay stands between them and a running LAN and writes down what they ask for; that is compared
with the LAN's own OpenAPI description: operations, their query parameters, and the members of their
bodies. Nothing in the description may be missing in the table below, and nothing else may be in it.
"""

import json
import re
import socket
import subprocess
import sys
import threading
import unittest
import urllib.parse

import lan_harness
import vde_harness

sys.path.insert(0, str(lan_harness.SOURCE_DIR / "tools" / "python"))
import lanyard  # noqa: E402

# In this order, each on the LAN as the steps before have left it. FOLDER is a directory to write to.
STEPS = [
    ("GET /", [], lambda lan, folder: lan.about()),
    ("GET /openapi.json", ["get", "/openapi.json"], lambda lan, folder: lan.api()),
    ("GET /ports", ["ports"], lambda lan, folder: lan.ports()),
    ("GET /ports/{number}", ["ports", "1"], lambda lan, folder: lan.port(1)),
    ("PUT /ports/{number}/link", ["link", "2", "down"], lambda lan, folder: lan.set_link(2, up=False)),
    ("GET /fdb", ["fdb"], lambda lan, folder: lan.stations()),
    ("DELETE /fdb", ["fdb", "forget"], lambda lan, folder: lan.forget_stations()),
    ("GET /metrics", ["metrics"], lambda lan, folder: lan.metrics()),
    ("GET /events", ["events", "--from-oldest", "--kind", "port,plug-came"],
     lambda lan, folder: next(lan.events(from_oldest=True, kinds=["port", "plug-came"]))),
    ("GET /leases", ["leases"], lambda lan, folder: lan.leases()),
    ("GET /guests", ["guests"], lambda lan, folder: lan.guests()),
    ("GET /loops", ["loops"], lambda lan, folder: lan.loops()),
    ("GET /reasons", ["reasons"], lambda lan, folder: lan.reasons()),
    ("GET /flows", ["flows", "--guest", "10.0.2.15", "--limit", "3"],
     lambda lan, folder: lan.flows(guest="10.0.2.15", limit=3)),
    ("GET /egress", ["egress"], lambda lan, folder: lan.egress()),
    ("GET /policy", ["policy"], lambda lan, folder: lan.policy()),
    ("PUT /policy", ["policy", "replace", "--deny", "udp:any", "--deny", "192.0.2.0/24", "--otherwise", "deny"],
     lambda lan, folder: lan.replace_policy([("deny", "udp:any"), ("deny", "192.0.2.0/24")], "deny")),
    ("POST /policy/rules", ["policy", "allow", "--before", "2", "tcp:example.org:443"],
     lambda lan, folder: lan.add_rule("allow", "tcp:example.org:443", before=2)),
    ("DELETE /policy/rules/{id}", ["policy", "remove", "1"], lambda lan, folder: lan.remove_rule(1)),
    ("POST /forwards", ["forward", "add", "tcp::0-:22"], lambda lan, folder: lan.add_forward("tcp::0-:22")),
    ("GET /forwards", ["forward", "list"], lambda lan, folder: lan.forwards()),
    ("GET /forwards/{number}", ["forward", "list", "1"], lambda lan, folder: lan.forward(1)),
    ("DELETE /forwards/{number}", ["forward", "remove", "1"], lambda lan, folder: lan.remove_forward(1)),
    ("POST /captures", ["capture", "start", "FOLDER/one.pcap", "--filter", "tcp port 80", "--snaplen", "96"],
     lambda lan, folder: lan.start_capture(f"{folder}/one.pcap", "tcp port 80", 96)),
    ("GET /captures", ["capture", "list"], lambda lan, folder: lan.captures()),
    ("DELETE /captures/{id}", ["capture", "stop", "1"], lambda lan, folder: lan.stop_capture(1)),
    ("DELETE /captures", ["capture", "stop"], lambda lan, folder: lan.stop_capture()),
]


class Relay:
    """Passes requests on to the LAN and keeps them in `seen`: (method, path, query, body). One request for each
    connection. Of a stream of events it passes the first on, then ends it."""

    def __init__(self, folder, lan):
        folder.mkdir()
        self.directory = str(folder)
        self.seen = []
        self._lan = lan
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(f"{folder}/control")
        self._socket.listen(16)
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self):
        self._socket.close()

    def _serve(self):
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            with client:
                client.settimeout(20)
                self._pass_on(client)

    def _read_request(self, client):
        request = b""
        while b"\r\n\r\n" not in request:
            request += client.recv(65536)
        head, _, body = request.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        while length and len(body) < int(length[1]):
            body += client.recv(65536)
        return head, body

    def _pass_on(self, client):
        head, body = self._read_request(client)
        method, target = head.decode().split(" ")[:2]
        url = urllib.parse.urlsplit(target)
        self.seen.append((method, url.path, dict(urllib.parse.parse_qsl(url.query)),
                          json.loads(body) if body else {}))
        with socket.socket(socket.AF_UNIX) as switch:
            switch.settimeout(20)
            switch.connect(f"{self._lan.directory}/control")
            # The answer's end is then the end of the connection.
            switch.sendall(re.sub(rb" HTTP/1.1\r\n", b" HTTP/1.0\r\n", head, count=1) + b"\r\n\r\n" + body)
            answer = b""
            while part := switch.recv(65536):
                client.sendall(part)
                answer += part
                if url.path == "/events" and b"\n" in answer.partition(b"\r\n\r\n")[2]:
                    return


def resolve(api, schema):
    """The names of a body's members."""
    if "$ref" in schema:
        return resolve(api, api["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]])
    names = set(schema.get("properties", {}))
    for part in schema.get("allOf", []):
        names |= resolve(api, part)
    return names


def described(api):
    """Each operation with the names of its query parameters and of its body's members."""
    operations = {}
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            operations[f"{method.upper()} {path}"] = (
                {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "query"},
                resolve(api, body))
    return operations


def is_of(operation, request):
    method, pattern = operation.split(" ")
    wanted = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(pattern))
    return request[0] == method and re.fullmatch(wanted, request[1]) is not None


class SteeringTest(lan_harness.LanTest):
    def setUp(self):
        super().setUp()
        self.lan = lanyard.Lan(self.folder / "lan", nat=True, program=lan_harness.LANYARD,
                               options=["--capture-dir", str(self.folder)])
        self.addCleanup(self.lan.stop)
        self.relay = Relay(self.folder / "relay", self.lan)
        self.addCleanup(self.relay.close)
        plug = vde_harness.Plug(self.lan.directory)
        self.addCleanup(plug.close)
        self.lan.wait_for_event("plug-came", port=2)

    def walk(self, act):
        """Takes each step by `act` and compares what was asked for with the description."""
        operations = described(self.lan.api())
        self.assertEqual(sorted(operations), sorted(operation for operation, *_ in STEPS))
        for operation, words, call in STEPS:
            with self.subTest(operation):
                before = len(self.relay.seen)
                act(words, call)
                requests = [request for request in self.relay.seen[before:] if is_of(operation, request)]
                self.assertNotEqual(requests, [], self.relay.seen[before:])
                query, body = operations[operation]
                self.assertEqual(set().union(*(request[2] for request in requests)), query)
                self.assertEqual(set().union(*(request[3] for request in requests)), body)

    def ctl(self, *words, directory=None, status=0):
        done = subprocess.run([lan_harness.LANYARD, "ctl", directory or self.lan.directory, *words], text=True,
                              capture_output=True, timeout=20)
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stderr if status else done.stdout

    def test_what_a_reader_sees(self):
        for words in (["capture", "start"], ["ports"], ["forward", "add"]):
            self.assertIn(f"Usage: lanyard ctl DIR {' '.join(words)} ", self.ctl(*words, "--help"))
        self.assertIn(" 2 ports, 0 addresses heard", self.ctl())
        self.assertIn(" 0 loops since", self.ctl("loops"))
        with socket.socket(socket.AF_UNIX) as guest:  # whose driver never comes up
            guest.connect(self.lan.directory + "/vhost-user")
            lan_harness.wait_for(lambda: len(self.lan.ports()) == 3, "its port")
            self.assertRegex(self.ctl("ports"), r"(?m)^3 +not ready +0")
            self.assertRegex(self.ctl(), r"(?m)^3 +not ready ")
            self.assertRegex(self.ctl(), r"(?m)^2 +up ")

    def test_a_vde_switch_is_told_from_a_lan(self):
        vde = self.folder / "vde"
        switch = self.start("vde_switch", [lan_harness.BUILD_DIR / "bin" / "vde_switch", "-s", vde, "--nostdin"])
        lan_harness.wait_for(lambda: (vde / "ctl").exists(), "the VDE switch")
        line = self.ctl("ports", directory=vde, status=69)
        self.assertEqual(line, f"lanyard: cannot ask {vde}: its switch has no control socket, as vde_switch has none; "
                               "make the LAN with `lanyard switch`\n")
        switch.stop()

    def test_ctl_can_do_everything(self):
        def act(words, _):
            words = [word.replace("FOLDER", str(self.folder)) for word in words]
            done = subprocess.run([lan_harness.LANYARD, "ctl", self.relay.directory, *words], text=True,
                                  capture_output=True, timeout=20)
            self.assertEqual((done.returncode, done.stderr), (0, ""), words)
        self.walk(act)

    def test_python_can_do_everything(self):
        control = lanyard.Control(self.relay.directory)
        self.walk(lambda _, call: call(control, self.folder))

    def test_tables_and_json_are_of_the_same_answer(self):
        def ctl(*words):
            return subprocess.run([lan_harness.LANYARD, "ctl", self.lan.directory, *words], text=True,
                                  capture_output=True, timeout=20, check=True).stdout
        guest = vde_harness.Plug(self.lan.directory)
        self.addCleanup(guest.close)
        tagged = b"\xff" * 6 + vde_harness.mac(7) + b"\x81\x00\x00\x05\x08\x06" + bytes(46)
        guest.send(tagged)
        lan_harness.wait_for(lambda: self.lan.guests()["guests"], "the guest in the gateway's book")
        self.assertRegex(ctl("guests"), r"(?m)^52:54:.* ago +1 frame in VLAN 5")
        self.assertEqual(ctl("loops"), "Frames do not come back. 0 loops since the switch started.\n")
        self.assertRegex(ctl("ports", "2"), r"(?m)^PORT.*\n2 +up ")
        self.assertEqual(json.loads(ctl("ports", "2", "--json"))["number"], 2)
        self.assertEqual(json.loads(ctl("loops", "--json")), self.lan.loops())
        self.assertEqual(json.loads(ctl("--json"))["sandbox"], self.lan.about()["sandbox"])
        self.assertIn(f"The switch is {self.lan.about()['sandbox']['explanation']}\n", ctl())
        self.lan.add_rule("deny", "udp:any")
        subprocess.run([lan_harness.LANYARD, "ctl", self.lan.directory, "policy", "deny", "--last", "tcp:any:25"],
                       check=True, timeout=20)
        self.assertEqual([rule["match"] for rule in self.lan.policy()["rules"]], ["udp:any", "tcp:any:25"])
        ctl("policy", "replace")
        self.assertEqual(self.lan.policy()["rules"], [])


if __name__ == "__main__":
    lan_harness.main()
