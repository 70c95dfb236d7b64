"""The crop store keeps what it is given, whole, in one geometry."""

import json
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
    file = tmp_path / "shards" / "0000.bin"
    file.write_bytes(damage(file.read_bytes()))
    assert not store.has(one)
    with pytest.raises(DataError, match="clip one is not readable"):
        store.read("one")
    store.write(one, some_clip())
    assert store.has(one)
    # In a shard of its own or not: whoever looks next finds the new one.
    assert CropStore.create(tmp_path, GEOMETRY, {}).has(one)


def test_a_clip_that_is_not_there_is_named(tmp_path):
    store = CropStore.create(tmp_path, GEOMETRY, {})
    for look in (store.read, store.digest):
        with pytest.raises(DataError, match="clip one is not in it; run extract_faces again"):
            look("one")


def test_frames_are_read_without_the_others(tmp_path):
    store = CropStore.create(tmp_path, GEOMETRY, {})
    one = item("one", tmp_path)
    store.write(one, some_clip(40))
    file = tmp_path / "shards" / "0000.bin"
    data = file.read_bytes()
    last = data.index(some_clip(40).crops.crops[39].tobytes())
    file.write_bytes(data[:last] + bytes([data[last] ^ 1]) + data[last + 1 :])
    crops = store.read("one", verify=False).crops
    assert not crops.crops.flags.writeable
    np.testing.assert_array_equal(crops.crops[[3, 17]], some_clip(40).crops.crops[[3, 17]])
    with pytest.raises(DataError, match="another checksum of crops"):
        store.read("one")


def test_a_digest_tells_crops_and_times_but_reads_none(tmp_path):
    store = CropStore.create(tmp_path / "store", GEOMETRY, {})
    clip = some_clip()
    later = CropSequence(2, clip.crops.frame_index, clip.crops.pts_seconds + 1, clip.crops.crops)
    store.write(item("one", tmp_path), clip)
    store.write(item("two", tmp_path), StoredClip(11, 1, clip.crops))
    store.write(item("later", tmp_path), StoredClip(10, 2, later))
    store.write(item("longer", tmp_path), some_clip(4))
    store.write(item("none", tmp_path), StoredClip(10, 0, None))
    (tmp_path / "store" / "shards" / "0000.bin").unlink()
    one, two, *others = (store.digest(name) for name in ("one", "two", "later", "longer", "none"))
    assert one == two
    assert len({one, *others}) == 4


def with_landmarks(clip: StoredClip) -> StoredClip:
    crops = clip.crops
    points = np.random.default_rng(1).uniform(-5, 500, (len(crops), 68, 2)).astype(np.float32)
    sequence = CropSequence(crops.track_id, crops.frame_index, crops.pts_seconds, crops.crops, points)
    return StoredClip(clip.num_frames, clip.num_people, sequence)


def test_landmarks_are_kept_by_all_clips_or_none(tmp_path):
    plain = CropStore.create(tmp_path / "plain", GEOMETRY, {})
    store = CropStore.create(tmp_path / "store", GEOMETRY, {}, landmarks68=True)
    one, clip = item("one", tmp_path), with_landmarks(some_clip())
    store.write(one, clip)
    store.write(item("none", tmp_path), StoredClip(7, 0, None))
    store.write_index([one, item("none", tmp_path)])
    again = CropStore.open(tmp_path / "store")
    again.require_landmarks68()
    np.testing.assert_array_equal(again.read("one").crops.landmarks68, clip.crops.landmarks68)
    assert again.has(one)
    for target, given in ((plain, clip), (store, some_clip())):
        with pytest.raises(ValueError, match="landmarks68"):
            target.write(one, given)
    with pytest.raises(DataError, match="holds no 68 landmarks; run extract_faces --landmarks68"):
        plain.require_landmarks68()
    with pytest.raises(DataError, match="landmarks68 False in it, True now"):
        CropStore.create(tmp_path / "plain", GEOMETRY, {}, landmarks68=True)


def test_a_store_of_an_older_release_is_refused(tmp_path):
    # As version 1 wrote it: a file for each clip.
    header = {"format_version": 1, "geometry": {"side_px": 16, "template": []}, "provenance": {}}
    (tmp_path / "store.json").write_text(json.dumps(header))
    (tmp_path / "index.csv").touch()
    text = "format version 1, this release reads 2; run extract_faces again, into a new folder"
    for look in (CropStore.open, lambda folder: CropStore.create(folder, GEOMETRY, {})):
        with pytest.raises(DataError, match=text):
            look(tmp_path)


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


@pytest.mark.parametrize("is_waited_for", [True, False])
def test_what_killed_processes_left_is_removed(tmp_path, is_waited_for):
    store = CropStore.create(tmp_path, GEOMETRY, {})
    process = subprocess.Popen([sys.executable, "-c", ""])
    # Without this it stays among the processes, dead.
    os.waitid(os.P_PID, process.pid, os.WEXITED | (0 if is_waited_for else os.WNOWAIT))
    theirs = tmp_path / f".emotemporal-{process.pid}-0a.part.csv"
    ours = tmp_path / f".emotemporal-{os.getpid()}-0a.part.csv"
    theirs.touch()
    ours.touch()
    store.remove_abandoned()
    process.wait()
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
