"""Frames chosen by time."""

import numpy as np
import pytest

from emotemporal.datasets.clips import ClipItem
from emotemporal.datasets.crop_clips import load_crop_clips, spread_frames
from emotemporal.datasets.crops import CropStore, StoredClip
from emotemporal.errors import DataError
from emotemporal.structures import CropGeometry


def test_frames_are_spread_over_time_not_over_count():
    # Dense until 1 s, then one frame each second.
    seconds = np.concatenate([np.arange(100) / 100, [1.0, 2.0, 3.0, 4.0]])
    rows = spread_frames(seconds, np.full(4, 0.4))
    np.testing.assert_allclose(seconds[rows], [0.4, 1.0, 2.0, 3.0])


def test_the_nearest_frame_is_taken():
    seconds = np.array([0.0, 1.0, 2.0, 3.0, 4.0]) + 7
    np.testing.assert_array_equal(spread_frames(seconds, np.array([0.0, 0.9])), [0, 4])
    np.testing.assert_array_equal(spread_frames(seconds, np.array([0.3, 0.3])), [1, 3])
    np.testing.assert_array_equal(spread_frames(seconds, np.array([0.2, 1.0])), [0, 4])


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_short_clip_shows_frames_again(length):
    seconds = np.arange(length) / 25 + 0.5
    for phase in (0.0, 0.5, 1.0):
        rows = spread_frames(seconds, np.full(8, phase))
        assert rows.shape == (8,)
        assert rows.min() >= 0
        assert rows.max() < length
        assert np.all(np.diff(rows) >= 0)
    assert set(spread_frames(seconds, np.full(8, 0.5))) == set(range(length))


def test_clips_of_other_emotions_and_people_are_named(tmp_path):
    store = CropStore.create(tmp_path / "store", CropGeometry(), {})
    (tmp_path / "a.mp4").touch()
    item = ClipItem(tmp_path / "a.mp4", "a", "fear", "ann")
    store.write(item, StoredClip(5, 0, None))
    store.write_index([item])
    (clip,) = load_crop_clips(store, ["fear", "sad"])
    assert (clip.emotion, clip.subject, clip.crops) == ("fear", "ann", None)
    with pytest.raises(DataError, match="clip a shows 'fear', expected sad"):
        load_crop_clips(store, ["sad"])
    with pytest.raises(DataError, match="no clips of bob"):
        load_crop_clips(store, ["fear"], subjects=["bob"])


def test_rows_are_chosen_by_all_that_is_asked(tmp_path):
    store = CropStore.create(tmp_path / "store", CropGeometry(), {})
    (tmp_path / "a.mp4").touch()
    items = [
        ClipItem(tmp_path / "a.mp4", f"{label}_{subject}_{split}", label, subject, split)
        for label in ("disgust", "sad", "calm")
        for subject in ("ann", "bob")
        for split in ("train", "val")
    ]
    for item in items:
        store.write(item, StoredClip(5, 0, None))
    store.write_index(items)

    def chosen(**wanted):
        rows = store.choose_rows(["sad", "angry", "calm"], **wanted)
        return [(row.clip_id, label) for row, label in rows]

    assert len(chosen()) == 12
    assert chosen(subjects=["bob"], splits=["val"]) == [
        ("disgust_bob_val", "angry"),
        ("sad_bob_val", "sad"),
        ("calm_bob_val", "calm"),
    ]
    # What counts as angry is shown by whoever asks for that.
    assert [name for name, _ in chosen(emotions=["angry"], splits=["train"])] == [
        "disgust_ann_train",
        "disgust_bob_train",
    ]
    with pytest.raises(DataError, match="'calm', expected sad, angry; extract_faces --calm neutral"):
        store.choose_rows(["sad", "angry"])
    assert len(store.choose_rows(["sad", "angry"], emotions=["sad", "angry"])) == 8
    with pytest.raises(DataError, match="no clips of ann, test, sad"):
        store.choose_rows(["sad"], subjects=["ann"], splits=["test"], emotions=["sad"])
