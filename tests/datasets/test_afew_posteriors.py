"""AFEW's frame posteriors come back sorted by face and frame, with the labels of their clips."""

import numpy as np
import pytest

from emotemporal.datasets.afew_posteriors import read_afew_posteriors, to_sequence
from emotemporal.errors import DataError

HEADER = "filename,0,1,2,3,4,5,6"
SURE_OF_HAPPY = "0,0,0,1,0,0,0"
SURE_OF_FEAR = "0,0,1,0,0,0,0"
EVEN = ",".join(["0.1428"] * 7)
ROWS = [
    f"3_000112345-1-007.png,{EVEN}",
    f"3_000112345-0-010.png,{SURE_OF_HAPPY}",
    f"2_000059880-0-002.png,{EVEN}",
    f"3_000112345-0-008.png,{SURE_OF_FEAR}",
    f"3_000112345-1-005.png,{EVEN}",
]
LABELS = ["video_id, true_label, 0=Angry, 1, 2, 3, 4, 5, 6", f"000112345,3,{EVEN}", f"000059880,2,{EVEN}"]


def write(folder, rows=ROWS, labels=LABELS):
    (folder / "AFEW_train_frame_by_frame.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    (folder / "AFEW_train_mean.csv").write_text("\n".join(labels) + "\n")
    return folder


def test_frames_stand_face_by_face_in_order_of_time(tmp_path):
    first, second = read_afew_posteriors(write(tmp_path), "train")
    assert (first.clip_id, first.label, len(first)) == ("000059880", 2, 1)
    assert (second.clip_id, second.label, second.scene) == ("000112345", 3, "0001")
    np.testing.assert_array_equal(second.face, [0, 0, 1, 1])
    np.testing.assert_array_equal(second.frame_index, [8, 10, 5, 7])
    np.testing.assert_array_equal(second.probs.argmax(1)[:2], [2, 3])
    np.testing.assert_allclose(second.probs.sum(1), 1, atol=1e-6)


def test_a_sequence_is_the_face_that_is_seen_most(tmp_path):
    rows = [*ROWS, f"3_000112345-1-009.png,{SURE_OF_HAPPY}"]
    clip = read_afew_posteriors(write(tmp_path, rows), "train")[1]
    sequence = to_sequence(clip)
    # Frames 5, 7 and 9 of face 1 at 25 frames a second; face 0 is seen on two.
    np.testing.assert_allclose(sequence.pts_seconds, [0, 0.08, 0.16])
    (evidence,) = sequence.views
    np.testing.assert_allclose(evidence.embeddings.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(np.exp(evidence.log_probs), clip.probs[2:], atol=1e-3)
    assert np.isfinite(evidence.log_probs).all()


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        ([*ROWS, f"face.png,{EVEN}"], LABELS, r"line 7: 'face\.png' is not <label>_<clip>"),
        ([f"4_000112345-0-001.png,{EVEN}"], LABELS, "label 4, in the table of labels 3"),
        ([f"3_000112345-0-001.png,{EVEN}"], LABELS, "no frames of 1 of 2 clips, e.g. 000059880"),
        ([*ROWS, "2_000059880-0-003.png,1,1,0,0,0,0,0"], LABELS, "do not sum to 1"),
        ([*ROWS, "2_000059880-0-003.png,x,1,0,0,0,0,0"], LABELS, "line 7: could not convert"),
        ([*ROWS, "2_000059880-0-003.png,1"], LABELS, "line 7: 2 cells, its header has 8"),
        (ROWS, [LABELS[0], f"000112345,7,{EVEN}"], "label '7', expected 0 to 6"),
    ],
)
def test_what_is_malformed_is_named(tmp_path, rows, labels, message):
    with pytest.raises(DataError, match=message):
        read_afew_posteriors(write(tmp_path, rows, labels), "train")


def test_a_wrong_folder_or_split_is_named(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_afew_posteriors(tmp_path, "train")
    with pytest.raises(DataError, match="'test' is unknown"):
        read_afew_posteriors(tmp_path, "test")


@pytest.mark.needs_data
def test_the_training_split_is_whole(data_folder):
    clips = read_afew_posteriors(data_folder / "afew2_posteriors", "train")
    assert (len(clips), sum(map(len, clips))) == (367, 22_496)
    assert np.bincount([clip.label for clip in clips]).tolist() == [56, 39, 48, 63, 48, 50, 63]
    assert all((np.diff(to_sequence(clip).pts_seconds) > 0).all() for clip in clips)
