"""Temporal heads: evidence first, padding ignored, real time used."""

import numpy as np
import pytest
import torch

from emotemporal.errors import UsageError
from emotemporal.faces.geometry import STREAM_DIM, TEMPLATE
from emotemporal.models.backbone import build_backbone, normalise_crops
from emotemporal.models.classifier import EmotionClassifier, FrameEvidence
from emotemporal.models.specs import BackboneSpec, HeadSpec
from emotemporal.models.temporal import TemporalHead, _motion, redistribute
from emotemporal.models.torch_runners import TorchFrame, TorchHead

KINDS = ("gru", "bigru", "transformer")
EMBEDDING, CLASSES = 12, 7
TINY = BackboneSpec(widths=(8, 12), depths=(1, 1))


def make_head(
    kind: str, *, trained=range(CLASSES), learned: bool = True, streams: str = "appearance"
) -> TemporalHead:
    """A head; `learned` gives its zero output layers random weights."""
    torch.manual_seed(0)
    spec = HeadSpec(kind=kind, streams=streams, width=16, num_attention_heads=2)
    head = TemporalHead(spec, embedding_dim=EMBEDDING, num_classes=CLASSES, trained_classes=list(trained))
    if learned:
        torch.nn.init.normal_(head.frame_correction.weight)
        torch.nn.init.normal_(head.clip_correction.weight)
    return head.eval()


def make_inputs(batch: int = 2, length: int = 9):
    generator = torch.Generator().manual_seed(1)
    embeddings = torch.randn(batch, length, EMBEDDING, generator=generator)
    evidence = torch.randn(batch, length, CLASSES, generator=generator).log_softmax(-1)
    seconds = (torch.arange(length) / 25.0).expand(batch, length)
    return embeddings, evidence, seconds, torch.ones(batch, length, dtype=torch.bool)


@pytest.mark.parametrize("kind", KINDS)
def test_an_untrained_head_says_what_the_frames_say(kind):
    embeddings, evidence, seconds, mask = make_inputs()
    out = make_head(kind, learned=False)(embeddings, evidence, seconds, mask)
    torch.testing.assert_close(out.frame_logits, evidence)
    torch.testing.assert_close(out.clip_logits.exp(), evidence.exp().mean(1))
    assert out.correction == 0


@pytest.mark.parametrize("kind", KINDS)
def test_padding_never_changes_the_logits(kind):
    head = make_head(kind)
    embeddings, evidence, seconds, mask = make_inputs(batch=1)
    alone = head(embeddings, evidence, seconds, mask)
    pad = 5
    padded = head(
        torch.cat([embeddings, torch.full((1, pad, EMBEDDING), 99.0)], 1),
        torch.cat([evidence, torch.full((1, pad, CLASSES), -3.0)], 1),
        torch.cat([seconds, torch.full((1, pad), 77.0)], 1),
        torch.cat([mask, torch.zeros(1, pad, dtype=torch.bool)], 1),
    )
    torch.testing.assert_close(padded.clip_logits, alone.clip_logits)
    torch.testing.assert_close(padded.frame_logits[:, :-pad], alone.frame_logits)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("streams", ["geometry", "both"])
