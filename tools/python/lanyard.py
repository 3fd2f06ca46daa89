"""A LAN of Lanyard for test drivers: start it, look at it, change it. Standard library only.

    with lanyard.Lan('/tmp/lan', nat=True, capture='/tmp/lan.pcap') as lan:
        ...                              # guests plug into lan.directory
        lan.wait_for_event('plug-came')
        lan.set_link(1, up=False)
        assert lan.port(1)['counters']['drops'].get('link-down', 0) == 0

Everything raises lanyard.Error, whose text is one line: what was tried, what happened, what to do.
"""
import contextlib
import http.client
import json
import os
import socket
import subprocess
import time

START_S = 10.0  # for a switch to be ready
END_S = 5.0     # for it to end after SIGTERM


class Error(Exception):
    pass


class _Connection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__('lan', timeout=timeout)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
        except OSError as error:
            raise Error(f'cannot connect to {self._path}: {error.strerror}; is the LAN running?') from error


class Control:
    """A LAN that runs: DIR/control. Usable for any LAN, whoever started it."""

    def __init__(self, directory, timeout=10.0):
        self.directory = os.fspath(directory)
        self._socket = os.path.join(self.directory, 'control')
        self._timeout = timeout

    def request(self, method, path, body=None):
        """The answer's JSON, or its text if it is none."""
        connection = _Connection(self._socket, self._timeout)
        try:
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

    def ports(self):
        return self.request('GET', '/ports')

    def port(self, number):
        return self.request('GET', f'/ports/{number}')

    def stations(self):
        return self.request('GET', '/fdb')

    def guests(self):
        return self.request('GET', '/guests')

    def doctor(self, program='lanyard'):
        """What `lanyard doctor` sees in the LAN, as text."""
        try:
            done = subprocess.run([os.fspath(program), 'doctor', '--lan', self.directory], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors='replace', check=False)
        except OSError as error:
            raise Error(f'cannot start {program}: {error.strerror}; install it or name another program') from error
        return done.stdout

    @contextlib.contextmanager
    def explained(self, say=print, program='lanyard'):
        """When the block fails, says what the doctor sees in the LAN, and fails as before."""
        try:
            yield self
        except BaseException:
            try:
                say(self.doctor(program))
            except Error as error:
                say(str(error))
            raise

    def metrics(self):
        return self.request('GET', '/metrics')

    def set_link(self, port, up):
        return self.request('PUT', f'/ports/{port}/link', {'up': up})

    def forwards(self):
        return self.request('GET', '/forwards')

    def add_forward(self, spec):
        """Like --hostfwd, for example 'tcp::0-:22'; what was added, with the port that was chosen."""
        return self.request('POST', '/forwards', {'forward': spec})

    def remove_forward(self, number):
        return self.request('DELETE', f'/forwards/{number}')

    def start_capture(self, file):
        return self.request('POST', '/captures', {'file': os.path.abspath(file)})

    def stop_capture(self):
        return self.request('DELETE', '/captures')

    def events(self, from_oldest=False, timeout=None):
        """Yields events as they happen, until the LAN ends. Error after `timeout` s without one."""
        connection = _Connection(self._socket, timeout)
        try:
            connection.request('GET', '/events' + ('?from=oldest' if from_oldest else ''))
            for line in connection.getresponse():
                yield json.loads(line)
        except TimeoutError as error:
            raise Error(f'cannot wait for an event of {self.directory}: none came in {timeout} s; see what the '
                        'switch says') from error
        except (OSError, http.client.HTTPException) as error:
            raise Error(f'cannot read events of {self.directory}: {error}; see what the switch says') from error
        finally:
            connection.close()

    def wait_for_event(self, name, timeout=30.0, **members):
        """The first event of that name and with those members, also one that has happened already."""
        end = time.monotonic() + timeout
        wanted = {'event': name, **members}
        for event in self.events(from_oldest=True, timeout=timeout):
            if all(event.get(key) == value for key, value in wanted.items()):
                return event
            if time.monotonic() > end:
                break
        raise Error(f'cannot find the event {wanted} of {self.directory}: it did not come in {timeout} s; events() '
                    'shows what did')


class Lan(Control):
    """Starts `lanyard switch` and ends it. A context manager."""

    def __init__(self, directory, nat=False, capture=None, options=(), program='lanyard', timeout=10.0):
        super().__init__(directory, timeout)
        command = [os.fspath(program), 'switch', self.directory, *options]
        if nat:
            command.append('--nat')
        if capture is not None:
            command += ['--capture', os.fspath(capture)]
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

    def stop(self):
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
