"""What all tests need."""

import signal

import pytest


@pytest.fixture(scope="session", autouse=True)
def _interrupts_reach_the_processes_that_tests_start():
    """Shells let jobs in the background ignore interrupts, and processes inherit that: the tests undo it."""
    before = signal.getsignal(signal.SIGINT)
    if before == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
