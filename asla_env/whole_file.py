"""Files that are either the old ones or the new ones, never halves."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PARTIAL = ".partial"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a file beside the one that it replaces when it is whole, even if the disk is full or the power fails.

    Of several processes that write it, the last one to end has written it. What is no file, such as a device, is
    written in place.

    Parameters
    ----------
    path
        The file. Of a link, what it points to.

    Yields
    ------
    Path
        What to write; its ending is that of `path`.

    Raises
    ------
    OSError
        If it cannot be written, by the name that was given; what was there before is still there then, and nothing
        else.
    """
    asked, path = path, path.resolve()
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(asked))
    if path.exists() and not path.is_file():
        yield path
        return
    partial = path.with_name(f"{path.stem}.{os.getpid()}{_PARTIAL}{path.suffix}")
    try:
        yield partial
        _sync(partial, os.O_RDWR)
        partial.replace(path)
    except BaseException as error:
        with suppress(OSError):  # there is none, or no directory for it
            partial.unlink()
        if isinstance(error, OSError) and str(error.filename) == str(partial):
            error.filename = str(asked)
        raise
    if os.name == "posix":  # so that the new name of a file outlives a power failure, where the system can
        _sync(path.parent, os.O_RDONLY)


def remove_partial_files(directory: Path) -> None:
    """Remove what killed processes left of `whole_file` in a directory, where no other process writes."""
    for path in directory.glob(f"*{_PARTIAL}*"):
        if is_partial(path):
            path.unlink(missing_ok=True)


def is_partial(path: Path) -> bool:
    """Whether a file is one that `whole_file` has not finished yet, or never will."""
    return _PARTIAL in path.suffixes[-2:]


def _sync(path: Path, flags: int) -> None:
    """Make sure that a file or directory is on the disk."""
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
