"""Checkpoints: JSON and tensors in one file, which is whole or not there, and of which nothing is ever executed."""

import io
import json
import zipfile
import zlib
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch

from asla_env.whole_file import whole_file

_FORMAT, _VERSION = "asla-checkpoint", 7
_PLAIN, _TENSORS = "state.json", "tensors.pt"


class CheckpointError(ValueError):
    """A file is not a checkpoint that fits."""


class State(NamedTuple):
    """What a checkpoint holds."""

    plain: dict[str, Any]
    """What JSON can hold: numbers, text, lists and dictionaries."""
    tensors: dict[str, Any]
    """Nested dictionaries and lists of tensors and numbers, as of weights and optimisers."""


def fits_json(value: Any) -> bool:
    """Whether the plain part of a checkpoint can hold a value."""
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True


def write_checkpoint(path: Path, state: State) -> None:
    """Write a checkpoint so that the file is either the old one or the new one, even if the power fails.

    As in Stable-Baselines3, a name without an ending gets ``.zip``, and directories that are missing are made.

    Raises
    ------
    OSError
        If it cannot be written; what was there before is still there then.
    """
    path = _with_ending(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_PLAIN, json.dumps({"format": _FORMAT, "version": _VERSION, **state.plain}))
        tensors = io.BytesIO()
        torch.save(state.tensors, tensors)
        archive.writestr(_TENSORS, tensors.getvalue(), zipfile.ZIP_STORED)


def read_checkpoint(path: Path) -> State:
    """Read a checkpoint; tensors are read with ``weights_only``, and no code in the file is run.

    If there is no file of a name without an ending, the one that ends in ``.zip`` is read.

    Raises
    ------
    CheckpointError
        If the file is cut off, damaged, or something else.
    OSError
        If it cannot be read.
    """
    content = (path if path.exists() else _with_ending(path)).read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            plain = json.loads(archive.read(_PLAIN))
            tensors = torch.load(io.BytesIO(archive.read(_TENSORS)), map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, zlib.error, UnpicklingError, KeyError, ValueError, RuntimeError, EOFError) as error:
        raise CheckpointError(
            f"`path` is {path} but must be a whole checkpoint of ASLA ({_first_line(error)})"
        ) from error
    if not isinstance(plain, dict) or plain.get("format") != _FORMAT or not isinstance(tensors, dict):
        raise CheckpointError(f"`path` is {path} but must be a checkpoint of ASLA")
    if plain.get("version") != _VERSION:
        raise CheckpointError(f"`path` is {path} of version {plain.get('version')} but must be of version {_VERSION}")
    return State(plain, tensors)


def _with_ending(path: Path) -> Path:
    """The name of a checkpoint's file."""
    return path if path.suffix else path.with_suffix(".zip")


def _first_line(error: Exception) -> str:
    """What went wrong, in one line."""
    return f"{type(error).__name__}: {error}".splitlines()[0]
