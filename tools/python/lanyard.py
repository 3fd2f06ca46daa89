"""A LAN of Lanyard for test drivers: start it, look at it, change it. Standard library only.

    with lanyard.Lan('/tmp/lan', nat=True, options=['--capture-dir', '/tmp']) as lan:
        ...                                      # guests plug into lan.directory
        lease = lan.wait_for_lease(name='web')   # {'address': '10.0.2.15', 'port': 1, …}
        lan.set_link(lease['port'], up=False)
        with lan.captured('/tmp/cut.pcap'):
            ...
        assert 'link-down' in lan.port(lease['port'])['counters']['drops']
        for reason in lan.reasons():             # what was out of reach, and why
            print(reason['target']['address'], reason['cause'], reason['fact'])

Answers are what the control socket says, as dictionaries and lists: `lanyard ctl DIR get /openapi.json`
describes them. Everything raises lanyard.Error, whose text is one line: what was tried, what happened,
what to do.
"""
from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from typing import Any

START_S = 10.0  # for a switch to be ready
END_S = 5.0     # for it to end after SIGTERM
POLL_S = 0.1    # between two looks at what is waited for


class Error(Exception):
    pass


def _with_query(path, **values):
    given = {name: value for name, value in values.items() if value is not None}
    return path + ('?' + urllib.parse.urlencode(given, safe=',:') if given else '')


class _Connection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__('lan', timeout=timeout)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        end = time.monotonic() + (self.timeout or START_S)
        try:
            while True:
                try:
                    return self.sock.connect(self._path)
                except BlockingIOError:  # many others are just connecting
                    if time.monotonic() > end:
                        raise
                    time.sleep(0.01)
        except OSError as error:
            raise Error(f'cannot connect to {self._path}: {error.strerror}; is the LAN running?') from error


