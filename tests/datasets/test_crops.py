"""The crop store keeps what it is given, whole, in one geometry."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from emotemporal.datasets.clips import ClipItem
from emotemporal.datasets.crops import CropStore, StoredClip
from emotemporal.errors import DataError, OutputError
from emotemporal.structures import CropGeometry, CropSequence

GEOMETRY = CropGeometry(side_px=16)


def some_clip(length: int = 3) -> StoredClip:
    crops = np.random.default_rng(0).integers(0, 256, (length, 16, 16, 3), dtype=np.uint8)
    sequence = CropSequence(2, np.arange(5, 5 + length), np.arange(length) / 25, crops)
    return StoredClip(num_frames=10, num_people=2, crops=sequence)


def item(clip_id: str, tmp_path) -> ClipItem:
    video = tmp_path / f"{clip_id}.mp4"
    video.touch()
    return ClipItem(video, clip_id, "fear", "ann", "train")


def test_round_trip(tmp_path):
    store = CropStore.create(tmp_path / "store", GEOMETRY, {"detector": "x"})
    store.write(item("one", tmp_path), some_clip())
    store.write(item("none", tmp_path), StoredClip(num_frames=7, num_people=0, crops=None))
    rows = store.write_index([item("one", tmp_path), item("none", tmp_path)])
    again = CropStore.open(tmp_path / "store")
    assert again.geometry == GEOMETRY
    assert again.read_index() == rows
    assert [(row.num_frames, row.num_seen, row.num_people) for row in rows] == [(10, 3, 2), (7, 0, 0)]
    found = again.read("one").crops
    np.testing.assert_array_equal(found.crops, some_clip().crops.crops)
    np.testing.assert_array_equal(found.frame_index, [5, 6, 7])
    assert found.track_id == 2
    assert again.read("none").crops is None


def test_going_on_needs_the_same_geometry(tmp_path):
    CropStore.create(tmp_path, GEOMETRY, {})
    CropStore.create(tmp_path, GEOMETRY, {})
    with pytest.raises(DataError, match=r"geometry\.side_px 16 in it, 32 now"):
        CropStore.create(tmp_path, CropGeometry(side_px=32), {})
    with pytest.raises(DataError, match=r"provenance\.detector None in it, x now"):
        CropStore.create(tmp_path, GEOMETRY, {"detector": "x"})


def test_crops_of_another_geometry_than_a_networks_are_refused(tmp_path):
    store = CropStore.create(tmp_path, GEOMETRY, {})
    store.require_geometry(GEOMETRY)
    with pytest.raises(DataError, match="side_px 16, not 48"):
        store.require_geometry(CropGeometry())


def test_another_video_of_the_same_name_is_not_taken_for_it(tmp_path):
    store = CropStore.create(tmp_path / "store", GEOMETRY, {})
    one = item("one", tmp_path)
    assert not store.has(one)
    store.write(one, some_clip())
    assert store.has(one)
    one.path.write_bytes(b"another")
    assert not store.has(one)


def cut_off(data: bytes) -> bytes:
    return data[: len(data) // 2]


def one_bit_in_the_crops(data: bytes) -> bytes:
    position = data.index(some_clip().crops.crops.tobytes()[:64])
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


@pytest.mark.parametrize(
    "damage", [cut_off, one_bit_in_the_crops, lambda data: b"", lambda data: b"\0" * 999]
)
def test_a_damaged_clip_is_named_and_not_taken_for_there(tmp_path, damage):
    store = CropStore.create(tmp_path, GEOMETRY, {})
    one = item("one", tmp_path)
    store.write(one, some_clip())
    file = tmp_path / "clips" / "one.npz"
    file.write_bytes(damage(file.read_bytes()))
    assert not store.has(one)
    with pytest.raises(DataError, match=r"one\.npz: not readable"):
        store.read("one")


def test_the_index_keeps_what_the_data_set_says(tmp_path):
    store = CropStore.create(tmp_path, GEOMETRY, {})
    video = item("one", tmp_path).path
    items = [
        ClipItem(video, "one", "fear", source="take", fields={"intensity": "strong", "note": 'a, "b"'}),
        ClipItem(video, "two", "fear", fields={"level": "low"}),
    ]
    undecodable = ClipItem(tmp_path / os.fsdecode(b"caf\xe9.mp4"), "caf\udce9", "fear")
    undecodable.path.touch()
    items.append(undecodable)
    for entry in items:
        store.write(entry, some_clip())
    store.write_index(items)
    one, two, three = store.read_index()
    assert Path(three.path) == undecodable.path
    assert len(store.read(three.clip_id).crops) == 3
    assert (one.source, one.fields) == ("take", {"intensity": "strong", "note": 'a, "b"', "level": ""})
    assert (two.source, two.fields["level"]) == ("two", "low")


def test_an_index_without_sources_is_still_read(tmp_path):
    store = CropStore.create(tmp_path, GEOMETRY, {})
    header = "clip_id,path,label,subject,split,num_frames,num_seen,num_people"
    (tmp_path / "index.csv").write_text(f"{header}\none,one.mp4,fear,ann,,10,9,1\n")
    (row,) = store.read_index()
    assert (row.source, row.num_seen, row.fields) == ("one", 9, {})
    (tmp_path / "index.csv").write_text(f"{header}\none,one.mp4,fear,ann,,10,9\n")
    with pytest.raises(DataError, match="line 2: malformed"):
        store.read_index()


def test_what_killed_processes_left_is_removed(tmp_path):
    store = CropStore.create(tmp_path, GEOMETRY, {})
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    theirs = tmp_path / "clips" / f".emotemporal-{process.pid}-0a.part.npz"
    ours = tmp_path / "clips" / f".emotemporal-{os.getpid()}-0a.part.npz"
    theirs.touch()
    ours.touch()
    store.remove_abandoned()
    assert not theirs.exists()
    assert ours.exists()


def test_what_is_no_store_is_refused(tmp_path):
    with pytest.raises(DataError, match="not a crop store"):
        CropStore.open(tmp_path)
    CropStore.create(tmp_path, GEOMETRY, {})
    with pytest.raises(DataError, match="finish first"):
        CropStore.open(tmp_path)
    (tmp_path / "store.json").write_text("{")
    with pytest.raises(DataError, match="not readable"):
        CropStore.open(tmp_path)


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "store").write_text("in the way")
    with pytest.raises(OutputError):
        CropStore.create(tmp_path / "store", GEOMETRY, {})
