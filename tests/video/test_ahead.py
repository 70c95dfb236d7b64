"""What is read ahead comes in order, whole, and lets go of its thread."""

import threading
import time

import pytest

from emotemporal.video.ahead import ReadAhead


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


@pytest.mark.parametrize(("num", "depth"), [(0, 1), (1, 1), (100, 1), (100, 7), (3, 10)])
def test_all_items_come_in_order(num, depth):
    assert list(ReadAhead(iter(range(num)), depth=depth)) == list(range(num))
    assert threads() == []


def test_an_error_comes_after_what_was_before_it():
    def items():
        yield from (1, 2)
        raise OSError("the disk is gone")

    seen = []
    with pytest.raises(OSError, match="the disk is gone"):
        seen.extend(ReadAhead(items(), depth=5))
    found = ReadAhead(items(), depth=5)
    assert [next(found), next(found)] == [1, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(found)
    assert list(found) == []
    assert threads() == []


def test_what_is_left_early_is_closed():
    taken, closed = [], threading.Event()

    def items():
        try:
            for number in range(10**9):
                taken.append(number)
                yield number
        finally:
            closed.set()

    with ReadAhead(items(), depth=2) as found:
        assert next(found) == 0
    assert closed.is_set()
    # The one taken, two that wait, and one that found no place.
    assert len(taken) <= 4
    assert threads() == []


def test_it_goes_ahead_before_anything_is_taken():
    taken = []

    def items():
        for number in range(5):
            taken.append(number)
            yield number

    with ReadAhead(items(), depth=5):
        deadline = time.monotonic() + 10
        while len(taken) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(taken) == 5
