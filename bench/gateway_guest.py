"""The two ends of bench/gateway_peers: a guest's programs and the host's servers.

    gateway_guest.py serve          answers on the host's loopback, until standard input ends
    gateway_guest.py keep PORT      keeps what connects to that port of it, until then
    gateway_guest.py guest          reads one command a line (JSON), answers one line (JSON)

Plain sockets of the kernel: the guest is a network namespace, so its TCP is Linux's own, with
window scaling and selective acknowledgements for whoever understands them.
"""
import json
import os
import resource
import selectors
import socket
import statistics
import struct
import sys
import threading
import time

SINK, SOURCE, GREET, DNS = 7001, 7002, 7003, 53
CHUNK_SIZE = 1 << 18
WAIT_MAX_S = 10
IDLE_BATCH_COUNT = 100      # connections under way at a time, while the idle ones are made


def raise_descriptor_limit():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# --- the host's side


def listen(port, backlog=1024):
    server = socket.create_server(('127.0.0.1', port), backlog=backlog)
    server.settimeout(None)
    return server


def each_client(port, serve, own_thread=True):
    server = listen(port)

    def accept():
        while True:
            client, _ = server.accept()
            if own_thread:
                threading.Thread(target=run, args=(client,), daemon=True).start()
            else:
                run(client)

    def run(client):
        try:
            serve(client)
        except OSError:
            client.close()
    threading.Thread(target=accept, daemon=True).start()


def sink(client):
    """Takes everything; says how much, and for how long, once the guest has no more."""
    buffer = bytearray(CHUNK_SIZE)
    size = 0
    began = time.monotonic()
    while got := client.recv_into(buffer):
        size += got
    client.sendall(json.dumps({'size': size, 'seconds': time.monotonic() - began}).encode())
    client.close()


def source(client):
    chunk = bytes(CHUNK_SIZE)
    while True:
        client.sendall(chunk)


def greet(client):
    """One byte; the guest closes first."""
    client.sendall(b'!')
    client.settimeout(WAIT_MAX_S)
    client.recv(1)
    client.close()


def serve_dns():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(('127.0.0.1', DNS))
    while True:
        query, peer = server.recvfrom(512)
        end = query.index(b'\0', 12) + 5
        answer = b'\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01'
        server.sendto(query[:2] + b'\x81\x80\0\1\0\1\0\0\0\0' + query[12:end] + answer, peer)


def keep(port):
    raise_descriptor_limit()
    held = []
    each_client(port, held.append, own_thread=False)
    print('ready', flush=True)
    sys.stdin.read()


def serve():
    each_client(SINK, sink)
    each_client(SOURCE, source)
    each_client(GREET, greet, own_thread=False)
    threading.Thread(target=serve_dns, daemon=True).start()
    print('ready', flush=True)
    sys.stdin.read()


# --- the guest's side


def connect(port, gateway):
    return socket.create_connection((gateway, port), timeout=WAIT_MAX_S)


def send(gateway, seconds):
    """Guest to host, as the host counts it."""
    chunk = bytes(CHUNK_SIZE)
    with connect(SINK, gateway) as client:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            client.sendall(chunk)
        client.shutdown(socket.SHUT_WR)
        return json.loads(client.recv(4096))


def receive(gateway, seconds):
    """Host to guest, as the guest counts it."""
    buffer = bytearray(CHUNK_SIZE)
    with connect(SOURCE, gateway) as client:
        size = 0
        began = time.monotonic()
        while time.monotonic() < began + seconds:
            size += client.recv_into(buffer)
        return {'size': size, 'seconds': time.monotonic() - began}


def open_and_close(gateway, seconds):
    """Connections in turn, each of which hears one byte from the host."""
    count = 0
    began = time.monotonic()
    while time.monotonic() < began + seconds:
        with connect(GREET, gateway) as client:
            if client.recv(1) != b'!':
                raise OSError('a connection ended before it was answered')
        count += 1
    return {'count': count, 'seconds': time.monotonic() - began}


def median_us(ask, count):
    times = []
    for turn in range(count):
        began = time.monotonic()
        ask(turn)
        times.append((time.monotonic() - began) * 1e6)
    return {'median_us': statistics.median(times)}


def resolve(nameserver, count):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(WAIT_MAX_S)
        client.connect((nameserver, DNS))

        def ask(turn):
            # A name of its own each time, so that no cache answers.
            name = f'host{turn}'.encode()
            query = struct.pack('>6H', turn + 1, 0x0100, 1, 0, 0, 0)
            client.send(query + bytes([len(name)]) + name + b'\7example\3com\0\0\1\0\1')
            while client.recv(512)[:2] != query[:2]:
                pass
        return median_us(ask, count)


def ping(gateway, count):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as client:
        client.settimeout(WAIT_MAX_S)
        client.connect((gateway, 0))

        def ask(turn):
            client.send(struct.pack('>BBHHH', 8, 0, 0, 0, turn) + bytes(56))
            while struct.unpack_from('>H', client.recv(512), 6)[0] != turn:
                pass
        return median_us(ask, count)


def hold(gateway, port, held, count):
    """As many idle connections as `count`, kept in `held`."""
    selector = selectors.DefaultSelector()
    while len(held) < count:
        batch = []
        for _ in range(min(IDLE_BATCH_COUNT, count - len(held))):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex((gateway, port))
            selector.register(client, selectors.EVENT_WRITE)
            batch.append(client)
        waiting = set(batch)
        while waiting:
            ready = selector.select(WAIT_MAX_S)
            if not ready:
                raise OSError(f'{len(waiting)} of {len(held) + len(batch)} idle connections hang')
            for key, _ in ready:
                selector.unregister(key.fileobj)
                waiting.discard(key.fileobj)
                error = key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if error:
                    raise OSError(error, f'idle connection {len(held)}: {os.strerror(error)}')
        held += batch
    return {'count': len(held)}


def obey():
    raise_descriptor_limit()
    held = []
    print('ready', flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        gateway = order['gateway']
        try:
            answer = {'send': lambda: send(gateway, order['amount']),
                      'receive': lambda: receive(gateway, order['amount']),
                      'connects': lambda: open_and_close(gateway, order['amount']),
                      'dns': lambda: resolve(order['nameserver'], order['amount']),
                      'ping': lambda: ping(gateway, order['amount']),
                      'hold': lambda: hold(gateway, order['port'], held, order['amount'])}[order['do']]()
        except (OSError, ValueError) as error:
            answer = {'error': str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == '__main__':
    {'serve': serve, 'guest': obey, 'keep': lambda: keep(int(sys.argv[2]))}[sys.argv[1]]()
