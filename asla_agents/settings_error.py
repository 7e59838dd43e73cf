"""What is said of settings that a model refuses: for each its name, its value and the rule, in one line."""

import re
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

_MOST_SHOWN = 60  # characters of a value
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")


def explained(error: ValidationError, model: type[BaseModel]) -> list[tuple[str, str]]:
    """Name of each setting that was refused, such as `exploration.epsilon`, and the line that says why.

    Parameters
    ----------
    error
        What the model raised.
    model
        The model.
    """
    return [
        _explained(details["type"], details["loc"], details["msg"], details["input"], model)
        for details in error.errors()
    ]


def one_line(error: ValidationError, model: type[BaseModel]) -> str:
    """All that is wrong, in one line."""
    return "; ".join(line for _, line in explained(error, model))


def names_in(annotation: Any) -> tuple[str, ...]:
    """Names of the settings that an annotation groups, such as those of ``Exploration | None``."""
    kinds = [kind for kind in (annotation, *get_args(annotation)) if is_dataclass(kind)]
    return tuple(field.name for kind in kinds for field in fields(kind))


def _explained(
    kind: str, place: tuple[int | str, ...], rule: str, value: Any, model: type[BaseModel]
) -> tuple[str, str]:
    """Name of a setting, and what is wrong with it."""
    name = ".".join(map(str, place))
    if kind in _UNKNOWN:
        return name, f"`{name}` is no setting {_remedy(place, model)}"
    if kind == "missing":
        return name, f"`{name}` is missing but must be given"
    inner = re.match(r"Value error, `([\w. +]+)` is (.*)", rule, flags=re.DOTALL)
    if inner and _is_group(place[0], model):  # one of the group's settings says what is wrong with it
        return f"{name}.{inner[1]}", f"`{name}.{inner[1]}` is {inner[2]}"
    return name, f"`{name}` is {_shown(value)} but {_rule(rule)}"


def _rule(message: str) -> str:
    """What a setting must fulfil, from what a validator said."""
    text = re.sub(r"^Value error, ", "", message)
    text = re.sub(r"^Input should be ", "must be ", text)
    text = re.sub(r"^\w+ should have ", "must have ", text)
    if text.startswith("`") and " but " in text:  # by the name that the setting has elsewhere
        return text.partition(" but ")[2]
    return text


def _is_group(name: int | str, model: type[BaseModel]) -> bool:
    """Whether a setting of a model holds settings of its own."""
    annotation = model.model_fields[str(name)].annotation
    return bool(names_in(annotation)) or get_origin(annotation) is dict


def _known(place: Iterable[int | str], model: type[BaseModel]) -> tuple[str, ...]:
    """Settings beside which, or in which, a place lies."""
    first, *inside = place
    if not inside and str(first) not in model.model_fields:
        return tuple(model.model_fields)
    field = model.model_fields.get(str(first))
    return names_in(field.annotation) if field else ()


def _remedy(place: tuple[int | str, ...], model: type[BaseModel]) -> str:
    """Which settings there are."""
    known = _known(place, model)
    close = get_close_matches(str(place[-1]), known, n=1)
    if close:
        return f"but must be one of those that there are: did you mean `{'.'.join([*map(str, place[:-1]), close[0]])}`?"
    return f"but must be one of {', '.join(known)}" if known else "but must be one of those that there are"


def _shown(value: Any) -> str:
    """A value, its middle left out if it is long."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of thousands of digits
        return f"a {type(value).__name__} too long to show"
    half = _MOST_SHOWN // 2
    return text if len(text) <= _MOST_SHOWN else f"{text[:half]} ... {text[-half:]}"
