"""The networks as single graphs say what the networks say of which they are made."""

import numpy as np
import pytest
import torch

from emotemporal.errors import UsageError
from emotemporal.models.backbone import build_backbone
from emotemporal.models.exportable import ExportableFrame, ExportableHead
from emotemporal.models.specs import BackboneSpec, HeadSpec
from emotemporal.models.temporal import TemporalHead, temper
from emotemporal.structures import ClipBatch

DIM, TRAINED = 6, [0, 2, 3]


def lively_head(spec: HeadSpec) -> TemporalHead:
    """Return a head that corrects much, and trusts what moves a little."""
    torch.manual_seed(0)
    head = TemporalHead(spec, embedding_dim=DIM, num_classes=7, trained_classes=TRAINED)
    torch.nn.init.normal_(head.frame_correction.weight)
    torch.nn.init.normal_(head.clip_correction.weight)
    head.motion_range = torch.tensor([0.0, 0.5])
    return head.eval()


@pytest.mark.parametrize(("kind", "num_layers"), [("gru", 1), ("bigru", 1), ("bigru", 2), ("transformer", 2)])
def test_a_head_on_a_padded_batch(kind, num_layers):
    head = lively_head(HeadSpec(kind=kind, num_layers=num_layers, width=8))
    rng = np.random.default_rng(0)
    lengths = (30, 17, 1)
    batch = ClipBatch.pad(
        [rng.uniform(0, 1, (length, DIM)) for length in lengths],
        [rng.normal(0, 2, (length, 7)) for length in lengths],
        [np.cumsum(rng.uniform(0.01, 0.08, length)) for length in lengths],
    )
    inputs = (batch.embeddings, batch.evidence, batch.seconds, batch.mask)
    with torch.inference_mode():
        out = head(*inputs)
        frames, clips = ExportableHead(head, 1.5)(*inputs)
    assert out.clip_trust[0] > 0.3
    assert out.correction > 0.01
    wanted = temper(out.frame_logits, head.trained, 1 + 0.5 * out.frame_trust)
    torch.testing.assert_close(frames[batch.mask], wanted[batch.mask], atol=1e-5, rtol=0)
    wanted = temper(out.clip_logits, head.trained, 1 + 0.5 * out.clip_trust)
    torch.testing.assert_close(clips, wanted, atol=1e-5, rtol=0)


def test_what_sees_landmarks_is_refused():
    with pytest.raises(UsageError, match="frame network sees 5 landmarks"):
        ExportableFrame(build_backbone(BackboneSpec(widths=(8,), depths=(1,), landmarks=5)))
    with pytest.raises(UsageError, match="head sees 68 landmarks"):
        ExportableHead(lively_head(HeadSpec(streams="both", width=8)), 1.0)
