"""A head over windows says the same however its frames come in, and lets go of those it has seen."""

import numpy as np
import pytest
import torch

from emotemporal.models.classifier import FrameEvidence
from emotemporal.models.specs import HeadSpec
from emotemporal.models.temporal import TemporalHead
from emotemporal.models.torch_runners import TorchHead
from emotemporal.models.windows import WINDOW_SECONDS, WindowedHead

CLASSES, EMBEDDING = 7, 6


@pytest.fixture(scope="module")
def head():
    torch.manual_seed(0)
    spec = HeadSpec(kind="bigru", width=8)
    network = TemporalHead(
        spec, embedding_dim=EMBEDDING, num_classes=CLASSES, trained_classes=[*range(CLASSES)]
    )
    for layer in (network.frame_correction, network.clip_correction):
        torch.nn.init.normal_(layer.weight)
    # So that motion counts.
    network.motion_range.copy_(torch.tensor([0.0, 0.1]))
    return TorchHead(network)


class Spy:
    """Tells which windows are run, by the time of their first frame and their length."""

    def __init__(self, head):
        self.head, self.spec = head, head.spec
        self.lengths = []

    def run(self, clips):
        self.lengths += [float(row[mask][-1]) for row, mask in zip(clips.seconds, clips.mask, strict=True)]
        return self.head.run(clips)


def evidence_of(num):
    rng = np.random.default_rng(0)
    log_probs = np.log(rng.dirichlet(np.ones(CLASSES), num)).astype(np.float32)
    return FrameEvidence(rng.normal(size=(num, EMBEDDING)).astype(np.float16), log_probs)


def part_of(evidence, part):
    return FrameEvidence(evidence.embeddings[part], evidence.log_probs[part])


@pytest.mark.parametrize("seconds", [0.0, 5.0, 8.0, 8.1, 12.0, 13.0, 200.0])
@pytest.mark.parametrize("at_once", [1, 13, 1000])
def test_it_does_not_matter_how_frames_come_in(head, seconds, at_once):
    pts = 3 + np.arange(0, seconds + 1e-9, 0.1)
    evidence = evidence_of(len(pts))
    whole, parts = WindowedHead(head, CLASSES), WindowedHead(head, CLASSES)
    whole.add(evidence, pts)
    for start in range(0, len(pts), at_once):
        part = slice(start, start + at_once)
        parts.add(part_of(evidence, part), pts[part])
    for ours, theirs in zip(parts.finish(), whole.finish(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize(
    ("seconds", "lengths"), [(5.0, [5]), (8.0, [8]), (9.0, [8, 8]), (12.0, [8, 8]), (12.5, [8, 8, 8])]
)
def test_windows_begin_every_four_seconds_and_the_last_ends_with_the_last_frame(head, seconds, lengths):
    spy = Spy(head)
    pts = np.arange(0, seconds + 1e-9, 0.1)
    windows = WindowedHead(spy, CLASSES)
    windows.add(evidence_of(len(pts)), pts)
    frames, clip = windows.finish()
    np.testing.assert_allclose(spy.lengths, lengths, atol=1e-5)
    assert (frames.shape, clip.shape) == ((len(pts), CLASSES), (CLASSES,))
    np.testing.assert_allclose(frames.sum(1), 1, atol=1e-4)


def test_each_frame_counts_once_in_the_clip(head):
    """A clip that is one stretch of frames over and over has the label of any window of it."""
    pts = np.arange(0, 40, 0.5)
    evidence = evidence_of(1)
    same = FrameEvidence(*(np.repeat(values, len(pts), axis=0) for values in evidence))
    windows = WindowedHead(head, CLASSES)
    windows.add(same, pts)
    _, clip = windows.finish()
    np.testing.assert_allclose(clip, np.exp(evidence.log_probs[0]), atol=0.2)
    one = WindowedHead(head, CLASSES)
    num = int(WINDOW_SECONDS / 0.5) + 1
    one.add(part_of(same, slice(num)), pts[:num])
    np.testing.assert_allclose(clip, one.finish()[1], atol=1e-5)


def test_what_is_kept_does_not_grow_with_the_sequence(head):
    windows = WindowedHead(head, CLASSES)
    evidence = evidence_of(25)
    most = 0
    for second in range(600):
        windows.add(evidence, second + np.arange(25) / 25)
        coming = sum(len(seconds) for seconds, _ in windows._coming)
        most = max(most, coming + len(windows._kept.get("embeddings", ())))
    # 16 windows and the one that they begin in.
    assert most <= 25 * 90
    assert windows.finish()[0].shape == (600 * 25, CLASSES)
