"""Temporal networks on landmarks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from emotemporal.models.geometry import GeometryHead
from emotemporal.models.specs import HeadSpec
from emotemporal.training.geometry import (
    GeometryClip,
    GeometryConfig,
    predict_geometry,
    standardise,
    train_geometry_head,
    window_features,
)

KINDS = ("gru", "bigru", "transformer")


def test_windows_by_hand():
    seconds = np.array([2.0, 2.1, 2.2, 2.3, 2.9])
    windows, starts = window_features(np.array([[0.0], [2], [4], [6], [6]]), seconds, window_seconds=0.25)
    # Nobody was seen from 2.5 to 2.75 s.
    np.testing.assert_allclose(starts, [0, 0.25, 0.75])
    np.testing.assert_allclose(windows[:, 0], [2, 6, 6])
    np.testing.assert_allclose(windows[1:, 1], [20, 0])


def test_windows_of_any_frame_rate_agree():
    def windows(rate):
        seconds = np.arange(round(2 * rate)) / rate
        return window_features(np.sin(3 * seconds)[:, None], seconds)[0]

    np.testing.assert_allclose(windows(100), windows(1000), atol=0.06)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_never_changes_logits(kind):
    torch.manual_seed(0)
    head = GeometryHead(HeadSpec(kind=kind, width=8, num_attention_heads=2), feature_dim=5, num_classes=3)
    head.eval()
    features, seconds = torch.randn(2, 6, 5), torch.arange(6).repeat(2, 1) / 4
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    together = head(features, seconds, mask)
    features[1, 4:] = 1e3
    torch.testing.assert_close(head(features, seconds, mask), together)
    alone = head(features[1:, :4], seconds[1:, :4], mask[1:, :4])
    torch.testing.assert_close(alone, together[1:], atol=1e-5, rtol=1e-5)


def rising_or_falling(num):
    """Clips whose mean tells nothing: they rise or fall."""
    random = np.random.default_rng(0)
    labels = np.arange(num) % 2
    clips = []
    for label in labels:
        length = random.integers(6, 10)
        course = np.linspace(-1, 1, length)[:, None] * (1 if label else -1)
        views = tuple(
            (course + random.normal(scale=0.1, size=(length, 3))).astype(np.float32) for _ in range(2)
        )
        clips.append(GeometryClip(views, np.arange(length) / 4))
    return clips, labels


@pytest.mark.parametrize("kind", KINDS)
def test_learns_an_order_in_time(kind):
    clips, labels = rising_or_falling(32)
    spec = HeadSpec(kind=kind, width=16, num_attention_heads=2, dropout=0.1)
    config = GeometryConfig(head=spec, epochs=30, batch_size=16, learning_rate=1e-2)
    head = train_geometry_head(clips, labels, 2, config)
    probs = predict_geometry(head, clips)
    assert (probs.argmax(axis=1) == labels).mean() > 0.9


def test_same_seed_same_network():
    clips, labels = rising_or_falling(8)
    config = GeometryConfig(head=HeadSpec(width=4), epochs=2, batch_size=4)

    def probs(seed):
        return predict_geometry(train_geometry_head(clips, labels, 2, replace(config, seed=seed)), clips)

    np.testing.assert_array_equal(probs(1), probs(1))
    assert not np.array_equal(probs(1), probs(2))


def test_units_come_from_training_clips_alone():
    clips, _ = rising_or_falling(6)
    people = np.array([1, 1, 2, 2, 3, 3])
    usual = standardise(clips, np.arange(4), people, personal=False)
    known = np.concatenate([clip.views[1] for clip in usual[:4]])
    np.testing.assert_allclose(known.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(known.std(axis=0), 1, atol=1e-5)
    clips[5] = replace(clips[5], views=tuple(view * 100 for view in clips[5].views))
    again = standardise(clips, np.arange(4), people, personal=False)
    np.testing.assert_array_equal(again[0].views[0], usual[0].views[0])


def test_personal_units_are_each_person_s_own():
    clips, _ = rising_or_falling(4)
    people = np.array([1, 1, 2, 2])
    expected = standardise(clips, np.array([0]), people, personal=True)
    other = [
        replace(clip, views=tuple(7 * view + 3 for view in clip.views)) if person == 2 else clip
        for clip, person in zip(clips, people, strict=True)
    ]
    found = standardise(other, np.array([0]), people, personal=True)
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.views[0], two.views[0], atol=1e-4)
