"""What is found of several people is told apart, whoever comes and goes."""

import numpy as np
import pytest
import torch

from emotemporal.labels import FER7
from emotemporal.models.backbone import build_backbone
from emotemporal.models.classifier import EmotionClassifier, FrameEvidence
from emotemporal.models.person import PeopleEvidence, SeenFaces
from emotemporal.models.specs import BackboneSpec, HeadSpec
from emotemporal.models.temporal import TemporalHead
from emotemporal.models.torch_runners import TorchFrame, TorchHead

EMBEDDING = 16


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(0)
    spec = BackboneSpec(widths=(8, EMBEDDING), depths=(1, 1), label_sets={"fer7": FER7})
    head = TemporalHead(
        HeadSpec(kind="gru", width=8), embedding_dim=EMBEDDING, num_classes=7, trained_classes=[*range(7)]
    )
    torch.nn.init.normal_(head.frame_correction.weight)
    return EmotionClassifier(
        TorchFrame(build_backbone(spec)), labels=FER7, temperature=1.0, head=TorchHead(head)
    )


def evidence_of(num, seed):
    rng = np.random.default_rng(seed)
    log_probs = np.log(rng.dirichlet(np.ones(7), num)).astype(np.float32)
    return FrameEvidence(rng.normal(size=(num, EMBEDDING)).astype(np.float16), log_probs)


def joined(*parts):
    return FrameEvidence(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def test_everyone_gets_their_own_whether_gone_or_not(classifier):
    """Person 1 leaves after a second, 2 stays for a minute; 100 frames at a time, 25 a second."""
    first, second = evidence_of(25, 1), evidence_of(1500, 2)
    people = PeopleEvidence(classifier)
    for start in range(0, 1500, 100):
        frames = np.arange(start, start + 100)
        theirs = frames[frames < 25]
        part = FrameEvidence(second.embeddings[frames], second.log_probs[frames])
        found = joined(FrameEvidence(first.embeddings[theirs], first.log_probs[theirs]), part)
        index = np.concatenate([theirs, frames])
        ids = np.repeat([1, 2], [len(theirs), len(frames)])
        order = np.argsort(index, kind="stable")
        found = FrameEvidence(found.embeddings[order], found.log_probs[order])
        people.add(SeenFaces(ids[order], index[order], index[order] / 25, None), found)
    for track_id, evidence in ((1, first), (2, second)):
        pts = np.arange(len(evidence.log_probs)) / 25
        probs = people.take(track_id)
        frames, clip = classifier.classify_sequence(evidence, pts)
        np.testing.assert_array_equal(probs.pts_seconds, pts)
        np.testing.assert_allclose(probs.of_frames, np.exp(evidence.log_probs), atol=1e-6)
        np.testing.assert_allclose(probs.temporal, frames, atol=1e-5)
        np.testing.assert_allclose(probs.clip, clip, atol=1e-5)


@pytest.mark.parametrize(("step", "seconds"), [(1, 60.0), (99, 4.0), (90, 60.0), (500, 4.0)])
def test_pictures_far_apart_are_no_absence(classifier, step, seconds):
    """A hundred frames of a slow camera, or five seconds of pictures that stand still, are none alone."""
    people = PeopleEvidence(classifier)
    for k in range(3):
        seen = SeenFaces(np.array([1]), np.array([k * step]), np.array([k * seconds]), None)
        people.add(seen, evidence_of(1, k))
    assert len(people.take(1).pts_seconds) == 3


def test_who_comes_back_from_the_gone_is_an_error(classifier):
    people = PeopleEvidence(classifier)
    for track_id, frame in ((1, 0), (2, 200)):
        seen = SeenFaces(np.array([track_id]), np.array([frame]), np.array([frame / 25]), None)
        people.add(seen, evidence_of(1, 0))
    with pytest.raises(ValueError, match="track 1 was away for more than 5 s"):
        people.add(SeenFaces(np.array([1]), np.array([201]), np.array([201 / 25]), None), evidence_of(1, 0))
