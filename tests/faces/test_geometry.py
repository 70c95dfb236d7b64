"""What makes expression out of landmarks, by hand."""

import numpy as np
import pytest

from emotemporal.errors import DataError
from emotemporal.faces.geometry import (
    GEOMETRY_DIM,
    HEAD_NAMES,
    MEASURE_NAMES,
    STREAM_DIM,
    TEMPLATE,
    expression_measures,
    feature_motion,
    fill_missing,
    geometry_features,
    geometry_stream,
    head_pose,
    mirror_points,
    normalise_shapes,
)


def moved(points, *, degrees=0.0, scale=1.0, shift=(0.0, 0.0)):
    """Turn clockwise in the picture, whose y points down."""
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * points @ turn.T + shift


@pytest.fixture
def talking():
    """A face whose points all wander, (12, 68, 2), and its times."""
    wander = np.random.default_rng(3).normal(scale=0.02, size=(12, 68, 2)).cumsum(0)
    return 150 * (TEMPLATE + wander) + (640, 360), np.arange(12) / 29.97


def measure(shape, name):
    return expression_measures(shape[None])[0, MEASURE_NAMES.index(name)]


def test_template_is_symmetric_with_eyes_one_apart():
    np.testing.assert_array_equal(mirror_points(TEMPLATE), TEMPLATE)
    assert TEMPLATE[45, 0] - TEMPLATE[36, 0] == 1


def test_mirroring_twice_changes_nothing():
    points = np.random.default_rng(0).normal(size=(3, 68, 2))
    np.testing.assert_array_equal(mirror_points(mirror_points(points)), points)


def test_similarity_leaves_no_trace():
    seen = moved(TEMPLATE, degrees=25, scale=140, shift=(300, -20))
    np.testing.assert_allclose(normalise_shapes(seen[None])[0], TEMPLATE, atol=1e-12)


@pytest.mark.parametrize("degrees", [-40, 15])
@pytest.mark.parametrize("scale", [0.3, 2.5])
def test_features_do_not_depend_on_place_size_and_tilt(talking, degrees, scale):
    points, seconds = talking
    expected = geometry_features(points, seconds)
    found = geometry_features(moved(points, degrees=degrees, scale=scale, shift=(-70, 33)), seconds)
    roll = 2 * 68 + HEAD_NAMES.index("roll")
    # The head's path through the picture turns with the picture.
    path = [2 * 68 + HEAD_NAMES.index(name) for name in ("move_x", "move_y")]
    others = np.setdiff1d(np.arange(GEOMETRY_DIM), [roll, *path])
    np.testing.assert_allclose(found[:, others], expected[:, others], atol=1e-9)
    np.testing.assert_allclose(found[:, roll] - expected[:, roll], np.radians(degrees), atol=1e-9)
    steps, turned = np.diff(expected[:, path], axis=0), np.diff(found[:, path], axis=0)
    np.testing.assert_allclose(moved(steps, degrees=degrees), turned, atol=1e-9)


def test_head_pose_by_hand():
    points = np.stack([moved(TEMPLATE, scale=100), moved(TEMPLATE, scale=100), moved(TEMPLATE, scale=100)])
    points[2] = moved(TEMPLATE, degrees=10, scale=100)
    points[1] += (50, -20)
    pose = head_pose(points, normalise_shapes(points))
    np.testing.assert_allclose(pose[:, 0], np.radians([0, 0, 10]), atol=1e-12)
    np.testing.assert_allclose(pose[:, 1], 0, atol=1e-12)
    np.testing.assert_allclose(pose[1, 2:4] - pose[0, 2:4], (0.5, -0.2), atol=1e-12)
    np.testing.assert_allclose(pose[:, 4], 0, atol=1e-12)
    np.testing.assert_allclose(pose[:, 5], TEMPLATE[33, 1] - TEMPLATE[27, 1], atol=1e-12)


def test_nearness_is_the_logarithm_of_size():
    points = np.stack([moved(TEMPLATE, scale=s) for s in (50, 100, 200)])
    pose = head_pose(points, normalise_shapes(points))
    np.testing.assert_allclose(pose[:, 1], np.log([0.5, 1, 2]), atol=1e-12)


