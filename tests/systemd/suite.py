"""Runs all tests of this directory on one release of Debian; the last line says how many passed."""

import signal
import sys
import unittest
from pathlib import Path

from machine import Machine


def stop(*_):
    """Ends as Ctrl-C does: machines are powered off."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


signal.signal(signal.SIGTERM, stop)


class Result(unittest.TextTestResult):
    """Counts what passed, which `testsRun` does not tell when a machine does not boot, and shows what a
    machine has said when something failed there.
    """

    passed = 0

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1

    def addFailure(self, test, error):
        super().addFailure(test, error)
        show_machines()

    def addError(self, test, error):
        super().addError(test, error)
        show_machines()


def show_machines():
    for machine in Machine.running:
        print(machine.text("systemctl", "list-units", "--all", "--no-pager", "pywebd*"))
        print(machine.text("journalctl", "--no-pager", "--lines=60", "--output=short-precise"))


names = sys.argv[1:] or sorted(path.stem for path in Path(__file__).parent.glob("test_*.py"))
tests = unittest.defaultTestLoader.loadTestsFromNames(names)
result = unittest.TextTestRunner(sys.stdout, verbosity=2, resultclass=Result).run(tests)
failed = len(result.failures) + len(result.errors)
print(f"{result.passed} passed, {failed} failed", flush=True)
sys.exit(failed > 0)
