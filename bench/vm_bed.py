"""The bed of bench/vm_peers: real guests on the networks that are compared.

    guest A ══ network ══ guest B        each network has two guests of its own, or one and the host
       │                     │
    console               console        orders go in, a line each; output and status come out

All guests are booted, then only one pair works at a time; the others stand still and cost little.
"""
import json
import pathlib
import re
import shlex
import subprocess

from peers import ROOT, Child, Failure, raise_priority, thread_times_ns

BOOT_MAX_S = 90
ORDER_MAX_S = 20    # beyond the time that the order itself takes
GATEWAY = '10.0.2.2'
ADDRESSES = ('10.0.2.15', '10.0.2.16')
PORT = 5201         # iperf3's
# Orders come on the console, on which the kernel is to be silent.
OBEY = ('dmesg -n 1; cd /proc/sys/net/core; echo 8388608 | tee rmem_max >wmem_max; cd /; stty -F /dev/ttyS0 -echo; iperf3 -s -D; echo "@@ obeys"; '
        'while read -r order; do sh -c "$order" </dev/null; echo "@@ answer $?"; done </dev/ttyS0')
# What is counted where datagrams may get lost inside a guest.
COUNTERS = ('grep -e ^Udp: -e ^Tcp: /proc/net/snmp; cd /sys/class/net/eth0/statistics; '
            'for name in rx_packets tx_packets; do echo $name $(cat $name); done')
OBEYS = re.compile(r'^@@ obeys', re.MULTILINE)
ANSWER = re.compile(r'^@@ answer (\d+)\r?$', re.MULTILINE)


class Guest(Child):
    """The test guest, started by `words` and what QEMU needs after them, from its own console."""

    def __init__(self, name, start_words, card_words, at, home, image, memory_mib):
        done = subprocess.run(
            [ROOT / 'tools/testguest', '--out', image, '--memory', str(memory_mib), '--name', name.replace('_', '-'),
             '--ip', f'{ADDRESSES[at]}/24', '--gateway', GATEWAY, '--qemu', OBEY],
            text=True, stdout=subprocess.PIPE, check=False)
        if done.returncode != 0:
            raise Failure('the test guest could not be built; tools/testguest says why')
        super().__init__(name, [*start_words, *shlex.split(done.stdout), *card_words], home)
        self.address = ADDRESSES[at]
        raise_priority(self.process.pid)

    def booted(self):
        return OBEYS.search(self.said())

    def ask(self, order, limit_s=0):
        """Gives an order; returns what the guest printed."""
        before = len(self.said())
        self.process.stdin.write(f'{order}\n'.encode())
        self.process.stdin.flush()
        self.wait_for(lambda: ANSWER.search(self.said()[before:]), f'an answer to "{order}"',
                      ORDER_MAX_S + limit_s)
        said = self.said()[before:]
        answer = ANSWER.search(said)
        if answer.group(1) != '0':
            raise Failure(f'{self.name}: "{order}" ended with {answer.group(1)}: {said[:answer.start()].strip()}')
        return said[:answer.start()]

    def iperf3(self, address, seconds, *options):
        """The receiver's sum that iperf3 reports, as a client of that address."""
        said = self.ask(f'iperf3 -J -i 0 -c {address} -t {seconds} {" ".join(options)}', seconds)
        try:
            return json.loads(said)['end']['sum_received' if '-u' not in options else 'sum']
        except (ValueError, KeyError):
            raise Failure(f'{self.name}: iperf3 said "{said.strip()}"') from None

    def counters(self):
        """{name: count} of datagrams and frames, as the guest's kernel counts them."""
        said = self.ask(COUNTERS).replace('\r', '')
        found = {}
        for protocol in ('Udp', 'Tcp'):
            names, counts = re.findall(f'^{protocol}: (.*)', said, re.MULTILINE)
            found.update((protocol + name, int(count)) for name, count in zip(names.split(), counts.split()))
        found.update((name, int(count)) for name, count in re.findall(r'^([rt]x_packets) (\d+)', said, re.MULTILINE))
        return found

    def qemu(self):
        """The process that is QEMU, which `lanyard run` has as a child."""
        children = pathlib.Path(f'/proc/{self.process.pid}/task/{self.process.pid}/children').read_text().split()
        for pid in (*children, str(self.process.pid)):
            if b'qemu' in pathlib.Path(f'/proc/{pid}/cmdline').read_bytes().split(b'\0')[0]:
                return int(pid)
        raise Failure(f'{self.name}: QEMU does not run')

    def times_ns(self):
        """(of the thread that does input and output, of those that run the guest's processors)"""
        pid = self.qemu()
        times = thread_times_ns(pid)
        first = times.pop(pid)
        return first, sum(times.values())


