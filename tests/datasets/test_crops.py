"""The crop store keeps what it is given, whole, in one geometry."""

import numpy as np
import pytest

from emotemporal.datasets.crops import CropStore, StoredClip
from emotemporal.datasets.manifest import ClipItem
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
    with pytest.raises(DataError, match="another geometry"):
        CropStore.create(tmp_path, CropGeometry(side_px=32), {})


def test_another_video_of_the_same_name_is_not_taken_for_it(tmp_path):
    store = CropStore.create(tmp_path / "store", GEOMETRY, {})
    one = item("one", tmp_path)
    assert not store.has(one)
    store.write(one, some_clip())
    assert store.has(one)
    one.path.write_bytes(b"another")
    assert not store.has(one)


def test_a_damaged_clip_is_named(tmp_path):
    store = CropStore.create(tmp_path, GEOMETRY, {})
    store.write(item("one", tmp_path), some_clip())
    file = tmp_path / "clips" / "one.npz"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DataError, match=r"one\.npz: not readable"):
        store.read("one")


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
