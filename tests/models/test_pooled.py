"""Clips as statistics, and the linear maps that classify them."""

import numpy as np
import pytest

from emotemporal.faces.geometry import GEOMETRY_DIM, NUM_POINTS
from emotemporal.models.linear import LinearMap, temper_probs
from emotemporal.models.pooled import feature_blocks, pool_sequence, pool_statistics, relative_to_clip


def test_statistics_without_order_by_hand():
    pooled = pool_statistics(np.array([[3.0, 5.0], [1.0, 5.0]]), (1.0, 0.1, 0.5))
    np.testing.assert_allclose(pooled, [2, 5, 1, 0, 3, 5, 1.2, 5, 2, 5])


def test_statistics_of_a_sequence_by_hand():
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
