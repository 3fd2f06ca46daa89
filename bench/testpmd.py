"""DPDK's testpmd at its prompt, as a front end or back end of vhost-user cards.

bench/vhost_peers and tests/system/test_testpmd.py run it. It needs no huge pages: its memory is an
anonymous file (--no-huge), which is what a vhost-user back end can map. RUNTIME_DIRECTORY is where
it leaves files, a pipe for its commands ends it with us, stdbuf makes its answers come by the line.
"""
import os
import re
import shutil
import time

from peers import Child, Failure

MEMORY_MB = 192    # for BUFFER_COUNT buffers of 2176 bytes, rings, and testpmd itself
BUFFER_COUNT = 16384
PROMPT = 'testpmd> '


def check_installed():
    for program, package in (('dpdk-testpmd', 'dpdk-dev'), ('stdbuf', 'coreutils')):
        if shutil.which(program) is None:
            raise Failure(f'{program} is missing: install {package}')


class Testpmd(Child):
    """testpmd with cards (`--vdev` words), ready and standing still. `cpus`: which one waits for
    commands, and which one moves frames."""

    def __init__(self, name, home, cpus, cards, words=(), buffer_count=BUFFER_COUNT,
                 memory_mb=MEMORY_MB):
        check_installed()
        waits, moves = cpus
        devices = [word for card in cards for word in ('--vdev', card)]
        super().__init__(name, [
            'stdbuf', '-oL', 'dpdk-testpmd', '--no-huge', '-m', memory_mb, '--no-pci', '--no-telemetry',
            f'--file-prefix={name}', f'--lcores=0@{waits},1@{moves}', '--main-lcore=0', *devices,
            '--', '-i', '--no-mlockall', f'--total-num-mbufs={buffer_count}', *words], home)
        try:
            self.wait_for(lambda: PROMPT in self.said(), f'its prompt; it needs {memory_mb} MB of memory')
            # Its complaint about a card is a line among many, and it goes on without.
            count = self.port_count()
            if count != len(cards):
                raise Failure(f'{name}: testpmd has {count} of {len(cards)} cards; see {self.log}')
        except Failure:
            self.stop()
            raise

    def say(self, line):
        """Gives a command; returns what testpmd answers."""
        before = len(self.said())
        self.process.stdin.write(f'{line}\n'.encode())
        self.process.stdin.flush()
        self.wait_for(lambda: PROMPT in self.said()[before:].partition('\n')[2], f'an answer to "{line}"')
        return self.said()[before:]

    def port_count(self):
        found = re.search(r'Number of available ports: (\d+)', self.say('show port summary all'))
        return int(found.group(1)) if found else 0

    def received(self):
        """(frames that all cards have received so far, when it was)"""
        answer = self.say('show port stats all')
        return sum(int(count) for count in re.findall(r'RX-packets: *(\d+)', answer)), time.monotonic()


def cpu_pair():
    """Two processors we may run on, which may be the same one."""
    cpus = sorted(os.sched_getaffinity(0))
    return cpus[0], cpus[-1]
