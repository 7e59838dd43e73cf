"""What all tests need."""

import importlib
import signal
import subprocess
import sys

import pytest

_OF_ASE = "ignore:Setting the shape on a NumPy array has been deprecated:DeprecationWarning"


def pytest_collection_modifyitems(items):
    """Begin with the notebooks: no process is to wait at the end for what takes longest."""
    items.sort(key=lambda item: item.path.name != "test_notebooks.py")


@pytest.fixture(scope="session", autouse=True)
def _interrupts_reach_the_processes_that_tests_start():
    """Shells let jobs in the background ignore interrupts, and processes inherit that: the tests undo it."""
    before = signal.getsignal(signal.SIGINT)
    if before == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def run_strictly():
    """Run code in a process of its own, where warnings but that of ASE 3.29 with numpy 2.5 are errors; its output."""

    def run(code: str) -> str:
        command = [sys.executable, "-W", "error", "-W", _OF_ASE, "-c", code]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    return run


@pytest.fixture(scope="module")
def written_module(tmp_path_factory):
    """Write and import a module by its name and text, which processes that are started can import too."""
    with pytest.MonkeyPatch.context() as patch:

        def write(name: str, text: str):
            folder = tmp_path_factory.mktemp(name)
            (folder / f"{name}.py").write_text(text)
            patch.syspath_prepend(folder)
            return importlib.import_module(name)

        yield write
