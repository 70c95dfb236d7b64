"""The private folder of a session, gone when the session is, however that ends."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

_PREFIX = "emotemporal-app-"
_LOCK = "lock"
_UNLOCKED_SECONDS = 60.0
"""A folder is made and then locked: one without a lock is left alone for so long."""


class SessionFolder:
    """A folder that its owner alone can read, below the system's folder for temporary files.

    It is locked while the session lives; the system lifts the lock of one that is killed, and the next
    session removes what that one left.
    """

    def __init__(self) -> None:
        remove_orphans()
        self.path, self._lock = _create()

    def new_folder(self) -> Path:
        """Make a folder within, of a name that says nothing."""
        return Path(tempfile.mkdtemp(dir=self.path))

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)

    def __enter__(self) -> SessionFolder:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def remove_orphans() -> None:
    """Remove the folders of this user's sessions that were killed; those of running ones are locked."""
    with suppress(OSError):
        for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            with suppress(OSError):
                _remove_if_orphan(path)


def _create() -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        descriptor = os.open(path / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another session may have taken it for an orphan just before.
            if os.path.samestat(os.stat(path / _LOCK), os.fstat(descriptor)):
                return path, descriptor
        os.close(descriptor)


def _remove_if_orphan(path: Path) -> None:
    found = path.lstat()
    # Anyone may make anything of such a name in a folder for all.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        return
    try:
        descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        if time.time() - found.st_mtime > _UNLOCKED_SECONDS:
            shutil.rmtree(path, ignore_errors=True)
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (path / _LOCK).unlink()
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(descriptor)


def new_id() -> str:
    """Return a name that nobody guesses."""
    return secrets.token_urlsafe(18)
