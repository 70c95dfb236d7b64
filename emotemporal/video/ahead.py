"""Iterate in a thread of its own, a little ahead of whoever takes the items."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from queue import Full, Queue
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")
_LOOK_SECONDS = 0.1


class _End(NamedTuple):
    error: BaseException | None


class ReadAhead(Generic[T]):
    """The items of an iterator, gone through in a thread of its own from now on.

    Worth it where both sides leave Python's lock while they work, as FFmpeg does. An error of the iterator
    comes when its turn is there.

        with ReadAhead(frames, depth=4) as coming:
            for frame in coming:
                ...

    Args:
        items: used by the thread alone; a generator is closed once this is, or used up.
        depth: how many may be waiting, at least 1.
    """

    def __init__(self, items: Iterator[T], *, depth: int) -> None:
        self._items = items
        self._waiting: Queue[T | _End] = Queue(depth)
        self._is_left = threading.Event()
        self._thread = threading.Thread(target=self._work, name="read-ahead", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._is_left.is_set():
            raise StopIteration
        item = self._waiting.get()
        if not isinstance(item, _End):
            return item
        self.close()
        if item.error is not None:
            raise item.error
        raise StopIteration

    def __enter__(self) -> ReadAhead[T]:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop where it is; what is waiting is lost."""
        self._is_left.set()
        self._thread.join()

    def _work(self) -> None:
        end = _End(None)
        try:
            for item in self._items:
                if not self._put(item):
                    break
        except BaseException as error:
            end = _End(error)
        finally:
            if isinstance(self._items, Generator):
                self._items.close()
        self._put(end)

    def _put(self, item: T | _End) -> bool:
        while not self._is_left.is_set():
            try:
                self._waiting.put(item, timeout=_LOOK_SECONDS)
            except Full:
                continue
            return True
        return False
