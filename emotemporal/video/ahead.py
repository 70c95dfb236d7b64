"""Iterate in a thread of its own, a little ahead of whoever takes the items."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from queue import Full, Queue
from typing import NamedTuple, TypeVar

T = TypeVar("T")
_LOOK_SECONDS = 0.1


class _End(NamedTuple):
    error: BaseException | None


def read_ahead(items: Iterator[T], *, depth: int) -> Generator[T, None, None]:
    """Yield the items of an iterator that is gone through in another thread.

    Worth it where both sides leave Python's lock while they work, as FFmpeg does. An error of the iterator
    comes when its turn is there. Close the generator when it is not used up: the iterator, if it is a
    generator, is closed by then.

    Args:
        items: used by the thread alone from now on.
        depth: how many may be waiting, at least 1.
    """
    waiting: Queue[T | _End] = Queue(depth)
    is_left = threading.Event()

    def put(item: T | _End) -> bool:
        while not is_left.is_set():
            try:
                waiting.put(item, timeout=_LOOK_SECONDS)
            except Full:
                continue
            return True
        return False

    def work() -> None:
        end = _End(None)
        try:
            for item in items:
                if not put(item):
                    break
        except BaseException as error:
            end = _End(error)
        finally:
            if isinstance(items, Generator):
                items.close()
        put(end)

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        while not isinstance(item := waiting.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        is_left.set()
        thread.join()
