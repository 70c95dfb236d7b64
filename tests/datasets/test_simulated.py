"""Simulated clips: one face, moved as little as a tracker's crops move; labelled as the picture is."""

import cv2
import numpy as np
import pytest
import torch

from emotemporal.datasets import simulated
from emotemporal.datasets.fer2013 import FaceImages
from emotemporal.datasets.simulated import halve_faces, simulate_clips, simulate_frames
from emotemporal.labels import FER7
from emotemporal.models.backbone import build_backbone
from emotemporal.models.classifier import EmotionClassifier
from emotemporal.models.specs import BackboneSpec
from emotemporal.models.torch_runners import TorchFrame


def disc(label: int, num: int = 1) -> np.ndarray:
    """Bright discs, the larger the higher the label."""
    picture = np.full((48, 48), 40, np.uint8)
    cv2.circle(picture, (24, 24), 6 + 2 * label, 200, -1)
    return np.repeat(picture[None], num, axis=0)


def faces(counts) -> FaceImages:
    """So many discs of each label, told apart by their first pixel."""
    labels = np.repeat(np.arange(7), counts)
    images = np.concatenate([disc(label) for label in labels])
    images[:, 0, 0] = np.arange(len(labels))
    return FaceImages(images, labels, np.full(len(labels), "PublicTest"))


@pytest.fixture(scope="module")
def classifier() -> EmotionClassifier:
    torch.manual_seed(0)
    network = build_backbone(BackboneSpec(widths=(8, 16), depths=(1, 1), dropout=0.0))
    # Unlike the network's own, so that a label taken for a position of another order shows.
    return EmotionClassifier(TorchFrame(network), labels=FER7[::-1], temperature=1.0)


def centre_of_light(frames: np.ndarray) -> np.ndarray:
    """Return (T, 2), x and y in pixels, of what is brighter than the ground."""
    bright = np.clip(frames.astype(float) - 60, 0, None)
    grid = np.stack(np.meshgrid(np.arange(48), np.arange(48)))
    return np.einsum("cyx,tyx->tc", grid, bright) / bright.sum((1, 2))[:, None]


def test_a_face_keeps_its_place_and_its_look():
    lengths = []
    for seed in range(40):
        frames = simulate_frames(disc(3)[0], np.random.default_rng(seed))
        lengths.append(len(frames))
        assert frames.dtype == np.uint8
        assert frames.shape[1:] == (48, 48)
        assert np.abs(centre_of_light(frames) - 24).max() < 48 * (0.023 + 5 * 0.006)
        # The disc's area goes with the square of the zoom.
        area = (frames > 120).sum((1, 2)) / (disc(3)[0] > 120).sum()
        assert np.abs(np.log(area)).max() < 2 * (0.075 + 5 * 0.02)
        assert np.abs(frames[:, 24, 24].astype(float) - 200).max() < 30
    assert 1.5 * 25 <= min(lengths) < 50
    assert 90 < max(lengths) <= 4 * 25


def test_clips_range_from_all_but_still_to_lively():
    moved = []
    for seed in range(40):
        frames = simulate_frames(disc(3)[0], np.random.default_rng(seed)).astype(float)
        moved.append(np.abs(np.diff(frames, axis=0)).mean())
    assert min(moved) < 0.3
    assert max(moved) > 2


def test_a_drift_is_smooth(monkeypatch):
    monkeypatch.setattr(simulated, "_JITTER", np.zeros(4))
    monkeypatch.setattr(simulated, "_NOISE", 1e-6)
    for seed in range(20):
        place = centre_of_light(simulate_frames(disc(3)[0], np.random.default_rng(seed)))
        # At most an eighth of the way from one end to the other in a frame.
        assert np.abs(np.diff(place, axis=0)).max() <= max(0.1, np.ptp(place, axis=0).max() / 8)


def test_every_emotion_has_its_share_and_its_label(classifier):
    found = simulate_clips(faces([1, 3, 2, 9, 1, 1, 4]), classifier, num_clips=14)
    assert sorted(clip.label for clip in found) == sorted(2 * list(range(7)))
    by_label = {}
    for clip in found:
        assert len(clip) == len(clip.views[0].log_probs) == len(clip.views[0].embeddings)
        np.testing.assert_allclose(np.diff(clip.pts_seconds), 0.04)
        by_label.setdefault(clip.label, []).append(clip.views[0].embeddings.mean(0).astype(np.float32))
    for label, means in by_label.items():
        picture = disc(FER7.index(classifier.labels[label]))
        still = classifier.classify_crops(picture).embeddings[0]
        for mean in means:
            distances = {
                other: np.abs(mean - classifier.classify_crops(disc(FER7.index(name))).embeddings[0]).sum()
                for other, name in enumerate(classifier.labels)
            }
            assert np.abs(mean - still).sum() == min(distances.values())


def test_only_emotions_that_the_network_knows_are_drawn():
    torch.manual_seed(0)
    spec = BackboneSpec(widths=(8, 16), depths=(1, 1), dropout=0.0, label_sets={"binary": ("happy", "sad")})
    binary = EmotionClassifier(TorchFrame(build_backbone(spec)), labels=("happy", "sad"), temperature=1.0)
    found = simulate_clips(faces([2] * 7), binary, num_clips=4)
    assert sorted(clip.label for clip in found) == [0, 0, 1, 1]


def test_the_same_seed_gives_the_same_clips(classifier):
    given = faces([2] * 7)
    one, two, other = (simulate_clips(given, classifier, num_clips=3, seed=seed) for seed in (0, 0, 1))
    for a, b in zip(one, two, strict=True):
        assert a.label == b.label
        np.testing.assert_array_equal(a.views[0].log_probs, b.views[0].log_probs)
    assert [len(clip) for clip in one] != [len(clip) for clip in other]


def test_halves_share_no_picture():
    given = faces([20] * 7)
    twice = FaceImages(*(np.concatenate([a, a]) for a in (given.images, given.labels, given.splits)))
    first, second = halve_faces(twice)
    seen, unseen = ({image.tobytes() for image in half.images} for half in (first, second))
    assert not seen & unseen
    assert len(seen) == len(unseen) == 70
    assert len(first) + len(second) == 280
    again, _ = halve_faces(twice)
    np.testing.assert_array_equal(again.images, first.images)
    # By chance, not by order.
    assert len(set(first.labels)) == len(set(second.labels)) == 7
