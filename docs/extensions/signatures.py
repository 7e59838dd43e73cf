"""Arguments, defaults and meanings, read off classes of this project: what the tables of the site are made of."""

import inspect
import re
from collections.abc import Container
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

Row = tuple[tuple[str, ...], tuple[str, ...], str]
"""Arguments that are described together, their defaults as Python writes them, what they mean."""


def rows(described: type[Any], without: Container[str] = ()) -> list[Row]:
    """Rows for the arguments of a class that have a default, in the order of its docstring.

    Parameters
    ----------
    described
        The class.
    without
        Arguments to leave out.

    Raises
    ------
    ValueError
        If the docstring lacks one of them.
    """
    defaults = {name: default for name, default in _defaults(described).items() if name not in without}
    found = []
    for together, meaning in parameters(inspect.getdoc(described) or "").items():
        names = tuple(name for name in together if name in defaults)
        if names:
            found.append((names, tuple(defaults.pop(name) for name in names), meaning))
    if defaults:
        raise ValueError(f"`{described.__name__}` has no description of {', '.join(defaults)}")
    return found


def parameters(docstring: str) -> dict[tuple[str, ...], str]:
    """Description, on one line, of the arguments in the numpydoc section `Parameters` of a docstring."""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=\n\n\w+\n-+\n|\Z)", docstring, flags=re.DOTALL | re.MULTILINE)
    found = {}
    for entry in re.split(r"\n(?=\S)", section.group(1)) if section else []:
        head, _, text = entry.partition("\n")
        found[tuple(head.partition(" : ")[0].split(", "))] = " ".join(text.split())
    return found


def _defaults(described: type[Any]) -> dict[str, str]:
    """Defaults of the arguments that have one, as Python writes them; a default that is an object, by its class."""
    if is_dataclass(described):
        return {f.name: _written(f.default) for f in fields(described) if f.default is not MISSING}
    arguments = inspect.signature(described).parameters.values()
    return {a.name: _written(a.default) for a in arguments if a.default is not inspect.Parameter.empty}


def _written(default: Any) -> str:
    """How a default is shown: numbers of a sequence to four digits."""
    if is_dataclass(default):
        return f"{type(default).__name__}()"
    if isinstance(default, tuple):
        return f"({', '.join(map(_written, default))})"
    if isinstance(default, float):
        return repr(float(f"{default:.4g}"))
    return default.__name__ if isinstance(default, type) else repr(default)
