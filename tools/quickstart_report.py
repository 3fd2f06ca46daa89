"""The quick start's last step: reads the capture with tcpdump, prints the table and the verdict.

Exit status 0 only if every row is good.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys

# What must be in the capture, as tcpdump prints it. First match counts the frame.
PROTOCOLS = [
    ("ARP", re.compile(r" ARP, ")),
    ("DHCP", re.compile(r" BOOTP/DHCP, ")),
    ("ICMP", re.compile(r" ICMP ")),
    ("DNS", re.compile(r" IP \S+ > 10\.0\.2\.3\.53: | IP 10\.0\.2\.3\.53 > ")),
    ("TCP", re.compile(r" IP \S+ > \S+: Flags ")),
    ("IPv6", re.compile(r" IP6 ")),
]
REQUIRED = ["ARP", "DHCP", "ICMP", "DNS", "TCP"]


def count_frames(capture):
    """({protocol: count}, all frames) by tcpdump; raises RuntimeError with tcpdump's words."""
    counts = {name: 0 for name, _ in PROTOCOLS}
    total = 0
    reader = subprocess.Popen(["tcpdump", "-nn", "-r", str(capture)], text=True, errors="replace",
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for line in reader.stdout:
        if not re.match(r"\d\d:\d\d:", line):
            continue
        total += 1
        for name, pattern in PROTOCOLS:
            if pattern.search(line):
                counts[name] += 1
                break
    words = reader.stderr.read().strip()
    if reader.wait() != 0:
        raise RuntimeError(words.splitlines()[-1] if words else "tcpdump failed")
    return counts, total


def capture_row(capture):
    row = {"name": "capture", "ok": False}
    try:
        counts, total = count_frames(capture)
    except RuntimeError as error:
        return row | {"text": f"tcpdump cannot read it: {error}"}
    absent = [name for name in REQUIRED if counts[name] == 0]
    if absent:
        return row | {"text": f"{total} frames, but no {', '.join(absent)}"}
    parts = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
    return row | {"ok": True, "text": f"{total} frames: {parts}"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--shown", required=True, help="the folder as the user would type it")
    options = parser.parse_args()

    rows = json.loads((options.out / "result.json").read_text())
    rows.append(capture_row(options.out / "capture.pcap"))
    print()
    for row in rows:
        print(f"  {'ok  ' if row['ok'] else 'FAIL'}  {row['name']:<14} {row['text']}")
    print(f"\n  capture: {options.shown}/capture.pcap\n"
          f"  read it: tcpdump -nn -r {options.shown}/capture.pcap\n"
          f"  console: {options.shown}/console.log   lanyard's words: {options.shown}/lanyard.log\n")
    bad = [row for row in rows if not row["ok"]]
    if bad:
        why = bad[0]["text"].splitlines()[0]
        print(f"quickstart: failed: {bad[0]['name']}: {why}; see {options.shown}/console.log "
              f"and {options.shown}/lanyard.log")
        sys.exit(1)


if __name__ == "__main__":
    main()
