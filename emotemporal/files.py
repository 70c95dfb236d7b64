"""Files that appear whole or not at all, and folders that one run at a time writes into."""

import fcntl
import json
import os
import secrets
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from emotemporal.errors import OutputError, UsageError

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


class FolderHold:
    """Keeps other processes from running in a folder, until it is released or this process ends.

    The lock is the system's own, of the folder itself: it leaves no file, and goes with a process that is
    killed. A file system without such locks goes without. Within one process holds of a folder are shared.

    Args:
        folder: an existing one.
    Raises:
        UsageError: another process holds it.
    """

    def __init__(self, folder: Path) -> None:
        # A forked child inherits the lock, but is another process.
        key = os.getpid(), folder.resolve()
        found = _held.get(key)
        if found is None:
            found = _held[key] = _Descriptor(folder)
        self._held: _Descriptor | None = found

    def release(self) -> None:
        self._held = None


class _Descriptor:
    """An open and locked folder."""

    def __init__(self, folder: Path) -> None:
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except OSError:
            # What it lacks is said where something is written.
            return
        weakref.finalize(self, os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"{folder}: another run is writing into this folder; wait for its end, or choose another one"
            ) from None
        except OSError:
            pass


_held: weakref.WeakValueDictionary[tuple[int, Path], _Descriptor] = weakref.WeakValueDictionary()


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
    with suppress(OSError, IndexError):
        # One that is dead, but that nobody has waited for; its name, in brackets, may hold anything.
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True
