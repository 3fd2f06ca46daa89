"""What the programs here that compare us with others have in common: children, waiting, namespaces."""
import contextlib
import os
import pathlib
import platform
import re
import select
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
ANSWER_MAX_S = 30   # until a program does what was asked of it, unless said otherwise
PRIORITY = -20
INSIDE = 'LANYARD_BENCH_INSIDE'     # set in the namespaces that a program makes for itself


class Failure(Exception):
    """One sentence for the user."""


def wait_for(condition, what, limit_s=ANSWER_MAX_S):
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise Failure(f'{what} did not come about within {limit_s} s')
        time.sleep(0.005)


class Child:
    """A program in a session of its own, its output in `home`/NAME.log. stop() it."""

    def __init__(self, name, command, home):
        self.name = name
        self.log = home / f'{name}.log'
        command = [str(word) for word in command]
        with open(self.log, 'wb') as log:
            try:
                self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log,
                                                start_new_session=True,
                                                env={**os.environ, 'RUNTIME_DIRECTORY': str(home)})
            except OSError as error:
                raise Failure(f'cannot start {command[0]}: {error.strerror}; build or install it') from error

    def said(self):
        return self.log.read_text(errors='replace')

    def wait_for(self, condition, what, limit_s=ANSWER_MAX_S):
        def ended_or_met():
            if self.process.poll() is not None:
                raise Failure(f'{self.name} ended before {what}: {self.last_words()}')
            return condition()
        try:
            wait_for(ended_or_met, what, limit_s)
        except Failure as failure:
            raise Failure(f'{self.name}: {failure}: {self.last_words()}') from None

    def last_words(self):
        return ' / '.join(self.said().strip().splitlines()[-3:]) or 'it said nothing'

    def cpu_ns(self):
        """The run time of all its threads so far."""
        return sum(thread_times_ns(self.process.pid).values())

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(ANSWER_MAX_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        with contextlib.suppress(OSError):
            self.process.stdin.close()


def thread_times_ns(pid):
    """{thread: its run time so far}"""
    tasks = pathlib.Path(f'/proc/{pid}/task')
    return {int(task.name): int((task / 'schedstat').read_text().split()[0]) for task in tasks.iterdir()}


def reader_left():
    """Nobody reads our standard output any more."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)
    return any(events & select.POLLERR for _, events in output.poll(0))


def end_with(main):
    """Ends this program with the status of main(). One whose reader has had enough (`| head`) ends in
    silence, by SIGPIPE, when all that it made is taken away."""
    try:
        try:
            status = main()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not reader_left():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still buffered
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.raise_signal(signal.SIGPIPE)
    sys.exit(status)


def raise_priority(pid):
    """Ahead of what else runs here, where the kernel lets us; on a busy machine nothing that polls
    can be measured otherwise. A session of its own is a group of its own (sched(7), autogroup), in
    which all threads must weigh the same."""
    try:
        for task in os.listdir(f'/proc/{pid}/task'):
            os.setpriority(os.PRIO_PROCESS, int(task), PRIORITY)
        pathlib.Path(f'/proc/{pid}/autogroup').write_text(str(PRIORITY))
    except OSError:
        return False
    return True


def enter_namespaces():
    """The program anew, in a host that has no network and mounts of its own; returns inside."""
    if INSIDE in os.environ:
        return
    user = [] if os.geteuid() == 0 else ['--user', '--map-root-user']
    command = ['unshare', *user, '--net', '--mount', sys.executable, '-B', *sys.argv]
    try:
        os.execvpe('unshare', command, {**os.environ, INSIDE: '1'})
    except OSError as error:
        raise Failure(f'cannot run unshare: {error.strerror}; install util-linux') from error


def machine():
    """What a report says about where it was made."""
    found = re.search(r'model name\s*: (.*)', pathlib.Path('/proc/cpuinfo').read_text())
    return {'kernel': os.uname().release, 'processor': found.group(1) if found else platform.machine(),
            'cpu_count': os.cpu_count(), 'load_average': os.getloadavg()}


def print_columns(rows):
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        print('  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