def test_measures_by_hand():
    smile = TEMPLATE.copy()
    smile[[48, 54], 1] -= 0.1  # up
    smile[48, 0] -= 0.1
    smile[54, 0] += 0.1
    wider = measure(smile, "mouth_width") - measure(TEMPLATE, "mouth_width")
    assert wider == pytest.approx(0.2)
    for side in ("left", "right"):
        assert measure(smile, f"corner_{side}") - measure(TEMPLATE, f"corner_{side}") == pytest.approx(0.1)
    raised = TEMPLATE.copy()
    raised[17:27, 1] -= 0.07
    for name in ("brow_inner_left", "brow_outer_right"):
        assert measure(raised, name) - measure(TEMPLATE, name) == pytest.approx(0.07)
    shut = TEMPLATE.copy()
    shut[[37, 38]] = shut[[41, 40]]
    assert measure(shut, "eye_left") == 0
    assert measure(shut, "eye_right") == measure(TEMPLATE, "eye_right") > 0.2


def test_mirroring_swaps_the_sides():
    crooked = TEMPLATE + np.random.default_rng(5).normal(scale=0.02, size=TEMPLATE.shape)
    for name in ("eye", "corner", "cheek", "brow_inner", "lip_raise"):
        assert measure(mirror_points(crooked), f"{name}_left") == pytest.approx(
            measure(crooked, f"{name}_right")
        )


def test_missing_frames_are_filled_over_real_time():
    points = np.full((5, 68, 2), np.nan)
    points[1], points[4] = 10.0, 40.0
    filled = fill_missing(points, np.array([0.0, 1.0, 1.5, 3.0, 4.0]))
    np.testing.assert_allclose(filled[:, 0, 0], [10, 10, 15, 30, 40])


def test_no_face_at_all_is_an_error():
    with pytest.raises(DataError, match="none of 3 frames has landmarks"):
        geometry_features(np.full((3, 68, 2), np.nan), np.arange(3.0))


@pytest.mark.parametrize("rate", [10, 29.97, 60])
def test_motion_is_a_second_s_worth_at_any_rate(rate):
    seconds = np.arange(round(2 * rate)) / rate
    ramp = np.stack([3 * seconds, -2 * seconds], axis=1)
    motion = feature_motion(ramp, seconds, lag_seconds=0.13)
    started = seconds >= 0.13
    np.testing.assert_allclose(motion[started], [[3, 2]] * started.sum(), rtol=1e-9)
    np.testing.assert_array_equal(motion[0], 0)


def test_a_single_frame_does_not_move():
    np.testing.assert_array_equal(feature_motion(np.ones((1, 2)), np.zeros(1)), 0)


def test_the_stream_is_the_mean_of_the_last_quarter_of_a_second():
    seconds = np.arange(20) / 16
    points = np.repeat(TEMPLATE[None], 20, axis=0)
    # The mouth falls open from one frame to the next, and stays so.
    points[10:, [65, 66, 67]] += (0, 0.1)
    gap = geometry_stream(points, seconds)[:, len(HEAD_NAMES) + MEASURE_NAMES.index("lips_gap")]
    shut, opened = (measure(shape, "lips_gap") for shape in normalise_shapes(points[[0, -1]]))
    rise = (gap[8:16] - shut) / (opened - shut)
    np.testing.assert_allclose(rise, [0, 0, 0.25, 0.5, 0.75, 1, 1, 1], atol=1e-5)


def test_the_stream_of_one_frame(talking):
    points, seconds = talking
    stream = geometry_stream(points[:1], seconds[:1])
    assert stream.shape == (1, STREAM_DIM)
    assert stream.dtype == np.float32
    assert not stream[0, STREAM_DIM // 2 :].any()


def test_the_stream_hardly_depends_on_the_frame_rate():
    def stream(rate):
        seconds = np.arange(2 * rate) / rate
        points = np.repeat(TEMPLATE[None], len(seconds), axis=0)
        points[:, [65, 66, 67], 1] += 0.1 * np.sin(3 * seconds)[:, None] ** 2
        return geometry_stream(points, seconds)[rate // 2 :: rate // 10]

    np.testing.assert_allclose(stream(50), stream(500), atol=0.01)
