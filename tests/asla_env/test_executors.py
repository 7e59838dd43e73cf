import sys

import pytest

from asla_env.executors import energy_executor
from asla_env.limits import Limits
from asla_env.workers import WorkerPool


def test_without_processes_there_is_no_executor():
    with energy_executor() as executor:
        assert executor is None


def test_processes_have_the_limits_asked_for():
    with energy_executor(2, Limits(time_s=3, memory_gib=1)) as executor:
        assert isinstance(executor, WorkerPool)
        assert executor.limits == Limits(time_s=3, memory_gib=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"workers": -1}, "`workers` is -1 but must be at least 0"),
        ({"workers": 2, "dask": "tcp://127.0.0.1:1"}, "`workers` is 2 but must be 0 with `dask`"),
        ({"limits": Limits()}, r"`limits` is Limits\(.*\) but must be None without processes"),
    ],
)
def test_what_contradicts_itself_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        energy_executor(**arguments)


def test_a_cluster_without_dask_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "asla_env.dask_workers", raising=False)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"pip install asla\[dask\]"):
        energy_executor(dask="tcp://127.0.0.1:1")
