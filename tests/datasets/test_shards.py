"""Shards are whole whatever happens to the processes that write them."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from emotemporal.datasets import shards
from emotemporal.datasets.shards import ShardFolder
from emotemporal.errors import OutputError

# What dies must be a process; it forks before any thread is there.
PROGRAM = """
import os, random, signal, sys, time
from pathlib import Path
import numpy as np
from emotemporal.datasets import shards
from emotemporal.datasets.shards import ShardFolder


def arrays_of(number, length=None):
    rng = np.random.default_rng(number)
    length = 1 + number * 7 % 30 if length is None else length
    return {
        "times": np.sort(rng.random(length)),
        "crops": rng.integers(0, 256, (length, 12, 12, 3), dtype=np.uint8),
    }


def is_whole(folder, clip_id):
    record = folder.find(clip_id)
    if record is None:
        return False
    return all(folder.array(record, name, verify=True) is not None for name in record.arrays)


def fill(path, numbers):
    folder = ShardFolder(path)
    for number in numbers:
        if not is_whole(folder, f"clip{number}"):
            folder.append(f"clip{number}", {"number": number}, arrays_of(number))


def fork(work, *arguments):
    child = os.fork()
    if child == 0:
        work(*arguments)
        os._exit(0)
    return child


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def fill_and_die_at(path, numbers, moment, before):
    # Each clip is brought to disk twice: its arrays, then its line.
    count, to_disk = 0, shards._to_disk

    def counted(stream):
        nonlocal count
        count += 1
        if count == moment and before:
            # Half of what was written has left the buffer.
            stream.flush()
            stream.truncate(stream.tell() - 20)
            die()
        to_disk(stream)
        if count == moment:
            die()

    shards._to_disk = counted
    fill(path, numbers)


def kill_at_every_moment(path):
    for moment in (1, 2, 3, 4, 8):
        for before in (True, False):
            _, status = os.waitpid(fork(fill_and_die_at, path, range(40), moment, before), 0)
            assert os.WTERMSIG(status) == signal.SIGKILL, (moment, before, status)


def kill_at_any_time(path):
    random.seed(0)
    for number in range(12):
        child = fork(fill, path, range(4000))
        # On a slow machine it would be killed before it has begun.
        while sum(journal.stat().st_size > 0 for journal in path.glob("*.journal")) <= number:
            time.sleep(0.001)
        time.sleep(random.uniform(0.0, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def several_at_once(path):
    # Of two clips each, one of them everybody's.
    shards._SHARD_BYTES = 20_000
    children = [fork(fill, path, [*range(first, 60, 4), *range(60, 70)]) for first in range(4)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]))