class Control:
    """A LAN that runs: DIR/control. Usable for any LAN, whoever started it."""

    def __init__(self, directory: str | os.PathLike[str], timeout: float = 10.0):
        self.directory = os.fspath(directory)
        self._socket = os.path.join(self.directory, 'control')
        self._timeout = timeout

    def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The answer's JSON, or its text if it is none."""
        connection = _Connection(self._socket, self._timeout)
        try:
            # A body that is too long is refused before it is sent.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            text = answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise Error(f'cannot {method} {path}: {error or type(error).__name__}; see what the switch says') from error
        finally:
            connection.close()
        is_json = answer.getheader('Content-Type', '').startswith('application/json')
        value = json.loads(text) if is_json else text
        if answer.status >= 300:
            raise Error(value['error'] if is_json else f'cannot {method} {path}: HTTP status {answer.status}')
        return value

    def wait_until_there(self, timeout: float = START_S) -> Control:
        """For a LAN that has just been started: until it answers."""
        end = time.monotonic() + timeout
        while True:
            try:
                self.about()
                return self
            except Error:
                if time.monotonic() > end:
                    raise
            time.sleep(POLL_S)

    # --- what there is ---

    def about(self) -> dict[str, Any]:
        """The 'program', its 'sandbox' ('locked', 'explanation', …) and its 'operations'."""
        return self.request('GET', '/')

    def api(self) -> dict[str, Any]:
        """The OpenAPI description of the control socket."""
        return self.request('GET', '/openapi.json')

    def ports(self) -> list[dict[str, Any]]:
        """Ports by number, with their link, plugs and counters."""
        return self.request('GET', '/ports')

    def port(self, number: int) -> dict[str, Any]:
        return self.request('GET', f'/ports/{number}')

    def stations(self) -> list[dict[str, Any]]:
        """The forwarding table: which MAC address is behind which port."""
        return self.request('GET', '/fdb')

    def guests(self) -> dict[str, Any]:
        """What guests show of themselves: addresses, names, who claims which address."""
        return self.request('GET', '/guests')

    def loops(self) -> dict[str, Any]:
        """'engaged': frames come back now; 'ports' by which; 'episodes' since the start."""
        return self.request('GET', '/loops')

    def doctor(self, program: str | os.PathLike[str] = 'lanyard') -> str:
        """What `lanyard doctor` sees in the LAN, as text."""
        try:
            done = subprocess.run([os.fspath(program), 'doctor', '--lan', self.directory], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors='replace', check=False)
        except OSError as error:
            raise Error(f'cannot start {program}: {error.strerror}; install it or name another program') from error
        return done.stdout

    @contextlib.contextmanager
    def explained(self, say: Callable[[str], Any] = print,
                  program: str | os.PathLike[str] = 'lanyard') -> Iterator[Control]:
        """When the block fails, says what the doctor sees in the LAN, and fails as before."""
        try:
            yield self
        except BaseException:
            try:
                say(self.doctor(program))
            except Error as error:
                say(str(error))
            raise

    def leases(self) -> list[dict[str, Any]]:
        """DHCP leases: address, mac, name, state ('bound', 'offered', 'ended'), port, vid."""
        return self.request('GET', '/leases')

    def reasons(self) -> list[dict[str, Any]]:
        """What guests could not reach, and why: guest, target, cause, fact, cure, count."""
        return self.request('GET', '/reasons')

    def flows(self, guest: str | None = None, limit: int | None = None) -> dict[str, Any]:
        """'flows': the last opened, with guest, address, port, name, state, bytes; 'live', 'opened'.

        `guest`: of that MAC or IP address alone. `limit`: so many (256).
        """
        return self.request('GET', _with_query('/flows', guest=guest, limit=limit))

    def egress(self) -> Any:
        """All that guests reached for, as --egress-report writes it."""
        return self.request('GET', '/egress')

    def policy(self) -> dict[str, Any]:
        """'rules' (id, action, match, decided), 'otherwise', 'restricted', 'remarks'."""
        return self.request('GET', '/policy')

    def metrics(self) -> str:
        """Counters in Prometheus's text format."""
        return self.request('GET', '/metrics')

    # --- what can be done ---

    def set_link(self, port: int, up: bool) -> dict[str, Any]:
        """Pulls a port's cable out, or puts it back. The port as it is then."""
        return self.request('PUT', f'/ports/{port}/link', {'up': up})

    def forwards(self) -> list[dict[str, Any]]:
        """Host ports that lead into guests: number, forward, state ('waiting', 'ready', 'open'), answer."""
        return self.request('GET', '/forwards')

    def forward(self, number: int) -> dict[str, Any]:
        return self.request('GET', f'/forwards/{number}')

    def add_forward(self, spec: str) -> list[dict[str, Any]]:
        """Like --hostfwd, for example 'tcp::0-:22'; what was added, with the port that was chosen."""
        return self.request('POST', '/forwards', {'forward': spec})

    def remove_forward(self, number: int) -> dict[str, Any]:
        """The forward as it was."""
        return self.request('DELETE', f'/forwards/{number}')

    def wait_for_forward(self, number: int, timeout: float = 120.0) -> dict[str, Any]:
        """That forward once clients are let in: the guest answers at its port, or it need not (UDP)."""
        end = time.monotonic() + timeout
        while (forward := self.forward(number))['state'] == 'waiting':
            left = end - time.monotonic()
            if left <= 0:
                raise Error(f'cannot use {forward["forward"]}: {forward["explanation"]} after {timeout} s; start the '
                            'service in the guest')
            time.sleep(min(left, POLL_S))
        return forward

    def forget_stations(self) -> None:
        self.request('DELETE', '/fdb')

    def add_rule(self, action: str, match: str, before: int | None = None) -> dict[str, Any]:
        """'allow' or 'deny' for what fits, as 'tcp:example.org:443'; before that rule, or last. Its 'id' is for
        remove_rule()."""
        body: dict[str, Any] = {'action': action, 'match': match}
        return self.request('POST', '/policy/rules', body if before is None else {**body, 'before': before})

    def replace_policy(self, rules: Iterable[tuple[str, str]], otherwise: str | None = None) -> dict[str, Any]:
        """All rules at once, as [('allow', 'tcp:example.org:443'), …]; `otherwise`: 'allow' or 'deny' what none
        fits. The policy as it is then."""
        body: dict[str, Any] = {'rules': [{'action': action, 'match': match} for action, match in rules]}
        return self.request('PUT', '/policy', body if otherwise is None else {**body, 'otherwise': otherwise})

    def remove_rule(self, rule_id: int) -> dict[str, Any]:
        """The policy as it is then."""
        return self.request('DELETE', f'/policy/rules/{rule_id}')

    def captures(self) -> list[dict[str, Any]]:
        """Captures that run: id, file, filter, snaplen, frames, left_out, lost."""
        return self.request('GET', '/captures')

    def start_capture(self, file: str | os.PathLike[str], filter: str | None = None,
                      snaplen: int | None = None) -> dict[str, Any]:
        """Writes every frame to `file` from now on, or those that `filter` takes ('tcp port 80'), or `snaplen` bytes
        of each; *.pcapng or pcap. Its 'id' is for stop_capture()."""
        given = {'filter': filter, 'snaplen': snaplen}
        body = {'file': os.path.abspath(file), **{name: value for name, value in given.items() if value is not None}}
        return self.request('POST', '/captures', body)

    def stop_capture(self, capture_id: int | None = None) -> list[dict[str, Any]]:
        """Ends that capture, or all; the file is whole then. Those that still run."""
        return self.request('DELETE', '/captures' if capture_id is None else f'/captures/{capture_id}')

    @contextlib.contextmanager
    def captured(self, file: str | os.PathLike[str], filter: str | None = None,
                 snaplen: int | None = None) -> Iterator[dict[str, Any]]:
        """A capture for the length of a with block."""
        capture = self.start_capture(file, filter, snaplen)
        try:
            yield capture
        finally:
            self.stop_capture(capture['id'])

    # --- what happens ---

    def events(self, from_oldest: bool = False, timeout: float | None = None,
               kinds: Iterable[str] = ()) -> Iterator[dict[str, Any]]:
        """Yields events as they happen, until the LAN ends. Error after `timeout` s without one.

        `kinds`: 'lease-given' is that one, 'lease' is every lease-…; none: all.
        """
        path = _with_query('/events', **{'from': 'oldest' if from_oldest else None, 'kind': ','.join(kinds) or None})
        connection = _Connection(self._socket, timeout)
        try:
            connection.request('GET', path)
            answer = connection.getresponse()
            if answer.status >= 300:
                raise Error(json.loads(answer.read())['error'])
            for line in answer:
                yield json.loads(line)
        except TimeoutError as error:
            raise Error(f'cannot wait for an event of {self.directory}: none came in {timeout} s; see what the '
                        'switch says') from error
        except (OSError, http.client.HTTPException) as error:
            raise Error(f'cannot read events of {self.directory}: {error}; see what the switch says') from error
        finally:
            connection.close()

    def wait_for_event(self, name: str, timeout: float = 30.0, **members: Any) -> dict[str, Any]:
        """The first event of that kind (as for events()) and with those members, also one that has happened already."""
        end = time.monotonic() + timeout
        wanted = {'event': name, **members}
        for event in self.events(from_oldest=True, timeout=timeout, kinds=(name,)):
            is_it = event['event'] == name or event['event'].startswith(name + '-')
            if is_it and all(event.get(key) == value for key, value in members.items()):
                return event
            if time.monotonic() > end:
                break
        raise Error(f'cannot find the event {wanted} of {self.directory}: it did not come in {timeout} s; events() '
                    'shows what did')

    def wait_for_lease(self, name: str | None = None, mac: str | None = None,
                       timeout: float = 120.0) -> dict[str, Any]:
        """The bound lease of the guest of that host name or MAC address, or of any guest."""
        def found():
            return next((lease for lease in self.leases() if lease['state'] == 'bound'
                         and name in (None, lease['name']) and mac in (None, lease['mac'])), None)
        end = time.monotonic() + timeout
        whose = ' '.join(filter(None, (name, mac))) or 'any guest'
        while (lease := found()) is None:
            left = end - time.monotonic()
            if left <= 0:
                raise Error(f'cannot find a lease of {whose} in {self.directory}: none came in {timeout} s; '
                            'leases() shows those there are, and the guest\'s console whether it asks for one')
            time.sleep(min(left, POLL_S))
        return lease