def test_padding_never_changes_the_logits_of_other_streams(kind, streams):
    head = make_head(kind, streams=streams)
    embeddings, evidence, seconds, mask = make_inputs()
    geometry = torch.randn(2, 9, STREAM_DIM, generator=torch.Generator().manual_seed(2))
    mask[1, 4:] = False
    together = head(embeddings, evidence, seconds, mask, geometry)
    geometry[1, 4:] = 1e3
    again = head(embeddings, evidence, seconds, mask, geometry)
    torch.testing.assert_close(again.clip_logits, together.clip_logits)
    alone = head(embeddings[1:, :4], evidence[1:, :4], seconds[1:, :4], mask[1:, :4], geometry[1:, :4])
    torch.testing.assert_close(alone.clip_logits, together.clip_logits[1:], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(alone.frame_logits[0], together.frame_logits[1, :4], atol=1e-5, rtol=1e-5)


def test_both_streams_move_a_head_that_sees_both():
    head = make_head("bigru", streams="both")
    embeddings, evidence, seconds, mask = make_inputs()
    geometry = torch.randn(2, 9, STREAM_DIM, generator=torch.Generator().manual_seed(2))
    plain = head(embeddings, evidence, seconds, mask, geometry).clip_logits
    for changed in (
        head(-embeddings, evidence, seconds, mask, geometry),
        head(embeddings, evidence.roll(1, -1), seconds, mask, geometry),
        head(embeddings, evidence, seconds, mask, -geometry),
    ):
        assert not torch.allclose(changed.clip_logits, plain, atol=1e-3)


def test_an_untrained_head_of_geometry_believes_in_all_it_will_learn_alike():
    _, _, seconds, mask = make_inputs()
    head = make_head("bigru", learned=False, streams="geometry", trained=[0, 3])
    out = head(None, None, seconds, mask, torch.randn(2, 9, STREAM_DIM))
    expected = torch.tensor([0.5, 0, 0, 0.5, 0, 0, 0])
    torch.testing.assert_close(out.clip_logits.exp(), expected.expand(2, 7))
    torch.testing.assert_close(out.frame_logits.exp(), expected.expand(2, 9, 7))


@pytest.mark.parametrize(
    ("streams", "given", "message"),
    [
        ("appearance", "geometry", "trained on appearance, found geometry alone; give the frame network's"),
        ("geometry", "appearance", "trained on geometry, found appearance alone; give the faces' 68"),
        ("both", "appearance", "trained on appearance and geometry, found appearance alone"),
        ("both", "geometry", "trained on appearance and geometry, found geometry alone"),
        ("both", "neither", "found nothing alone"),
    ],
)
def test_a_missing_stream_is_told(streams, given, message):
    classifier = EmotionClassifier(
        TorchFrame(build_backbone(TINY)),
        labels=TINY.label_sets["fer7"],
        temperature=1.0,
        head=TorchHead(make_head("gru", streams=streams)),
    )
    pts = np.arange(5) / 25
    uniform = np.full((5, CLASSES), -np.log(CLASSES), np.float32)
    evidence = FrameEvidence(np.zeros((5, EMBEDDING), np.float16), uniform)
    points = np.random.default_rng(0).normal(TEMPLATE, 0.01, (5, 68, 2))
    with pytest.raises(UsageError, match=message):
        classifier.classify_sequence(
            evidence if given == "appearance" else None, pts, points if given == "geometry" else None
        )


def test_a_head_of_geometry_needs_no_frame_network_and_bears_gaps():
    classifier = EmotionClassifier(
        TorchFrame(build_backbone(TINY)),
        labels=TINY.label_sets["fer7"],
        temperature=1.0,
        head=TorchHead(make_head("bigru", streams="geometry")),
    )
    pts = np.arange(0, 20, 0.1)
    points = np.random.default_rng(0).normal(TEMPLATE, 0.01, (len(pts), 68, 2))
    # Longer than a window.
    points[20:120] = np.nan
    frames, clip = classifier.classify_sequence(None, pts, points)
    assert frames.shape == (len(pts), CLASSES)
    np.testing.assert_allclose(frames.sum(1), 1, atol=1e-4)
    assert clip.sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_time_between_frames_matters(kind):
    head = make_head(kind)
    embeddings, evidence, seconds, mask = make_inputs()
    slow = head(embeddings, evidence, seconds * 4, mask)
    fast = head(embeddings, evidence, seconds, mask)
    assert not torch.allclose(slow.clip_logits, fast.clip_logits, atol=1e-4)


def test_a_one_way_gru_does_not_look_ahead():
    head = make_head("gru")
    embeddings, evidence, seconds, mask = make_inputs()
    changed = embeddings.clone()
    changed[:, 5:] *= -1
    before = head(embeddings, evidence, seconds, mask).frame_logits
    after = head(changed, evidence, seconds, mask).frame_logits
    torch.testing.assert_close(after[:, :5], before[:, :5])
    assert not torch.allclose(after[:, 5:], before[:, 5:])


@pytest.mark.parametrize("kind", KINDS)
def test_emotions_that_were_not_trained_keep_their_evidence(kind):
    disgust = 1
    trained = [c for c in range(CLASSES) if c != disgust]
    embeddings, evidence, seconds, mask = make_inputs()
    out = make_head(kind, trained=trained)(embeddings, evidence, seconds, mask)
    torch.testing.assert_close(out.frame_logits[..., disgust], evidence[..., disgust])
    torch.testing.assert_close(out.clip_logits.exp()[:, disgust], evidence.exp().mean(1)[:, disgust])
    assert not torch.allclose(out.frame_logits, evidence, atol=1e-3)
    torch.testing.assert_close(out.frame_logits.exp().sum(-1), torch.ones(mask.shape))


@pytest.mark.parametrize("kind", KINDS)
def test_a_still_picture_keeps_its_evidence(kind):
    embeddings, evidence, seconds, mask = make_inputs(length=1)
    out = make_head(kind)(embeddings, evidence, seconds, mask)
    torch.testing.assert_close(out.frame_logits, evidence)
    torch.testing.assert_close(out.clip_logits, evidence[:, 0])


@pytest.mark.parametrize("kind", ["bigru", "transformer"])
def test_who_it_is_does_not_matter(kind):
    """A constant shift of all embeddings, as between two people's faces at rest, changes nothing."""
    head = make_head(kind)
    embeddings, evidence, seconds, mask = make_inputs()
    moved = head(embeddings + torch.randn(EMBEDDING), evidence, seconds, mask)
    plain = head(embeddings, evidence, seconds, mask)
    torch.testing.assert_close(moved.clip_logits, plain.clip_logits, atol=1e-4, rtol=1e-4)


def test_trust_begins_above_what_still_faces_show():
    """Clips that move 0, 1, ... 100 units a frame: three quarters stay below trust, 5 % have all of it."""
    head = make_head("bigru")
    head.motion_scale.fill_(2.0)
    seconds = torch.arange(50) * 0.2
    walk = torch.arange(50.0)[:, None].expand(-1, EMBEDDING)
    head.fit_trust([(step * walk, seconds) for step in range(101)])
    # The first of 50 frames has not moved yet.
    torch.testing.assert_close(head.motion_range, torch.tensor([75.0, 95.0]) / 2 * 49 / 50)


def test_motion_by_hand():
    embeddings = torch.arange(6.0)[None, :, None]
    seconds = torch.tensor([[0.0, 0.1, 0.2, 0.3, 0.6, 0.0]])
    mask = torch.tensor([[True, True, True, True, True, False]])
    # Compared with what was 0.13 s before: frames 0, 0, 0, 1, 3.
    assert _motion(embeddings, seconds, mask).flatten().tolist() == [0, 1, 2, 2, 1, 0]


def test_redistribute_by_hand():
    evidence = torch.tensor([0.5, 0.25, 0.25]).log()
    correction = torch.tensor([0.0, 7.0, 2.0]).mul(torch.log(torch.tensor(2.0)))
    moved = redistribute(evidence, correction, torch.tensor([True, False, True])).exp()
    # 0.5 : 0.25 * 4 within the 0.75 that the two share.
    torch.testing.assert_close(moved, torch.tensor([0.25, 0.25, 0.5]))


def test_normalised_crops_do_not_depend_on_brightness_and_contrast():
    crops = torch.randint(60, 180, (3, 48, 48), generator=torch.Generator().manual_seed(0))
    plain = normalise_crops(crops)
    assert plain.shape == (3, 1, 48, 48)
    torch.testing.assert_close(normalise_crops(crops * 0.5 + 20), plain, atol=1e-4, rtol=0)
    gray = normalise_crops(crops.unsqueeze(-1).expand(-1, -1, -1, 3))
    torch.testing.assert_close(gray, plain, atol=1e-4, rtol=0)


def test_a_flat_crop_is_no_nan():
    assert torch.isfinite(normalise_crops(torch.full((1, 48, 48), 7, dtype=torch.uint8))).all()


@pytest.mark.parametrize("num", [1, 5])
def test_classifier_gives_calibrated_log_probabilities(num):
    torch.manual_seed(0)
    classifier = EmotionClassifier(
        TorchFrame(build_backbone(TINY)),
        labels=TINY.label_sets["fer7"],
        temperature=2.0,
        head=TorchHead(make_head("gru")),
    )
    crops = np.random.default_rng(0).integers(0, 256, (num, 48, 48, 3), dtype=np.uint8)
    evidence = classifier.classify_crops(crops)
    assert evidence.embeddings.shape == (num, EMBEDDING)
    np.testing.assert_allclose(np.exp(evidence.log_probs).sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("seconds", [0.0, 3.0, 100.0])
def test_long_sequences_go_through_windows(seconds):
    classifier = EmotionClassifier(
        TorchFrame(build_backbone(TINY)),
        labels=TINY.label_sets["fer7"],
        temperature=1.0,
        head=TorchHead(make_head("bigru")),
    )
    pts = np.arange(0, seconds + 1e-9, 0.04)
    rng = np.random.default_rng(0)
    log_probs = np.log(rng.dirichlet(np.ones(CLASSES), len(pts))).astype(np.float32)
    evidence = FrameEvidence(rng.normal(size=(len(pts), EMBEDDING)).astype(np.float16), log_probs)
    frames, clip = classifier.classify_sequence(evidence, pts)
    assert frames.shape == (len(pts), CLASSES)
    np.testing.assert_allclose(frames.sum(1), 1, atol=1e-4)
    assert clip.sum() == pytest.approx(1, abs=1e-4)


def test_windows_of_an_untrained_head_blend_to_the_evidence():
    classifier = EmotionClassifier(
        TorchFrame(build_backbone(TINY)),
        labels=TINY.label_sets["fer7"],
        temperature=1.0,
        head=TorchHead(make_head("bigru", learned=False)),
    )
    # A gap longer than a window lies in the middle.
    pts = np.concatenate([np.arange(0, 12, 0.1), np.arange(40, 52, 0.1)])
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(CLASSES), len(pts)).astype(np.float32)
    evidence = FrameEvidence(np.zeros((len(pts), EMBEDDING), np.float16), np.log(probs))
    frames, _ = classifier.classify_sequence(evidence, pts)
    np.testing.assert_allclose(frames, probs, atol=1e-5)


def test_wrong_dimensions_are_refused():
    with pytest.raises(ValueError, match="multiple"):
        HeadSpec(kind="transformer", width=10, num_attention_heads=4)
    with pytest.raises(ValueError, match="appearance, geometry, both"):
        HeadSpec(streams="sound")
    with pytest.raises(ValueError, match="length"):
        BackboneSpec(widths=(8,), depths=(1, 1))
