"""Files of rows, a line of JSON each, that are appended to and outlive the death of who writes them."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

Row = dict[str, Any]


@contextmanager
def appended(path: Path) -> Iterator[Callable[[Row], None]]:
    """Append rows to a file, each for good.

    Parameters
    ----------
    path
        The file, which is made if it is not there; its end is mended first.

    Raises
    ------
    ValueError
        As `mend_end`.
    """
    mend_end(path)
    with path.open("a", encoding="utf-8") as file:

        def append(row: Row) -> None:
            """Write a row, and wait until it is on the disk."""
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())

        yield append


def mend_end(path: Path) -> None:
    """Cut off the rest of a row that was being written when a process died; a whole one gets the end of its line.

    Raises
    ------
    ValueError
        If the file ends with something else, which is left as it is.
    """
    content = path.read_bytes() if path.exists() else b""
    start = content.rfind(b"\n") + 1
    last = content[start:]
    if last and not last.startswith(b"{"):
        raise ValueError(f"{path} ends with {last[:40]!r} but must hold rows, a line of JSON each")
    if _is_json(last):
        with path.open("ab") as file:
            file.write(b"\n")
    elif last:
        os.truncate(path, start)


def _is_json(text: bytes) -> bool:
    """Whether it is JSON, from its beginning to its end."""
    with suppress(ValueError):
        json.loads(text)
        return True
    return False
