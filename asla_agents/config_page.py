"""The page on all settings of a search: docs/configuration.md."""

import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import partial
from math import nan
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from gymnasium.spaces import MultiBinary
from pydantic.fields import FieldInfo

from asla_agents.config import RunConfig
from asla_agents.config_toml import group_of, meanings_of, toml_value
from asla_agents.drawing import Representation
from asla_agents.randomness import torch_seeded
from asla_agents.representation_settings import representation_settings
from asla_agents.representations import REPRESENTATIONS
from asla_env import IDS, calculators
from asla_env.grid import Grid

_CHOICES = {
    "env_id": (*IDS, "module:id"),
    "evaluator": (*calculators.names(), "module:attribute"),
    "representation": REPRESENTATIONS,
}
_BOUNDS = (("ge", "at least"), ("gt", "above"), ("lt", "below"), ("le", "at most"))
_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", NoneType: '"never"'}
_HEAD = "| setting | type | default | range | meaning |\n|---|---|---|---|---|\n"
_GRID = Grid((3, 3), (1.0, 1.0), (True, True))
_INTRODUCTION = """\
# Settings of a search

`asla config > search.toml` writes a file of all settings to start from, `asla search --config search.toml` searches
with it. Options on the command line go before the file, the file before the defaults. The file may be TOML or JSON, the
`config.json` of a search or its directory; it need not name every setting. `asla config FILE` prints the settings of a
file with all defaults. In Python, `RunConfig.load("search.toml")` reads one.

An unknown setting, or one out of its range, is answered by its name and the rule, before anything is written:

```
$ asla search ASLA-GrapheneMini-v0 --config search.toml
error: search.toml: `exploration.epsilon` is 2.0 but must lie in [0, 1]
```

`asla study` takes the same settings, and TOML or JSON too. `asla config --markdown` prints this page.

## All settings

"""
_KWARGS = """
## `representation_kwargs`

What a representation draws atoms with; Δ is the grid spacing.
"""


def settings_page() -> str:
    """Write all settings in Markdown, with type, default, range and meaning."""
    parts = [_INTRODUCTION, _HEAD]
    for name, field in RunConfig.model_fields.items():
        cells = _type_of(name, field.annotation), _default(field), _range_of(name, field)
        parts.append(_row(name, *cells, str(field.description)))
    for name, field in RunConfig.model_fields.items():
        group = group_of(field.annotation)
        if group is not None:
            parts += [f"\n## `{name}`\n\n{' '.join(str(field.description).split())}\n\n", _HEAD, *_rows_of(group)]
    parts.append(_KWARGS)
    for representation in REPRESENTATIONS:
        rows = _rows_of_representation(representation)
        parts += [f"\n### `{representation}`\n\n", *([_HEAD, *rows] if rows else ["It has none.\n"])]
    return "".join(parts)


def _rows_of(group: Any) -> list[str]:
    """A row for each setting of a group."""
    hints, meanings, defaults = get_type_hints(group), meanings_of(group), group()
    return [
        _row(
            field.name,
            _type(hints[field.name]),
            _plain(getattr(defaults, field.name)),
            _rule(group, field.name),
            meanings[field.name],
        )
        for field in fields(group)
    ]


def _rows_of_representation(name: str) -> list[str]:
    """A row for each setting of a representation."""
    made, shared = partial(REPRESENTATIONS[name], MultiBinary([1, *_GRID.shape]), _GRID), meanings_of(Representation)
    meanings = {
        key: shared[key] if meaning.startswith("As for `Representation`") else meaning
        for key, meaning in meanings_of(REPRESENTATIONS[name]).items()
    }
    with torch_seeded(0):
        return [
            _row(key, _type(field.annotation), _plain(field.default), _rule(made, key), meanings[key])
            for key, field in representation_settings(name).model_fields.items()
        ]


def _row(*cells: str) -> str:
    name, *others = (" ".join(cell.split()).replace("|", "\\|") for cell in cells)
    return f"| `{name}` | {' | '.join(others)} |\n"


def _rule(make: Callable[..., Any], name: str) -> str:
    """What an error says that a setting must be."""
    for wrong in (nan, "", -1):
        try:
            make(**{name: wrong})
        except (TypeError, ValueError) as error:
            rule = str(error).partition(" but must ")[2]
            if rule:
                return re.sub("^(be|hold|lie) ", "", rule)
    return ""


def _range_of(name: str, field: FieldInfo) -> str:
    """Range of a setting of its own."""
    if name in _CHOICES:
        return "one of " + ", ".join(f"`{choice}`" for choice in _CHOICES[name])
    metadata = field.metadata
    bounds = [f"{word} {getattr(rule, kind)}" for rule in metadata for kind, word in _BOUNDS if hasattr(rule, kind)]
    return ", ".join(bounds + ["finite" for rule in metadata if getattr(rule, "allow_inf_nan", True) is False])


def _default(field: FieldInfo) -> str:
    """Default of a setting; that of a group is in a table of its own."""
    if field.is_required():
        return "none: it must be given"
    if group_of(field.annotation) is not None:
        return "off" if field.default is None else "see below"
    return _plain(field.default)


def _plain(value: Any) -> str:
    """A default as it would stand in a file."""
    if isinstance(value, tuple) and all(isinstance(part, float) for part in value):
        return f"`[{', '.join(f'{part:.4g}' for part in value)}]`"
    return f"`{toml_value(value, 'default')}`"


def _type_of(name: str, annotation: Any) -> str:
    """Type of a setting of its own in words; one may be switched on and off."""
    return "table, or true or false" if name == "imagination" else _type(annotation)


def _type(annotation: Any) -> str:
    """A type in words."""
    if annotation in _WORDS:
        return _WORDS[annotation]
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return " or ".join(_type(kind) for kind in inner)
    if origin is dict or is_dataclass(annotation):
        return "table"
    if origin is tuple and Ellipsis not in inner:
        return f"lists of {', '.join(map(_type, inner))}"
    part = _type(inner[0])
    return f"list of {part}" if part.startswith("list") else f"list of {part}s"
