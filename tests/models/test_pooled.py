"""Clips as statistics, and classifiers of them."""

import numpy as np
import pytest

from emotemporal.faces.geometry import GEOMETRY_DIM, NUM_POINTS
from emotemporal.models.linear import LinearAverage, LinearMap, temper_probs
from emotemporal.models.pooled import (
    POOLED_NAMES,
    PooledClassifier,
    PooledReduction,
    feature_blocks,
    pool_sequence,
    relative_to_clip,
)


def test_statistics_by_hand():
    seconds = np.arange(11) / 10
    ramp = seconds[:, None] * 2
    pooled = pool_sequence(ramp, seconds)
    assert pooled.shape == (12,)
    np.testing.assert_allclose(pooled[:5], [1, 2 * seconds.std(), 0.2, 1, 1.8])
    # From the second frame on 2 a second, but 0.13 s back there is nothing yet for the first two.
    np.testing.assert_allclose(pooled[5:7], [(0.2 / 0.13 + 9 * 2) / 11, 2])
    np.testing.assert_allclose(pooled[7:], [0.1, 0.5, 0.9, 1.3, 1.8])


def test_a_clip_of_one_frame():
    pooled = pool_sequence(np.array([[3.0]]), np.array([0.5]))
    np.testing.assert_array_equal(pooled, [3, 0, 3, 3, 3, 0, 0, 3, 3, 3, 3, 3])


def test_relative_features_do_not_know_the_face_at_rest():
    random = np.random.default_rng(0)
    seconds = np.arange(40) / 30
    frames = random.normal(size=(40, 3)).cumsum(axis=0)
    one = relative_to_clip(pool_sequence(frames, seconds))
    np.testing.assert_allclose(relative_to_clip(pool_sequence(frames + np.array([5, -2, 9]), seconds)), one)
    assert one.shape == (30,)
    spread = frames.std(axis=0)
    np.testing.assert_allclose(one[:3], spread)
    low = np.quantile(frames, 0.1, axis=0) - np.median(frames, axis=0)
    np.testing.assert_allclose(one[9:12], low)


def clips_of(people, *, seed, num=8):
    """Three emotions along two directions, and a third that tells who it is."""
    random = np.random.default_rng(seed)
    labels = np.tile(np.arange(3), num * len(people))
    who = np.repeat(people, 3 * num)
    centres = np.array([[0, 0], [4, 0], [0, 4]])[labels]
    features = np.column_stack([centres, 10.0 * who]) + random.normal(scale=0.5, size=(len(labels), 3))
    return np.stack([features, features + 0.01]), labels, who


@pytest.mark.parametrize("name", POOLED_NAMES)
def test_learns_what_does_not_depend_on_the_person(name):
    views, labels, people = clips_of(np.arange(4), seed=0)
    reduce = PooledReduction(views)
    classifier = PooledClassifier(name).fit(reduce(views), labels, people)
    views, labels, _ = clips_of(np.array([1.5, 2.5]), seed=1)
    probs = classifier.predict_probs(reduce(views))
    assert probs.shape == (48, 3)
    np.testing.assert_allclose(probs.sum(axis=1), 1)
    assert (probs.argmax(axis=1) == labels).mean() > 0.9


def test_settings_are_chosen_on_people_held_out():
    """Labels that only tell who it is: easy if a person's other clips are known, chance if not."""
    views, _, people = clips_of(np.arange(6), seed=2)
    labels = people % 2
    by_people = PooledClassifier("svm").fit(views, labels, people)
    by_clips = PooledClassifier("svm").fit(views, labels, np.arange(len(labels)))
    assert set(by_people.settings) == {"gamma"}
    assert by_clips.inner_accuracy > 0.99
    assert by_people.inner_accuracy < 0.6


def test_reduced_features_have_unit_variance_in_all():
    views, *_ = clips_of(np.arange(4), seed=4)
    reduced = PooledReduction(views, num_components=2)(views)
    assert reduced.shape == (2, 96, 2)
    assert reduced.reshape(-1, 2).var(axis=0).sum() == pytest.approx(1, rel=0.01)


def test_same_seed_same_result():
    views, labels, people = clips_of(np.arange(4), seed=3)
    first, again = (PooledClassifier("boosting", seed=5).fit(views, labels, people) for _ in range(2))
    np.testing.assert_array_equal(first.predict_probs(views), again.predict_probs(views))


@pytest.mark.parametrize("name", ["logistic", "discriminant"])
def test_the_folded_map_says_what_the_models_say(name):
    views, labels, people = clips_of(np.arange(4), seed=0)
    reduce = PooledReduction(views, num_components=2)
    classifier = PooledClassifier(name).fit(reduce(views), labels, people)
    unseen, *_ = clips_of(np.array([1.5, 2.5]), seed=1)
    expected = classifier.predict_probs(reduce(unseen))
    assert expected.max(axis=1).min() < 0.99
    average = LinearAverage({"one": classifier.fold(reduce)}, {"one": "all"})
    np.testing.assert_allclose(average.predict_probs({"all": unseen}), expected, atol=1e-9)
    again = LinearAverage.from_arrays(average.to_arrays(), {"one": "all"}, temperature=2.0)
    np.testing.assert_allclose(again.predict_probs({"all": unseen}), temper_probs(expected, 2.0), atol=1e-5)


def test_a_map_of_shapes_that_do_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"bias must have shape \(3,\), found \(2,\)"):
        LinearMap(np.zeros(4), np.ones(4), np.zeros((3, 4)), np.zeros(2))


def test_a_temperature_on_probabilities_by_hand():
    # Squares of 1/3 and 2/3, and of what was rounded to nothing.
    np.testing.assert_allclose(temper_probs(np.array([[1 / 3, 2 / 3, 0]]), 0.5), [[0.2, 0.8, 0]], atol=1e-9)


def test_measures_leave_out_the_points():
    statistics = np.arange(12.0)[:, None] + np.zeros(GEOMETRY_DIM)
    statistics[:, 2 * NUM_POINTS] += 100
    blocks = feature_blocks(statistics.reshape(1, -1))
    assert blocks["all"].shape == (1, 12 * GEOMETRY_DIM)
    assert blocks["measures"].shape == (1, 12 * (GEOMETRY_DIM - 2 * NUM_POINTS))
    measures = blocks["measures"].reshape(12, -1)
    np.testing.assert_array_equal(measures[:, 0], np.arange(12) + 100)
    np.testing.assert_array_equal(measures[:, 1], np.arange(12))
    assert blocks["relative"].shape == (1, 10 * GEOMETRY_DIM)