class Lan(Control):
    """Starts `lanyard switch` and ends it. A context manager."""

    def __init__(self, directory: str | os.PathLike[str], nat: bool = False,
                 capture: str | os.PathLike[str] | None = None, options: Iterable[str] = (),
                 program: str | os.PathLike[str] = 'lanyard', timeout: float = 10.0):
        super().__init__(directory, timeout)
        command = [os.fspath(program), 'switch', self.directory, *options]
        if nat:
            command.append('--nat')
        if capture is not None:
            command += ['--capture', os.fspath(capture)]
        if self._is_ready():
            raise Error(f'cannot start a LAN in {self.directory}: a switch runs there; Control() joins it')
        try:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        except OSError as error:
            raise Error(f'cannot start {command[0]}: {error.strerror}; install it or name another program') from error
        end = time.monotonic() + START_S
        while not self._is_ready():
            if self.process.poll() is not None:
                raise Error(f'cannot start a LAN in {self.directory}: the switch ended with status '
                            f'{self.process.returncode}; its last line says why')
            if time.monotonic() > end:
                self.stop()
                raise Error(f'cannot start a LAN in {self.directory}: it was not ready in {START_S} s; its last '
                            'line says why')
            time.sleep(0.005)

    def _is_ready(self):
        """Somebody listens at DIR/ctl; a file alone may be what a killed switch left."""
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(os.path.join(self.directory, 'ctl')) == 0

    def stop(self) -> int:
        """Ends the switch; its exit status."""
        self.process.terminate()
        try:
            return self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
