"""Settings of a search as a TOML file in which each says what it means."""

import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import is_dataclass
from textwrap import wrap
from typing import Any, get_args

from asla_agents.config import NONE_IN_WORDS, RunConfig

_WIDTH = 118


def to_toml(config: RunConfig) -> str:
    """Write settings as TOML, each with what it means; `RunConfig.load` reads them.

    Parameters
    ----------
    config
        The settings.

    Raises
    ------
    ValueError
        If a setting of the calculator or of the representation is None, or holds it, which TOML cannot.
    """
    values, lines = config.model_dump(), list[str]()
    in_words = _in_words(values) | {"pretrained": _in_words(values["pretrained"])}
    groups = {name: group_of(field.annotation) for name, field in RunConfig.model_fields.items()}
    for name, group in groups.items():
        if group is None:
            lines += [*_comment(_meaning(name)), f"{name} = {toml_value(in_words[name], name)}", ""]
    for name, group in groups.items():
        if group is not None:
            lines += [*_comment(_meaning(name)), *_table(name, group, values[name]), ""]
    return "\n".join(lines)


def toml_value(value: Any, name: str) -> str:
    """Write a value on one line.

    Parameters
    ----------
    value
        What JSON can hold, with tuples for lists.
    name
        What an error calls it.

    Raises
    ------
    ValueError
        If it is None, or holds it, which TOML cannot.
    """
    if value is None:
        raise ValueError(f"`{name}` is None but TOML has no such value: write the settings as JSON")
    if isinstance(value, Mapping):
        inner = (f"{_key(key)} = {toml_value(part, f'{name}.{key}')}" for key, part in value.items())
        return "{" + ", ".join(inner) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(part, f"{name}.{i}") for i, part in enumerate(value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return _text(value) if isinstance(value, str) else repr(value)


def group_of(annotation: Any) -> Any:
    """Dataclass of the settings that a setting groups; None if it groups none."""
    return next((kind for kind in (annotation, *get_args(annotation)) if is_dataclass(kind)), None)


def meanings_of(group: type) -> dict[str, str]:
    """What the docstring of a class says of each of its parameters, by name, on one line."""
    section = str(inspect.getdoc(group)).partition("Parameters\n----------\n")[2].partition("\n\n")[0]
    meanings, names = dict[str, str](), list[str]()
    for line in section.splitlines():
        if not line.startswith(" "):
            names = line.split(", ")
            continue
        for name in names:
            meanings[name] = f"{meanings.get(name, '')} {line.strip()}".strip().replace("``", "`")
    return meanings


def _in_words(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a search, of which those that may be None are said in words."""
    return {name: NONE_IN_WORDS.get(name) if value is None else value for name, value in settings.items()}


def _meaning(name: str) -> str:
    """What a setting of its own, or a group of them, means."""
    return str(RunConfig.model_fields[name].description)


def _table(name: str, group: Any, values: Mapping[str, Any] | None) -> list[str]:
    """Lines of a group of settings; those of one that is switched off are comments."""
    meanings, said, off = meanings_of(group), "", "" if values is not None else "# "
    lines = [f"{off}[{name}]"]
    for inner, value in (vars(group()) if values is None else values).items():
        lines += _comment(meanings[inner]) if meanings[inner] != said else []
        lines.append(f"{off}{inner} = {toml_value(value, f'{name}.{inner}')}")
        said = meanings[inner]
    return lines


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in wrap(" ".join(text.split()), _WIDTH)]


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _text(key)


def _text(text: str) -> str:
    """Text in quotes; TOML escapes what JSON does, and one character more."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
