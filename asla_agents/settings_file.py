"""Settings in a file, TOML or JSON; what is wrong with the file is one line that names it, the place and the rule."""

import json
import tomllib
from collections.abc import Iterable
from datetime import date, time
from pathlib import Path
from typing import Any

_MOST_BYTES = 1 << 20
_MOST_BITS = 1000  # a number with more cannot always be written again
_KINDS = (".toml", ".json")


class SettingsFileError(ValueError):
    """A file does not hold settings that can be used."""


def read_settings(path: Path) -> dict[str, Any]:
    """Read a TOML or JSON file, by its ending.

    Parameters
    ----------
    path
        The file, of UTF-8 text.

    Raises
    ------
    SettingsFileError
        If it is not there, too large, no text, damaged, names a setting twice, or holds a date
        or a number of hundreds of digits.
    OSError
        If it cannot be read.
    """
    kind = path.suffix.lower()
    if kind not in _KINDS:
        raise SettingsFileError(f"`path` is {path} but must end in {' or '.join(_KINDS)}")
    text = _text_of(path)
    try:
        settings = tomllib.loads(text) if kind == ".toml" else _from_json(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsFileError(f"{path} must be TOML: {error}") from error
    except json.JSONDecodeError as error:
        raise SettingsFileError(f"{path} must be JSON: {error.msg} (at line {error.lineno})") from error
    except RecursionError as error:
        raise SettingsFileError(f"{path} holds lists or tables that are nested too deep") from error
    except ValueError as error:  # a number of thousands of digits, a key that is there twice
        raise SettingsFileError(f"{path}: {error}") from error
    if not isinstance(settings, dict):
        raise SettingsFileError(f"{path} must hold a JSON object, settings by name")
    for name, value in _leaves(settings):
        if isinstance(value, date | time):
            raise SettingsFileError(f"{path}: `{name}` is {value} but must not be a date or a time")
        if isinstance(value, int) and value.bit_length() > _MOST_BITS:
            raise SettingsFileError(
                f"{path}: `{name}` has {value.bit_length()} bits but must have at most {_MOST_BITS}"
            )
    return settings


def _text_of(path: Path) -> str:
    """Text of a file of decent size."""
    if not path.is_file():
        raise SettingsFileError(f"`path` is {path} but must be a file: there is none")
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise SettingsFileError(f"{path} is larger than {_MOST_BYTES} bytes but must hold settings only")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SettingsFileError(f"{path}, line {line}, must be text in UTF-8") from error


def _from_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_named_once)


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, in which each name is to stand once."""
    settings = dict(pairs)
    if len(settings) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"`{twice}` is there twice but must be there once")
    return settings


def _leaves(value: Any, name: str = "") -> Iterable[tuple[str, Any]]:
    """Values that hold no others, by their dotted names."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if inner is None:
        yield name, value
        return
    for key, part in inner:
        yield from _leaves(part, f"{name}.{key}" if name else str(key))
