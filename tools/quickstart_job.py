"""The quick start's main job. Runs inside the network and mount namespace tools/quickstart made.

Theory. The namespace has only "lo", like a build sandbox, so the job behaves alike on every machine
and nothing of it can leave. What the guest needs from "the Internet" runs here: a web server and a
name server, in threads, so that no process outlives the job. The guest's console is judged as it
comes; every result goes to result.json for tools/quickstart_report.py. A step that fails does not
stop the later ones: the report shows all of them.
"""

import argparse
import functools
import hashlib
import http.server
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "guest"))
from console import Console  # noqa: E402
from name_server import NameServer  # noqa: E402

BLOB_SIZE = 50 * 1000 * 1000
GUEST_LIMIT_S = 240      # the whole guest; 15 s is usual
STOP_LIMIT_S = 10        # from SIGTERM to SIGKILL
HOST_NAME, HOST_ADDRESS = "files.lanyard.test", "203.0.113.10"
OUTSIDE = "8.8.8.8"


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def start_web_server(folder):
    """Serves `folder` on 127.0.0.1; returns the port."""
    handler = functools.partial(QuietHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def prepare_host(out):
    """lo up, our own resolv.conf, both servers. Returns (port, SHA-256 of the blob)."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    resolv = out / "resolv.conf"
    resolv.write_text("nameserver 127.0.0.1\n")
    subprocess.run(["mount", "--bind", str(resolv), "/etc/resolv.conf"], check=True)
    NameServer({HOST_NAME: [HOST_ADDRESS, "2001:db8::10"]})
    blob = out / "files" / "blob"
    blob.parent.mkdir(exist_ok=True)
    if not blob.exists() or blob.stat().st_size != BLOB_SIZE:
        blob.write_bytes(os.urandom(BLOB_SIZE))
    return start_web_server(blob.parent), hashlib.sha256(blob.read_bytes()).hexdigest()


class Job:
    def __init__(self, out, checksum, port):
        self.out, self.checksum = out, checksum
        self.results = []  # {"name", "ok", "text"}
        self.commands = [
            ("ping 10.0.2.2", "ping -c 3 -i 0.3 10.0.2.2", self.judge_ping),
            ("download", f"wget -q -O /tmp/blob http://10.0.2.2:{port}/blob", self.judge_download),
            ("checksum", "sha256sum /tmp/blob", self.judge_checksum),
            ("DNS", f"nslookup {HOST_NAME} 10.0.2.3", self.judge_lookup),
            (OUTSIDE, f"ping -c 2 -W 3 {OUTSIDE}", self.judge_outside),
        ]

    def record(self, name, ok, text):
        self.results.append({"name": name, "ok": bool(ok), "text": text})
        mark = "ok    " if ok else "FAILED"
        print(f"      {mark}  {name}: {text}", flush=True)

    # --- judging: each takes the finished command and returns (ok, what to say) ---
    def judge_ping(self, command):
        times = re.search(r"= ([0-9.]+)/([0-9.]+)/", command.output)
        ok = command.status == 0 and times and "DUP" not in command.output
        return ok, (f"round trip {times[1]} ms at best, {times[2]} ms on average" if times
                    else f"exit {command.status}: {command.output[-120:]}")

    def judge_download(self, command):
        if command.status != 0:
            return False, f"wget's exit {command.status}: {command.output[-120:]}"
        rate = BLOB_SIZE / max(command.seconds, 0.01)
        return True, (f"{BLOB_SIZE // 1000000} MB in {command.seconds:.1f} s: "
                      f"{rate / 1e6:.0f} MB/s, {rate * 8 / 1e9:.2f} Gb/s")

    def judge_checksum(self, command):
        seen = command.output.split(" ")[0]
        ok = command.status == 0 and seen == self.checksum
        return ok, f"SHA-256 {seen[:16]}… {'equal' if ok else 'differs from ' + self.checksum[:16]}"

    def judge_lookup(self, command):
        ok = command.status == 0 and HOST_ADDRESS in command.output
        return ok, f"{HOST_NAME} is {HOST_ADDRESS}" if ok else f"no answer: {command.output[-120:]}"

    def judge_outside(self, command):
        """The ping must fail, the guest must be told, and stderr must carry the reason, once."""
        lines = [line for line in self.log_text().splitlines()
                 if f"→ {OUTSIDE} " in line and 'this network namespace has only "lo"' in line]
        if command.status == 0:
            return False, "a reply came, though nothing is out there"
        if "Destination Net Unreachable" not in command.output:
            return False, "the guest was not told that the destination is unreachable"
        if len(lines) != 1:
            return False, f"{len(lines)} lines of lanyard explain it, not one"
        return True, f"unreachable, and the reason is given:\n          {lines[0]}"

    def log_text(self):
        return (self.out / "lanyard.log").read_text(errors="replace")

    # --- the run ---
    def take(self, event, began):
        if event == "ready":
            self.record("boot", True, f"{time.monotonic() - began:.1f} s to the guest's first process")
        elif event == "lease":
            lease = self.console.lease
            ok = lease.gateway == "10.0.2.2" and lease.name_servers == ["10.0.2.3"]
            self.record("lease", ok, f"{lease.address}/{lease.prefix_length}, gateway "
                        f"{lease.gateway}, in {lease.seconds:.2f} s")
        elif event == "no lease":
            self.record("lease", False, "no DHCP server answered")
        elif hasattr(event, "number"):
            name, _, judge = self.commands[event.number - 1]
            self.record(name, *judge(event))

    def run(self, argv):
        self.console = Console()
        began = time.monotonic()
        with open(self.out / "lanyard.log", "w") as log, \
             open(self.out / "console.log", "w") as console_log:
            child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                     stderr=log, text=True, errors="replace")
            watchdog = threading.Timer(GUEST_LIMIT_S, child.terminate)
            watchdog.daemon = True
            watchdog.start()
            try:
                for line in child.stdout:
                    console_log.write(line.rstrip("\r\n") + "\n")
                    console_log.flush()
                    self.take(self.console.feed(line), began)
                child.wait(STOP_LIMIT_S)
            finally:
                watchdog.cancel()
                stop(child)
        seconds = time.monotonic() - began
        if seconds >= GUEST_LIMIT_S:
            self.record("exit", False, f"stopped after {GUEST_LIMIT_S} s")
        else:
            words = f"lanyard run ended with {child.returncode} after {seconds:.1f} s"
            if child.returncode != 0 or not self.console.done:
                said = self.log_text().strip().splitlines()
                words += f"; lanyard said: {said[-1]}" if said else ""
            self.record("exit", child.returncode == 0 and self.console.done, words)


def stop(child):
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lanyard", required=True)
    parser.add_argument("--testguest", required=True)
    parser.add_argument("--guest-folder", required=True)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    options = parser.parse_args()

    port, checksum = prepare_host(options.out)
    job = Job(options.out, checksum, port)
    qemu = subprocess.run([options.testguest, "--out", options.guest_folder, "--qemu"] +
                          [command for _, command, _ in job.commands],
                          check=True, stdout=subprocess.PIPE, text=True).stdout
    job.run([options.lanyard, "run", "--capture", str(options.out / "capture.pcap"), "--"] +
            shlex.split(qemu))
    expected = ["boot", "lease"] + [name for name, _, _ in job.commands] + ["exit"]
    seen = {result["name"] for result in job.results}
    for name in expected:
        if name not in seen:
            job.record(name, False, "the guest did not come to it")
    (options.out / "result.json").write_text(json.dumps(job.results, indent=1))


if __name__ == "__main__":
    main()