class Network:
    """Guests, what joins them, and how they are plugged in."""

    def __init__(self, key, options, home, stack):
        self.key = key
        self.options = options
        self.home = home / key
        self.home.mkdir()
        self.stack = stack
        self.switch = None  # the process between the guests, when there is one
        self.guests = []
        starts, cards = getattr(self, f'start_{key}')()
        self.guests = [self.guest(at, start, card) for at, (start, card) in enumerate(zip(starts, cards))]

    def child(self, name, command):
        child = Child(name, command, self.home)
        self.stack.callback(child.stop)
        raise_priority(child.process.pid)
        return child

    def guest(self, at, start, card):
        guest = Guest(f'{self.key}-{"ab"[at]}', start, card, at, self.home, self.options.image,
                      self.options.memory)
        self.stack.callback(guest.stop)
        return guest

    @staticmethod
    def mac(at):
        return f'52:54:00:00:00:{at + 1:02x}'

    def start_switch(self, name, command):
        lan = self.home / 'lan'
        self.switch = self.child(name, [word.format(dir=lan) for word in shlex.split(command)])
        self.switch.wait_for((lan / 'ctl').exists, f'{lan}/ctl')
        return lan

    def joined_by_run(self, command, transport=()):
        lan = self.start_switch('switch', command)
        start = [self.options.lanyard, 'run', '--lan', lan, *transport]
        return [[*start, '--mac', self.mac(at), '--'] for at in range(2)], [[], []]

    def cards(self, backends):
        return [['-netdev', f'{backend},id=net0', '-device', f'virtio-net-pci,netdev=net0,mac={self.mac(at)}']
                for at, backend in enumerate(backends)]

    # --- one for each network

    def start_ours(self):
        """As `lanyard run` chooses; the LAN has the gateway too."""
        return self.joined_by_run(self.options.ours)

    def start_other(self):
        return self.joined_by_run(self.options.other)

    def start_ours_vde(self):
        return self.joined_by_run(self.options.ours, ['--transport', 'vde'])

    def start_vde(self):
        lan = self.start_switch('vde_switch', self.options.vde_switch)
        return [[], []], self.cards([f'vde,sock={lan}'] * 2)

    def start_bridge(self):
        """In this program's own network namespace. The taps have virtio-net headers, so super-frames
        and partial checksums pass as they are."""
        for line in ('link add bench0 type bridge', 'link set bench0 up',
                     'tuntap add bench-a mode tap vnet_hdr', 'tuntap add bench-b mode tap vnet_hdr',
                     'link set bench-a master bench0 up', 'link set bench-b master bench0 up'):
            subprocess.run(['ip', *line.split()], check=True)
        return [[], []], self.cards([f'tap,ifname=bench-{name},script=no,downscript=no,vhost=off' for name in 'ab'])

    def start_user(self):
        """QEMU's own gateway: one guest."""
        return [[]], self.cards(['user'])

    # --- while it runs

    def wait_until_booted(self):
        for guest in self.guests:
            guest.wait_for(guest.booted, 'its boot', BOOT_MAX_S)
        if self.key == 'ours' and not all(b'vhost-user' in pathlib.Path(f'/proc/{guest.qemu()}/cmdline').read_bytes()
                                          for guest in self.guests):
            raise Failure('`lanyard run` chose another transport than vhost-user; its logs are in --keep DIR')

    def times_ns(self):
        """Run time so far of each part of the way."""
        found = {}
        for guest, name in zip(self.guests, 'ab'):
            found[f'{name}_qemu'], found[f'{name}_processor'] = guest.times_ns()
        if self.switch:
            found['switch'] = self.switch.cpu_ns()
        return found


class HostServer:
    """iperf3 on the host's loopback, which both gateways lead to."""

    def __init__(self, home, stack):
        self.child = Child('host', ['iperf3', '-s', '-B', '127.0.0.1', '-p', str(PORT), '--forceflush'], home)
        stack.callback(self.child.stop)
        raise_priority(self.child.process.pid)
        self.child.wait_for(lambda: 'listening' in self.child.said(), 'its port')
