"""A one-way head frame by frame says what it says of the frames so far at once."""

import numpy as np
import pytest
import torch

from emotemporal.models.backbone import build_backbone
from emotemporal.models.classifier import EmotionClassifier, FrameEvidence
from emotemporal.models.specs import BackboneSpec, HeadSpec
from emotemporal.models.streaming import HeadStream, PersonStream
from emotemporal.models.temporal import TemporalHead
from emotemporal.models.torch_runners import TorchFrame, TorchHead

EMBEDDING, CLASSES = 12, 7
TINY = BackboneSpec(widths=(8, EMBEDDING), depths=(1, 1))


def make_head(*, num_layers: int = 1, kind: str = "gru") -> TemporalHead:
    torch.manual_seed(0)
    spec = HeadSpec(kind=kind, width=16, num_layers=num_layers)
    head = TemporalHead(spec, embedding_dim=EMBEDDING, num_classes=CLASSES, trained_classes=[0, 2, 3, 4, 5])
    for layer in (head.frame_correction, head.clip_correction):
        torch.nn.init.normal_(layer.weight)
    head.motion_range = torch.tensor([0.3, 1.5])
    return head.eval()


def make_classifier(head: TemporalHead) -> EmotionClassifier:
    return EmotionClassifier(
        TorchFrame(build_backbone(TINY)),
        labels=TINY.label_sets["fer7"],
        temperature=1.0,
        head=TorchHead(head, temperature=1.7),
    )


def make_evidence(num_frames: int) -> FrameEvidence:
    rng = np.random.default_rng(0)
    log_probs = np.log(rng.dirichlet(np.ones(CLASSES), num_frames)).astype(np.float32)
    return FrameEvidence(rng.normal(size=(num_frames, EMBEDDING)).astype(np.float16), log_probs)


def jittered(num_frames: int, fps: float) -> np.ndarray:
    """Times of a camera: uneven, with a gap, from no round start."""
    steps = np.random.default_rng(1).uniform(0.5, 1.5, num_frames) / fps
    steps[num_frames // 3] += 0.7
    return 3.21 + np.cumsum(steps)


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("fps", [5.0, 30.0])
def test_every_frame_equals_the_batch_of_the_frames_so_far(num_layers, fps):
    head = make_head(num_layers=num_layers)
    found, pts = make_evidence(40), jittered(40, fps)
    embeddings, evidence = torch.from_numpy(found.embeddings).float(), torch.from_numpy(found.log_probs)
    seconds = torch.from_numpy(pts - pts[0]).float()
    stream = HeadStream(head)
    trusts = []
    for i in range(40):
        out = stream.step(embeddings[i], evidence[i], float(pts[i]))
        so_far = slice(0, i + 1)
        with torch.no_grad():
            batch = head(
                embeddings[None, so_far],
                evidence[None, so_far],
                seconds[None, so_far],
                torch.ones(1, i + 1, dtype=torch.bool),
            )
        torch.testing.assert_close(out.frame_logits, batch.frame_logits[0, -1], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(out.clip_logits, batch.clip_logits[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(out.trust, batch.clip_trust[0, 0], atol=1e-5, rtol=1e-5)
        trusts.append(float(out.trust))
    # The head had something to say, and not at once.
    assert trusts[0] == 0
    assert max(trusts) > 0.5


def test_a_person_gets_what_the_classifier_says_of_the_whole():
    classifier = make_classifier(make_head())
    evidence, pts = make_evidence(60), jittered(60, 25.0)
    person = PersonStream(classifier.head)
    for i in range(60):
        frame, clip = person.step(evidence.embeddings[i], evidence.log_probs[i], float(pts[i]))
    frames, whole = classifier.classify_sequence(evidence, pts)
    np.testing.assert_allclose(frame, frames[-1], atol=1e-5)
    np.testing.assert_allclose(clip, whole, atol=1e-5)


def test_what_is_long_past_is_forgotten():
    classifier = make_classifier(make_head())
    evidence, pts = make_evidence(200), np.arange(200) / 20
    person = PersonStream(classifier.head, window_seconds=2.0)
    out = [person.step(e, p, t) for e, p, t in zip(*evidence, pts.tolist(), strict=True)]
    # States begin at 0, 1, 2, ... seconds (and a frame); each is in use until two seconds are over.
    for at, start in ((40, 0), (41, 20), (59, 20)):
        part = FrameEvidence(evidence.embeddings[start : at + 1], evidence.log_probs[start : at + 1])
        frames, clip = classifier.classify_sequence(part, pts[start : at + 1])
        np.testing.assert_allclose(out[at][0], frames[-1], atol=1e-5)
        np.testing.assert_allclose(out[at][1], clip, atol=1e-5)
    assert all(len(stream._recent) <= 5 for _, stream in person._streams)
    assert len(person._streams) <= 2


def test_a_long_absence_begins_anew():
    classifier = make_classifier(make_head())
    evidence = make_evidence(12)
    person = PersonStream(classifier.head)
    for i in range(11):
        person.step(evidence.embeddings[i], evidence.log_probs[i], i / 25)
    frame, clip = person.step(evidence.embeddings[11], evidence.log_probs[11], 500.0)
    # Alone it is a still picture, which keeps its evidence.
    np.testing.assert_allclose(frame, np.exp(evidence.log_probs[11]), atol=1e-5)
    np.testing.assert_allclose(clip, np.exp(evidence.log_probs[11]), atol=1e-5)


@pytest.mark.parametrize("kind", ["bigru", "transformer"])
def test_a_head_that_looks_ahead_is_refused(kind):
    with pytest.raises(ValueError, match=f"{kind} looks ahead"):
        HeadStream(make_head(kind=kind))
