import pickle
from math import inf, nan

import pytest

from asla_env.energy_error import EnergyError
from asla_env.limits import Limits


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("time_s", 0.0, r"`time_s` is 0\.0 s but must be positive"),
        ("time_s", nan, "`time_s` is nan s but must be positive"),
        ("time_s", None, "`time_s` is None s but must be positive"),
        ("memory_gib", -1, "`memory_gib` is -1 GiB but must be positive"),
        ("memory_gib", "4", "`memory_gib` is '4' GiB but must be positive"),
        ("threads", 0, "`threads` is 0 but must be a whole number of at least 1"),
        ("crash_retries", -1, "`crash_retries` is -1 but must be a whole number of at least 0"),
        ("timeout_retries", 0.5, r"`timeout_retries` is 0\.5 but must be a whole number of at least 0"),
    ],
)
def test_a_limit_out_of_range_is_refused(name, value, message):
    with pytest.raises(ValueError, match=message):
        Limits(**{name: value})


def test_no_limit_is_an_infinite_one():
    assert Limits(time_s=inf, memory_gib=inf).shared_by(4) == Limits(time_s=inf, memory_gib=inf)


def test_processes_share_half_of_the_memory():
    one, four = Limits().shared_by(1).memory_gib, Limits().shared_by(4).memory_gib
    assert one == pytest.approx(4 * four)
    assert one > 0.1
    assert Limits(memory_gib=3).shared_by(4).memory_gib == 3


def test_only_a_crash_is_tried_again_unless_asked_for():
    assert [Limits().retries(kind) for kind in ("crash", "timeout", "memory", "error")] == [1, 0, 0, 0]
    assert Limits(memory_retries=2).retries("memory") == 2


def test_a_failure_names_its_kind_and_survives_pickle():
    error = pickle.loads(pickle.dumps(EnergyError("timeout", "no energy after 2 s", 2.1)))
    assert (str(error), error.kind, error.seconds) == ("timeout: no energy after 2 s", "timeout", 2.1)
    assert str(EnergyError("error", "RuntimeError: boom", 0.0)) == "RuntimeError: boom"
