"""Label sets: what counts as what, merged by hand."""

import numpy as np
import pytest

from emotemporal.errors import DataError
from emotemporal.labelling.aggregation import aggregate_sum, aggregate_vote
from emotemporal.labels import BINARY, FER6, FER7, FERPLUS8, LABEL_SETS, LabelMap, counts_as
from emotemporal.report.palette import EMOTION_COLOURS

TO_FER6 = LabelMap.between(FER7, FER6)
TO_BINARY = LabelMap.between(FER7, BINARY)


def rows(*values: list[float]) -> np.ndarray:
    """Probabilities of angry, disgust, fear, happy, sad, surprise, neutral."""
    return np.array(values, dtype=np.float32)


def test_the_named_sets() -> None:
    assert {name: len(labels) for name, labels in LABEL_SETS.items()} == {
        "fer7": 7,
        "fer6": 6,
        "ferplus": 8,
        "binary": 2,
    }
    assert set().union(*LABEL_SETS.values()) == set(EMOTION_COLOURS)


def test_fer6_adds_disgust_to_angry() -> None:
    merged = TO_FER6.merge_probs(rows([0.2, 0.15, 0.05, 0.3, 0.1, 0.05, 0.15]))
    assert merged.dtype == np.float32
    # angry, fear, happy, sad, surprise, neutral
    np.testing.assert_allclose(merged, rows([0.35, 0.05, 0.3, 0.1, 0.05, 0.15]), atol=1e-7)


def test_merging_is_of_probabilities_and_can_change_the_winner() -> None:
    probs = rows([0.3, 0.2, 0.0, 0.4, 0.0, 0.0, 0.1])
    assert FER7[int(probs.argmax())] == "happy"
    assert FER6[int(TO_FER6.merge_probs(probs).argmax())] == "angry"


def test_binary_keeps_happy_and_sad_and_scales_them() -> None:
    probs = rows([0.1, 0.0, 0.0, 0.3, 0.1, 0.0, 0.5], [0.0, 0.9, 0.0, 0.02, 0.08, 0.0, 0.0])
    np.testing.assert_allclose(TO_BINARY.merge_probs(probs), [[0.75, 0.25], [0.2, 0.8]], atol=1e-6)


def test_binary_of_what_shows_neither_is_uniform() -> None:
    probs = rows([0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 1e-9, 0, 0, 1], [0, 0, 0, 0, 1e-3, 0, 0.999])
    np.testing.assert_array_equal(TO_BINARY.merge_probs(probs), [[0.5, 0.5], [0.5, 0.5], [0, 1]])


def test_the_same_set_changes_nothing() -> None:
    probs = rows([0.1, 0.2, 0.1, 0.2, 0.1, 0.1, 0.2])
    assert LabelMap.between(FER7, FER7).merge_probs(probs) is probs


def test_truth_goes_through_the_same_map() -> None:
    truth = np.array([0, 1, 2, 3, 4, 5, 6, -1])
    assert TO_FER6.map_labels(truth).tolist() == [0, 0, 1, 2, 3, 4, 5, -1]
    assert TO_BINARY.map_labels(truth).tolist() == [-1, -1, -1, 0, 1, -1, -1, -1]
    # FER+ has another order, and contempt besides.
    assert LabelMap.between(FERPLUS8, FER6).positions == (5, 2, 4, 3, 0, 0, 1, -1)
    assert [counts_as("disgust", labels) for labels in (FER7, FER6, BINARY)] == ["disgust", "angry", None]


def test_a_merged_set_cannot_be_taken_apart() -> None:
    with pytest.raises(DataError, match="disgust cannot be told from angry, fear"):
        LabelMap.between(FER6, FER7)
    with pytest.raises(DataError, match="contempt"):
        LabelMap.between(FER7, FERPLUS8)


def test_votes_are_counted_in_the_merged_set() -> None:
    # Frame by frame happy wins twice of three times; with disgust counted as angry, angry does.
    probs = rows(
        [0.3, 0.25, 0.0, 0.45, 0.0, 0.0, 0.0],
        [0.25, 0.3, 0.0, 0.45, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0],
    )
    assert aggregate_vote(probs, FER7).emotion == "happy"
    result = aggregate_vote(TO_FER6.merge_probs(probs), FER6)
    assert result.emotion == "angry"
    assert result.votes.tolist() == [2, 0, 0, 0, 0, 1]
    summed = aggregate_sum(TO_FER6.merge_probs(probs), FER6)
    np.testing.assert_allclose(summed.probs, [1.1 / 3, 0, 0.3, 0, 0, 1 / 3], atol=1e-6)


def test_equal_votes_after_merging_go_to_the_larger_merged_sum() -> None:
    # One vote each for angry (0.5 + 0.3) and happy (0.4 + 0.6); unmerged, disgust would have had one.
    probs = rows([0.1, 0.4, 0.0, 0.4, 0.1, 0.0, 0.0], [0.1, 0.2, 0.0, 0.6, 0.1, 0.0, 0.0])
    assert aggregate_vote(TO_FER6.merge_probs(probs), FER6).emotion == "happy"
    probs = rows([0.3, 0.4, 0.0, 0.3, 0.0, 0.0, 0.0], [0.2, 0.25, 0.0, 0.55, 0.0, 0.0, 0.0])
    assert aggregate_sum(probs, FER7).emotion == "happy"
    merged = aggregate_vote(TO_FER6.merge_probs(probs), FER6)
    assert merged.votes.tolist() == [1, 0, 1, 0, 0, 0]
    assert merged.emotion == "angry"


def test_a_sum_over_two_emotions_weighs_every_frame_alike() -> None:
    # The second frame says little of either, but that little counts as much as the first frame's.
    probs = rows([0.0, 0.0, 0.0, 0.6, 0.4, 0.0, 0.0], [0.0, 0.0, 0.0, 0.01, 0.09, 0.0, 0.9])
    assert aggregate_sum(probs, FER7).probs[3] > aggregate_sum(probs, FER7).probs[4]
    result = aggregate_sum(TO_BINARY.merge_probs(probs), BINARY)
    assert result.emotion == "sad"
    np.testing.assert_allclose(result.probs, [0.35, 0.65], atol=1e-6)
