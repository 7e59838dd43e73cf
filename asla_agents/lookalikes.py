"""What looks like a number and is none: pydantic would take `true` for 1 and "3" for 3."""

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any, get_args, get_type_hints


def check_kind(annotation: Any, value: Any) -> None:
    """Raise ValueError if text or a truth value stands where a number is wanted, or the other way round.

    Parameters
    ----------
    annotation
        Type of a setting; a dataclass stands for the settings that it groups.
    value
        The setting, or by their names those of the group.
    """
    for group in filter(is_dataclass, (annotation, *get_args(annotation))):
        hints = get_type_hints(group)
        for name, inner in value.items() if isinstance(value, Mapping) else ():
            if rule := _broken(hints.get(name), inner):
                raise ValueError(f"`{name}` is {inner!r} but {rule}")
    if rule := _broken(annotation, value):
        raise ValueError(rule)


def _broken(annotation: Any, value: Any) -> str | None:
    """Which rule a value breaks, None if none that is looked at here."""
    kinds = {annotation, *get_args(annotation)}
    if kinds & {int, float}:
        values = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(part, bool | str | bytes) for part in values):
            return "must be a whole number" if float not in kinds else "must be a number"
    if bool in kinds and not isinstance(value, bool):
        return "must be true or false"
    return None
