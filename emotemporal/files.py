"""Files that appear whole or not at all."""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emotemporal.errors import OutputError

_PREFIX = ".emotemporal-"


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path` that takes its place when the block ends without an error.

    Raises:
        OutputError: the operating system refuses any step; `path` is then as it was before.
    """
    path = Path(path)
    # Beside it, since renaming is atomic only within one file system; of its own short name, since that
    # of the target may leave no room for more; of the same suffix, since some writers go by it.
    temporary = path.parent / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}.part{path.suffix}"
    try:
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def save_json(path: Path, document: Any) -> None:
    """Write a document for people to read, too, whole or not at all; see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(document, indent=2) + "\n")


def remove_abandoned(folder: Path) -> None:
    """Delete temporary files of `replacing` whose process on this machine is no more."""
    for path in folder.glob(f"{_PREFIX}*.part*"):
        process = path.name.removeprefix(_PREFIX).partition("-")[0]
        if process.isdecimal() and not _is_alive(int(process)):
            path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True
