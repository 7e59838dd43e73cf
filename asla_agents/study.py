"""Studies: many restarts of a few settings, and their rows."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from asla_agents.callbacks import read_rows
from asla_agents.config import RunConfig
from asla_agents.earlier_defaults import with_earlier_defaults
from asla_agents.row_file import Row

OF_BEFORE = "with the defaults of before"
"""What is said of rows whose settings are defaults that have been changed since."""
_KINDS = {"arm": str, "key": str, "seed": int, "episodes": int, "found_at": (int, NoneType)}


class Study(BaseModel):
    """What is compared: arms of settings, each to be restarted from many seeds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    settings: dict[str, Any]
    """Settings of a `RunConfig` that all arms share."""
    arms: dict[str, dict[str, Any]] = Field(default={"default": {}}, min_length=1)
    """Name of each arm, and its settings on top of these."""

    @field_validator("settings")
    @classmethod
    def _can_be_restarted(cls, value: dict[str, Any]) -> dict[str, Any]:
        if "seed" in value:
            raise ValueError("must leave `seed` out: restarts have the seeds from 0 on")
        if value.get("builds_at_once", 1) != 1:
            raise ValueError("must leave `builds_at_once` out: restarts go on together, one build each")
        first = value.get("pretrained")
        if isinstance(first, dict) and first and "episodes" not in first:
            raise ValueError("must say the `episodes` of `pretrained`: those of the restarts may be changed")
        return value

    @field_validator("arms")
    @classmethod
    def _arms_can_be_restarted(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for settings in value.values():
            cls._can_be_restarted(settings)
        return value

    def config(self, arm: str, seed: int) -> RunConfig:
        """Settings of one restart."""
        return RunConfig(**{**self.settings, **self.arms[arm], "seed": seed})

    def changed(self, **settings: Any) -> Self:
        """Return the same comparison with some settings changed, in all arms."""
        arms = {arm: {k: v for k, v in own.items() if k not in settings} for arm, own in self.arms.items()}
        return self.model_copy(update={"settings": self.settings | settings, "arms": arms})


class _Rule(NamedTuple):
    """What a value in a row must be."""

    text: str
    holds: Callable[[Row], bool]


def _is_episode(row: Row, name: str) -> bool:
    """Whether a value is one of the episodes of the restart, or none."""
    value = row.get(name)
    return value is None or (isinstance(value, int) and 1 <= value <= row["episodes"])


def _is_energy(row: Row, name: str) -> bool:
    """Whether a value is a number, or none."""
    value = row.get(name)
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


_RULES = {
    "key": _Rule("hexadecimal, a digest", lambda row: re.fullmatch("[0-9a-f]+", row["key"]) is not None),
    "seed": _Rule("at least 0", lambda row: row["seed"] >= 0),
    "episodes": _Rule("at least 1", lambda row: row["episodes"] >= 1),
    "budget": _Rule("at least 1", lambda row: isinstance(row.get("budget", 1), int) and row.get("budget", 1) >= 1),
    "found_at": _Rule("an episode that was run, or null", lambda row: _is_episode(row, "found_at")),
    "best_above_reference": _Rule("in eV, or null", lambda row: _is_energy(row, "best_above_reference")),
    "exact_at": _Rule("an episode that was run, or null", lambda row: _is_episode(row, "exact_at")),
}


def missing_restarts(study: Study, path: Path, restarts: int) -> list[tuple[str, RunConfig]]:
    """Arm and settings of each restart that has no row in a file yet, nor one that went on after its success.

    Arms of the same settings share their restarts, which have the name of the first.
    """
    configs = [(arm, study.config(arm, seed)) for seed in reversed(range(restarts)) for arm in reversed(study.arms)]
    wanted = {(config.key, config.seed): (arm, config) for arm, config in configs}
    there = {(row["key"], row["seed"]) for row in read_study_rows(path)}

    def is_there(config: RunConfig) -> bool:
        """Whether such a row is there."""
        keys = config.key, config.model_copy(update={"stop_on_success": False}).key
        return any((key, config.seed) in there for key in keys)

    return [(arm, config) for arm, config in reversed(wanted.values()) if not is_there(config)]


def read_study_rows(path: Path) -> list[Row]:
    """Rows of a study, none if there is no file; a last one that was cut off is left out.

    Raises
    ------
    ValueError
        If a line is damaged.
    """
    rows = read_rows(path, _KINDS)
    for number, row in enumerate(rows, 1):
        for name, rule in _RULES.items():
            if not rule.holds(row):
                raise ValueError(f"{path}, line {number}, has `{name}` {row[name]!r} but it must be {rule.text}")
    return rows


def rows_of(study: Study, arm: str, rows: Sequence[Row]) -> list[Row]:
    """Rows of one arm, one a seed, by seed.

    Restarts that were allowed fewer or more episodes than now count too, as success curves take censored data, and
    those that went on after a success, which are the same until then. Of two of one seed it is the one that was
    allowed more, or else went on.
    """
    keys = {config.key for config in comparable(study, arm, rows)}
    chosen = sorted(
        (row for row in rows if row["key"] in keys), key=lambda row: (row.get("budget", 0), row["episodes"])
    )
    return sorted({row["seed"]: row for row in chosen}.values(), key=lambda row: row["seed"])


def earlier(study: Study) -> Study:
    """Return the same comparison with the defaults of before."""
    arms = {arm: with_earlier_defaults(study.settings | own) for arm, own in study.arms.items()}
    return study.model_copy(update={"arms": arms})


def with_more_arms(study: Study, rows: Sequence[Row]) -> Study:
    """Return a study, or the same with the defaults of before if more of its arms have rows with these.

    Arms of two versions are never compared.
    """

    def n_arms(study: Study) -> int:
        """How many arms have rows."""
        return sum(bool(rows_of(study, arm, rows)) for arm in study.arms)

    return max((study, earlier(study)), key=n_arms)  # of two that have as many the first


def comparable(study: Study, arm: str, rows: Sequence[Row]) -> list[RunConfig]:
    """Settings of an arm, seed 0, of all restarts that count: of as many episodes as some rows were allowed, too."""
    config = study.config(arm, 0)
    budgets = sorted({config.episodes, *(row["budget"] for row in rows if "budget" in row)})
    ends = sorted({config.stop_on_success, False})
    return [config.model_copy(update={"episodes": n, "stop_on_success": end}) for n in budgets for end in ends]


def curve_data(rows: Sequence[Row], what: str = "found_at") -> tuple[list[float], list[int]]:
    """First success of each restart, nan if there is none, and its episodes, as `success_curve` takes them.

    Parameters
    ----------
    rows
        A row for each restart.
    what
        What is a success: ``"found_at"``, a structure inside the success window of the problem, or ``"exact_at"``, one
        as low as the best known on its grid, to 0.01 eV. Rows from before that was written down have none.
    """
    found_at = [np.nan if row.get(what) is None else float(row[what]) for row in rows]
    return found_at, [row["episodes"] for row in rows]
