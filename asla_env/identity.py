"""What is the same thing in every process: import paths, versions and digests."""

import json
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from hashlib import blake2b
from importlib import import_module
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np


def resolve(path: str) -> Any:
    """Import what an import path `module:attribute` stands for.

    Raises
    ------
    ImportError
        If the module cannot be imported, or has no such attribute.
    """
    module, _, attribute = path.partition(":")
    try:
        imported = import_module(module)
    except Exception as error:  # a module may raise what it likes
        cause = f"{type(error).__name__}: {error}"
        raise ImportError(f"`calculator` is {path!r} but {module!r} cannot be imported: {cause}") from error
    try:
        return attrgetter(attribute)(imported)
    except AttributeError as error:
        raise ImportError(f"`calculator` is {path!r} but {module!r} has no {attribute!r}") from error


def import_path(thing: Any) -> str | None:
    """Import path from which every process gets a function or a class; None if there is none, as for lambdas."""
    module, attribute = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if not module or not attribute or module == "__main__":
        return None
    path = f"{module}:{attribute}"
    try:
        return path if resolve(path) is thing else None
    except ImportError:
        return None


def installed_version(library: str) -> str | None:
    """Version of an installed library, None if it is not installed."""
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def versions_of_module(module: str) -> dict[str, str | None]:
    """Versions of the libraries that hold a module; for a file outside of any, a digest of what it says."""
    libraries = packages_distributions().get(module.partition(".")[0], [])
    if libraries:
        return {library: installed_version(library) for library in sorted(set(libraries))}
    file = getattr(import_module(module), "__file__", None)
    return {module: content(Path(file)) if file else None}


@lru_cache(maxsize=128)
def versions_as_imported(made_by: Any, module: str) -> Mapping[str, str | None]:
    """What `versions_of_module` was when something of the module was first asked about.

    A file that is edited later is not what this process has imported; after `importlib.reload`, `made_by` is another.
    """
    return MappingProxyType(versions_of_module(module))


def content(*files: Path) -> str:
    """Digest of names and contents of files."""
    hashed = blake2b(digest_size=16)
    for file in files:
        data = file.read_bytes()
        hashed.update(f"{file.name} {len(data)} ".encode() + data)
    return hashed.hexdigest()


def files_in(values: Any) -> list[Path]:
    """Existing files that a string, or those in lists and mappings, are the paths of."""
    if isinstance(values, str):
        with suppress(OSError, ValueError):  # too long for a name, or with a null in it
            return [Path(values)] if Path(values).is_file() else []
    if isinstance(values, Mapping):
        values = list(values.values())
    return [file for value in values for file in files_in(value)] if isinstance(values, list | tuple) else []


def digest(parts: Mapping[str, Any]) -> str | None:
    """Digest of what JSON can say, in which 300 and 300.0 are the same; None if JSON cannot say it."""
    try:
        text = json.dumps(_plain(parts), sort_keys=True)
    except (TypeError, ValueError):
        return None
    return blake2b(text.encode(), digest_size=16).hexdigest()


def _plain(value: Any) -> Any:
    """The value with whole floats as integers, those of numpy as Python's, and names of which JSON makes no others."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {
            name if isinstance(name, str) else f"{type(name).__name__} {name!r}": _plain(part)
            for name, part in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
