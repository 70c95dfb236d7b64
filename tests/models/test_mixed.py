"""The landmark branch: what of a face it sees, and what a network without landmarks says."""

import numpy as np
import pytest
import torch

from emotemporal.errors import UsageError
from emotemporal.models.backbone import build_backbone
from emotemporal.models.mixed import MIRRORED, landmark_vector, mirror_landmarks
from emotemporal.models.specs import BackboneSpec
from emotemporal.models.torch_runners import run_backbone
from emotemporal.structures import CropGeometry

NUM_POINTS = (5, 68)


def faces(num_points: int, num: int = 3) -> torch.Tensor:
    """Points about upright faces, in no particular shape but with the eyes apart."""
    points = torch.rand(num, num_points, 2, generator=torch.Generator().manual_seed(num_points)) * 20 + 10
    left, right = ([0], [1]) if num_points == 5 else (list(range(36, 42)), list(range(42, 48)))
    points[:, left, 0] -= 15
    points[:, right, 0] += 15
    return points


@pytest.mark.parametrize("num_points", NUM_POINTS)
def test_position_scale_and_roll_do_not_matter(num_points):
    points = faces(num_points)
    angle = torch.tensor(0.6)
    turn = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
    moved = 3.5 * points @ turn.T + torch.tensor([100.0, -40.0])
    vector = landmark_vector(points)
    assert vector.shape == (3, 2 * num_points + 1)
    torch.testing.assert_close(landmark_vector(moved), vector, atol=1e-4, rtol=0)
    # And the shape does.
    bent = points.clone()
    bent[:, 3, 1] += 4
    assert (landmark_vector(bent) - vector).abs().max() > 0.05


def test_the_vector_by_hand():
    # Eyes on a slope of 45 degrees, one above the other points' mean.
    points = torch.tensor([[[0.0, 0.0], [2.0, 2.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]])
    expected = torch.zeros(5, 2)
    # Eyes sqrt(2) from the middle, root mean square distance sqrt(4 / 5).
    expected[0, 0], expected[1, 0] = -(2.5**0.5), 2.5**0.5
    torch.testing.assert_close(landmark_vector(points), torch.cat([expected.flatten(), torch.zeros(1)])[None])


@pytest.mark.parametrize("num_points", NUM_POINTS)
def test_no_landmarks_raise_the_flag(num_points):
    points = faces(num_points)
    points[0] = torch.nan
    points[1] = 7.0
    vector = landmark_vector(points)
    assert vector[:, -1].tolist() == [1, 1, 0]
    assert (vector[:2, :-1] == 0).all()


@pytest.mark.parametrize("num_points", NUM_POINTS)
def test_mirroring_twice_changes_nothing(num_points):
    assert sorted(MIRRORED[num_points]) == list(range(num_points))
    points = faces(num_points)
    torch.testing.assert_close(mirror_landmarks(mirror_landmarks(points)), points)
    assert (landmark_vector(mirror_landmarks(points)) - landmark_vector(points)).abs().max() > 0.05


def test_mirrored_points_by_name():
    pairs = MIRRORED[68]
    # Corners of the eyes, mouth and nostrils, ends of jaw and brows; then what lies on the middle line.
    for left, right in (
        (36, 45),
        (39, 42),
        (41, 46),
        (48, 54),
        (60, 64),
        (31, 35),
        (0, 16),
        (17, 26),
        (59, 55),
    ):
        assert (pairs[left], pairs[right]) == (right, left)
    assert all(pairs[middle] == middle for middle in (8, 27, 30, 33, 51, 57, 62, 66))
    template = torch.from_numpy(CropGeometry().template_px)[None]
    # A face is nearly symmetrical, so the mirrored template is the template, moved.
    difference = landmark_vector(mirror_landmarks(template)) - landmark_vector(template)
    assert difference.abs().max() < 0.06


@pytest.mark.parametrize("name", ["seresnet", "resnet18"])
def test_both_branches_reach_the_answer(name):
    torch.manual_seed(0)
    changes = {"widths": (8, 16), "depths": (1, 1)} if name == "seresnet" else {"input_side_px": 32}
    plain, network = (build_backbone(BackboneSpec(name=name, landmarks=n, **changes)) for n in (0, 5))
    assert network.embedding_dim == plain.embedding_dim + 64
    crops = np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    points = faces(5).numpy()
    logits = run_backbone(network, crops, landmarks=points)["fer7"]
    assert np.abs(run_backbone(network, crops[::-1].copy(), landmarks=points)["fer7"] - logits).max() > 1e-3
    assert np.abs(run_backbone(network, crops, landmarks=points[::-1].copy())["fer7"] - logits).max() > 1e-3
    # A network without the branch does not mind being told.
    np.testing.assert_array_equal(
        run_backbone(plain, crops, landmarks=points)["fer7"], run_backbone(plain, crops)["fer7"]
    )


@pytest.mark.parametrize("landmarks", [None, np.zeros((2, 68, 2), np.float32)])
def test_missing_landmarks_are_one_line(landmarks):
    network = build_backbone(BackboneSpec(widths=(8, 16), depths=(1, 1), landmarks=5))
    with pytest.raises(UsageError, match=r"needs 5 landmarks of each face, found (0|68)"):
        run_backbone(network, np.zeros((2, 48, 48), np.uint8), landmarks=landmarks)
