"""The programs of bench/ that compare us with others, beside what they measure."""

import os
import signal
import subprocess
import unittest

import lan_harness

BENCH = lan_harness.SOURCE_DIR / "bench"
PROGRAMS = ("gateway_peers", "vde_peers", "vhost_peers", "vm_peers")
LINES = "from peers import end_with; end_with(lambda: print('line') or print('line'))"


class OutputTest(unittest.TestCase):
    def assert_silent(self, *words):
        """Python with these words ends as `cat` does when nobody reads it."""
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        read, write = os.pipe()
        os.close(read)
        with open(write, "wb") as output:
            done = subprocess.run(["python3", "-B", *words], stdout=output, stderr=subprocess.PIPE, text=True,
                                  timeout=60, env=environment, cwd=BENCH)
        self.assertEqual((done.returncode, done.stderr), (-signal.SIGPIPE, ""), words)

    def test_a_reader_that_has_enough_is_no_failure(self):
        for name in PROGRAMS:
            self.assert_silent(name, "--help")
        self.assert_silent("-c", LINES)
        self.assert_silent("-u", "-c", LINES)  # found at once, and not when all is written


if __name__ == "__main__":
    unittest.main()
