"""The settings of a search: one model, checked when made, written beside the results."""

import json
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from asla_agents.exploration import Exploration
from asla_agents.imagination import ImaginationSettings
from asla_agents.lookalikes import check_kind
from asla_agents.network_settings import NetworkSettings
from asla_agents.replay import ReplaySettings
from asla_agents.representation_settings import check_representation_kwargs
from asla_agents.representations import REPRESENTATIONS
from asla_agents.settings_error import explained, one_line
from asla_agents.settings_file import SettingsFileError, read_settings
from asla_env import calculators
from asla_env.ids import check_id, problem_of_id

NONE_IN_WORDS = {"patience": "never", "imagination": False}
"""What stands for None in TOML, which has no such value."""
_OF_NETWORK = ("representation", "representation_kwargs", "network", "state_value")
_GROUPS = ("network", "exploration", "replay", "imagination")
_NOT_BEFORE = ("pretrained", "stop_on_success", "builds_at_once")  # of a search that comes before another


class RunConfig(BaseModel):
    """All that decides a search; the same settings give the same search on the same machine."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, ser_json_inf_nan="constants")

    env_id: str
    """Gymnasium id of the problem; one of your own goes with the module that registers it, such as
    `mine:Benzene-v0`."""
    evaluator: str = calculators.DEFAULT
    """Name of the calculator, or an import path of what makes one, such as `ase.calculators.emt:EMT`."""
    evaluator_settings: dict[str, Any] = {}
    """Settings of the calculator."""
    representation: str = "gaussian"
    """Name of the representation."""
    representation_kwargs: dict[str, Any] = {}
    """Settings of the representation."""
    network: NetworkSettings = NetworkSettings()
    """The layers of the network."""
    state_value: bool = True
    """Whether a value of the unfinished structure is learned beside the Q-map; the agent of the paper has none."""
    episodes: int = Field(default=1000, ge=1)
    """Episodes, each one energy."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of weights, exploration and replay."""
    stop_on_success: bool = False
    """Whether the search ends with the first structure inside the success window."""
    learning_rate: float = Field(default=1e-3, gt=0, le=1)
    """Of the Adam optimiser."""
    batch_size: int = Field(default=32, ge=1)
    """Samples an update."""
    gradient_steps: int = Field(default=10, ge=0)
    """Updates for each episode."""
    builds_at_once: int = Field(default=1, ge=1)
    """Builds that go on together, between which the agent does not learn; their energies are computed at once."""
    max_grad_norm: float = Field(default=10.0, gt=0)
    """The gradient's norm is clipped to this."""
    warmup_episodes: int = Field(default=20, ge=0)
    """Random builds before the first update, and again after each fresh start."""
    patience: int | None = Field(default=4, ge=1)
    """Episodes for each atom to place, but as many as the warm-up at least, in which the lowest energy must fall by 0.1
    eV for each atom, or else the agent starts afresh, with a new warm-up; a third of them, in which it must fall at
    all, if the lowest structure had eight turns to be refined; None, in TOML "never": it never does."""
    exploration: Exploration = Exploration()
    """The modified ε-greedy policy."""
    replay: ReplaySettings = ReplaySettings()
    """How batches are drawn and energies become targets."""
    augment: bool = True
    """Whether symmetries of the problem are learned from: samples are shown under random ones, and mirror images count
    as the same in targets, visits and among the best builds."""
    imagination: ImaginationSettings | None = None
    """Whether and how builds are imagined, and judged by a local energy model, before one of them is paid for; not in
    the paper."""

    pretrained: dict[str, Any] = {}
    """Settings, where they differ from those of this search, of one that comes first and runs to its end, one build at
    a time; of a group such as `exploration` those that are not named stay. This search begins with the network that
    built its best structure, and takes a random one only when it starts afresh; representation, network and number of
    species must be the same. Empty: random weights from the start."""

    @classmethod
    def load(cls, path: Path | str, **changes: Any) -> Self:
        """Read settings from a file.

        Parameters
        ----------
        path
            A TOML or JSON file, the `config.json` of a search, or the directory of a search.
        changes
            Settings that are to be others than in the file.

        Raises
        ------
        SettingsFileError
            If there is no such file, it is damaged, or a setting is unknown, of a wrong type or out of its range. The
            message names file, setting, value and rule.
        OSError
            If the file cannot be read.
        """
        path = Path(path)
        path = path / "config.json" if path.is_dir() else path
        settings = read_settings(path)
        if "settings" in settings:
            settings = _inside(settings, path)
        try:
            return cls(**settings | changes)
        except ValidationError as error:
            lines = [
                line if name.partition(".")[0] in changes else f"{path}: {line}" for name, line in explained(error, cls)
            ]
            raise SettingsFileError("; ".join(lines)) from error

    @field_validator("*", mode="before")
    @classmethod
    def _of_its_kind(cls, value: Any, info: ValidationInfo) -> Any:
        check_kind(cls.model_fields[str(info.field_name)].annotation, value)
        return value

    @field_validator("patience", "imagination", mode="before")
    @classmethod
    def _from_words(cls, value: Any, info: ValidationInfo) -> Any:
        if value is True and info.field_name == "imagination":
            return ImaginationSettings()
        return _none_from_words(str(info.field_name), value)

    @field_validator("pretrained")
    @classmethod
    def _first_from_words(cls, value: dict[str, Any]) -> dict[str, Any]:
        return {name: _none_from_words(name, setting) for name, setting in value.items()}

    @property
    def key(self) -> str:
        """Digest of all settings but the seed."""
        text = json.dumps(self.model_dump(mode="json", exclude={"seed"}), sort_keys=True)
        return blake2b(text.encode(), digest_size=8).hexdigest()

    def before(self) -> "RunConfig | None":
        """Settings of the search that comes first; None if there is none."""
        if not self.pretrained:
            return None
        return self._changed(self.pretrained)

    def _changed(self, changes: Mapping[str, Any]) -> "RunConfig":
        """Settings of a search that comes first; of groups, as `exploration`, what is not named stays."""
        settings = self.model_dump(exclude=set(_NOT_BEFORE))
        named = [name for name in _GROUPS if settings[name] and isinstance(changes.get(name), dict)]
        return RunConfig(**{**settings, **changes, **{name: settings[name] | changes[name] for name in named}})

    @field_validator("pretrained")
    @classmethod
    def _possible_before(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        others_are_right = len(info.data) == len(cls.model_fields) - 1
        if value and others_are_right:
            ours = cls(**{name: setting for name, setting in info.data.items() if name not in _NOT_BEFORE})
            try:
                before = ours._changed(value)
            except ValidationError as error:
                raise ValueError(f"must hold settings of a search: {one_line(error, cls)}") from error
            _check_network_fits(before, info.data)
        return value

    @field_validator("env_id")
    @classmethod
    def _known_id(cls, value: str) -> str:
        check_id(value)
        return value

    @field_validator("evaluator")
    @classmethod
    def _known_calculator(cls, value: str) -> str:
        calculators.check_name(value)
        return value

    @field_validator("evaluator_settings")
    @classmethod
    def _known_settings(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        try:
            calculators.check_settings(info.data.get("evaluator", ""), value)
        except TypeError as error:
            raise ValueError(str(error)) from error  # the kind that pydantic gathers
        return value

    @field_validator("evaluator_settings", "representation_kwargs")
    @classmethod
    def _fits_file(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"must hold what JSON can hold: {error}") from error
        return value

    @field_validator("representation")
    @classmethod
    def _known_representation(cls, value: str) -> str:
        if value not in REPRESENTATIONS:
            raise ValueError(f"must be one of {', '.join(REPRESENTATIONS)}")
        return value

    @field_validator("representation_kwargs")
    @classmethod
    def _known_kwargs(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "representation" in info.data:
            check_representation_kwargs(info.data["representation"], value)
        return value


def _none_from_words(name: str, value: Any) -> Any:
    """A setting, None if what stands for it was given."""
    in_words = NONE_IN_WORDS.get(name)
    return None if in_words is not None and type(value) is type(in_words) and value == in_words else value


def _check_network_fits(before: RunConfig, ours: dict[str, Any]) -> None:
    """Raise ValueError if a search of our settings cannot begin with the network of the one before it."""
    for name in _OF_NETWORK:
        if getattr(before, name) != ours[name]:
            raise ValueError(f"must leave `{name}` out, which is that of this search, as it begins with the network")
    theirs, here = (problem_of_id(env_id).species for env_id in (before.env_id, ours["env_id"]))
    if len(theirs) != len(here):
        raise ValueError(
            f"must have an `env_id` with as many species as this search, {', '.join(here)}, not {', '.join(theirs)}"
        )


def _inside(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """Settings in the `config.json` of a search, which holds other things beside them."""
    if "arms" in content:
        raise SettingsFileError(f"{path} holds a study but must hold a search: `asla study {path}`")
    if not isinstance(content["settings"], dict):
        raise SettingsFileError(f"{path} must hold a table `settings`")
    return content["settings"]