"""
SPACE = {"__name__": "program"}
exec(PROGRAM, SPACE)
arrays_of, fill = SPACE["arrays_of"], SPACE["fill"]


@pytest.fixture
def run(program, root):
    def run(name: str, folder: Path) -> None:
        environment = os.environ | {"PYTHONPATH": str(root)}
        subprocess.run([sys.executable, str(program), name, str(folder)], env=environment, check=True)

    return run


def numbers_in(folder: ShardFolder, numbers) -> list[int]:
    """Return which clips are there; each must be as it was given."""
    found = []
    for number in numbers:
        record = folder.find(f"clip{number}")
        if record is not None:
            found.append(number)
            assert record.facts == {"number": number}
            for name, expected in arrays_of(number).items():
                array = folder.array(record, name, verify=True)
                assert array.dtype == expected.dtype
                np.testing.assert_array_equal(array, expected)
    return found


def test_what_is_given_comes_back_in_another_process_too(tmp_path):
    folder = ShardFolder(tmp_path)
    fill(tmp_path, range(5))
    folder.append("none", {"some": [1, None]}, {})
    folder.append("empty", {}, {"crops": np.zeros((0, 4, 4, 3), np.uint8)})
    # One sees what it wrote itself, and what else was there when it looked.
    assert numbers_in(folder, range(5)) == list(range(5))
    copy = pickle.loads(pickle.dumps(folder))
    assert copy.find("none").facts == {"some": [1, None]}
    assert copy.find("none").arrays == {}
    assert copy.array(copy.find("empty"), "crops", verify=True).shape == (0, 4, 4, 3)
    copy.append("later", {}, {})
    assert folder.find("later") is None
    folder.refresh()
    assert folder.find("later") is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"000{i}.{suffix}" for i in range(3) for suffix in ("bin", "journal")
    ]


def test_arrays_are_views_that_nobody_can_write(tmp_path):
    fill(tmp_path, range(3))
    folder = ShardFolder(tmp_path)
    data = np.memmap(tmp_path / "0000.bin", np.uint8, "r")
    for number in range(3):
        record = folder.find(f"clip{number}")
        for name in ("times", "crops"):
            array = folder.array(record, name, verify=False)
            assert not array.flags.writeable
            assert array.flags.aligned
            assert record.arrays[name].offset % 64 == 0
            start = record.arrays[name].offset
            np.testing.assert_array_equal(
                array.reshape(-1).view(np.uint8), data[start : start + array.nbytes]
            )
    assert len(folder._maps) == 1


def test_the_later_of_two_counts(tmp_path):
    first, second = ShardFolder(tmp_path), ShardFolder(tmp_path)
    first.append("a", {"version": 1}, {})
    second.append("a", {"version": 2}, {})
    second.append("a", {"version": 3}, {})
    assert ShardFolder(tmp_path).find("a").facts == {"version": 3}


def test_a_full_shard_is_followed_by_another(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_SHARD_BYTES", 30_000)
    fill(tmp_path, range(20))
    files = sorted(tmp_path.glob("*.bin"))
    assert len(files) > 2
    assert all(30_000 <= path.stat().st_size < 30_000 + 13_500 for path in files[:-1])
    assert numbers_in(ShardFolder(tmp_path), range(20)) == list(range(20))


@pytest.mark.parametrize("step", [1, 2])
def test_after_an_error_nothing_is_written_behind_what_it_left(tmp_path, monkeypatch, step):
    folder = ShardFolder(tmp_path)
    folder.append("clip0", {"number": 0}, arrays_of(0))
    steps, to_disk = iter(range(1, 3)), shards._to_disk

    def full(stream):
        if next(steps) == step:
            stream.truncate(max(0, stream.tell() - 5))
            raise OSError(28, "No space left on device")
        to_disk(stream)

    monkeypatch.setattr(shards, "_to_disk", full)
    with pytest.raises(OutputError, match=r"0000\.bin: No space left"):
        folder.append("clip1", {"number": 1}, arrays_of(1))
    assert folder.find("clip1") is None
    monkeypatch.setattr(shards, "_to_disk", to_disk)
    folder.append("clip2", {"number": 2}, arrays_of(2))
    assert folder.find("clip2").shard == "0001"
    assert numbers_in(ShardFolder(tmp_path), range(3)) == [0, 2]


def test_a_journal_cut_off_anywhere_loses_only_the_last_clip(tmp_path):
    fill(tmp_path / "whole", range(3))
    journal = (tmp_path / "whole" / "0000.journal").read_bytes()
    ends = [i + 1 for i, byte in enumerate(journal) if byte == ord("\n")]
    for length in range(0, len(journal), 7):
        cut = shutil.copytree(tmp_path / "whole", tmp_path / f"cut{length}")
        (cut / "0000.journal").write_bytes(journal[:length])
        whole = sum(end <= length for end in ends)
        assert numbers_in(ShardFolder(cut), range(3)) == list(range(whole))
        before = (cut / "0000.bin").stat().st_mtime_ns
        fill(cut, range(3))
        assert numbers_in(ShardFolder(cut), range(3)) == [0, 1, 2]
        assert (cut / "0000.bin").stat().st_mtime_ns == before


def test_a_damaged_line_is_one_clip_less(tmp_path):
    fill(tmp_path, range(3))
    path = tmp_path / "0000.journal"
    journal = path.read_bytes()
    middle = journal.index(b"\n") + 40
    for damage in (bytes([journal[middle] ^ 1]), b"\0", b"\n"):
        path.write_bytes(journal[:middle] + damage + journal[middle + 1 :])
        assert numbers_in(ShardFolder(tmp_path), range(3)) == [0, 2]


@pytest.mark.parametrize("remove", [".bin", ".journal"])
def test_the_name_of_a_shard_that_lost_a_file_is_not_used_again(tmp_path, remove):
    fill(tmp_path, range(3))
    (tmp_path / f"0000{remove}").unlink()
    folder = ShardFolder(tmp_path)
    folder.append("clip1", {"number": 1}, arrays_of(1))
    assert folder.find("clip1").shard == "0001"
    assert numbers_in(ShardFolder(tmp_path), [1]) == [1]


def test_killed_at_every_moment_of_writing(run, tmp_path):
    run("kill_at_every_moment", tmp_path)
    # Dying at its first or second moment leaves at most the clip whose line was complete.
    survived = numbers_in(ShardFolder(tmp_path), range(40))
    assert survived == list(range(len(survived)))
    assert 5 <= len(survived) < 40
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    fill(tmp_path, range(40))
    assert numbers_in(ShardFolder(tmp_path), range(40)) == list(range(40))
    # What was there is not written again: only the new shard has been added.
    assert all(path.read_bytes() == data for path, data in before.items())
    assert len(list(tmp_path.iterdir())) == len(before) + 2


def test_killed_at_any_time(run, tmp_path):
    run("kill_at_any_time", tmp_path)
    survived = numbers_in(ShardFolder(tmp_path), range(4000))
    assert survived == list(range(len(survived)))
    assert survived
    fill(tmp_path, range(len(survived) + 5))
    assert numbers_in(ShardFolder(tmp_path), range(len(survived) + 5)) == list(range(len(survived) + 5))


def test_several_processes_at_once(run, tmp_path):
    run("several_at_once", tmp_path)
    assert numbers_in(ShardFolder(tmp_path), range(70)) == list(range(70))
    lines = {path.stem: path.read_bytes().count(b"\n") for path in tmp_path.glob("*.journal")}
    assert len(lines) >= 8
    # Everybody wrote what was everybody's, at most.
    assert 70 <= sum(lines.values()) <= 100


LIES = {
    "longer than the file": [0, "|u1", [10**12], 0],
    "an overflow": [0, "<f8", [2**40, 2**40], 0],
    "a negative place": [-8, "|u1", [4], 0],
    "two negative sides": [0, "|u1", [-2, -2], 0],
    "a long type": [0, "|S1000000000000", [0], 0],
    "objects": [0, "|O", [1], 0],
    "no numbers": [0, "|u1", ["4"], 0],
    "no type": [0, "import os", [4], 0],
    "too few cells": [0],
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_journal_that_lies_gives_nothing(tmp_path, lie):
    folder = ShardFolder(tmp_path)
    folder.append("clip", {}, {"crops": np.arange(8, dtype=np.uint8)})
    text = json.dumps({"clip_id": "lie", "facts": {}, "arrays": {"crops": lie}}).encode()
    with (tmp_path / "0000.journal").open("ab") as stream:
        stream.write(b"%08x %s\n" % (zlib.crc32(text), text))
    again = ShardFolder(tmp_path)
    record = again.find("lie")
    if record is not None:
        with pytest.raises(ValueError, match=r"0000\.bin: 8 bytes, expected at least"):
            again.array(record, "crops", verify=False)
    assert again.array(again.find("clip"), "crops", verify=True).tolist() == list(range(8))


@pytest.mark.parametrize(
    "text", [b"[1]", b"{}", b"7", b'{"clip_id": "a", "facts": {}, "arrays": 3}', b"[" * 100_000]
)
def test_a_whole_line_of_another_program_gives_nothing(tmp_path, text):
    (tmp_path / "0000.journal").write_bytes(b"%08x %s\n" % (zlib.crc32(text), text))
    assert ShardFolder(tmp_path).find("a") is None
