"""Networks as PyTorch runs them for predictions."""

import contextlib

import numpy as np
import torch
from torch import Tensor

from emotemporal.errors import UsageError
from emotemporal.models.backbone import LUMA, normalise_crops, standardise_crops
from emotemporal.models.classifier import Precision
from emotemporal.models.mixed import landmark_vector
from emotemporal.models.network import FrameNetwork, FrameOutput
from emotemporal.models.specs import BackboneSpec, HeadSpec
from emotemporal.models.temporal import TemporalHead, temper
from emotemporal.recorded import RecordedNetwork, unrecorded
from emotemporal.structures import ClipBatch, PaddedClips

_BATCH_SIZE = 256


class TorchFrame:
    """A frame network run by PyTorch, in bf16 where the device computes in that.

    Args:
        network: as built by `build_backbone`; it is moved to the device.
        device: where it runs.
    """

    def __init__(self, network: FrameNetwork, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device).to(memory_format=torch.channels_last).eval()
        self._recorded: RecordedNetwork | None = None
        # Of landmarks so much is computed on the processor that little would be gained.
        if self.device.type == "cuda" and not network.spec.landmarks:
            self._luma = torch.tensor(LUMA, device=self.device)
            self._recorded = RecordedNetwork(self._run_on_device, self.device)

    @property
    def spec(self) -> BackboneSpec:
        return self.network.spec

    @property
    def precision(self) -> Precision:
        return "bf16" if computes_in_bf16(self.device) else "float32"

    def run(self, crops: np.ndarray, landmarks: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Do what `FrameRunner.run` says."""
        if self._recorded is None:
            with unrecorded(self.device):
                return run_backbone(self.network, crops, device=self.device, landmarks=landmarks)
        parts = [crops[start : start + _BATCH_SIZE] for start in range(0, len(crops), _BATCH_SIZE)]
        found = zip(*self._recorded.run_all(parts), strict=True)
        return dict(zip(["embedding", *self.spec.label_sets], map(np.concatenate, found), strict=True))

    def _run_on_device(self, crops: Tensor) -> tuple[Tensor, ...]:
        """Return the embeddings and each label set's logits, float32, of crops as of `run_backbone`."""
        # As `normalise_crops`, with no constant to be brought from the processor, which cannot be recorded.
        gray = crops.float() @ self._luma if crops.ndim == 4 else crops.float()
        inputs = standardise_crops(gray).contiguous(memory_format=torch.channels_last)
        with best_autocast(self.device):
            out = self.network(inputs)
        return (out.embedding.float(), *(out.logits[name].float() for name in self.spec.label_sets))


class TorchHead:
    """A temporal head run by PyTorch.

    Args:
        network: the head; it is moved to the device.
        temperature: flattens what the head made of the evidence, among the emotions it was trained on and as
            far as it was trusted.
        device: where it runs.
    """

    def __init__(
        self, network: TemporalHead, *, temperature: float = 1.0, device: torch.device | str = "cpu"
    ) -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device).eval()
        self.temperature = temperature

    @property
    def spec(self) -> HeadSpec:
        return self.network.spec

    @torch.inference_mode()
    def run(self, clips: PaddedClips) -> tuple[np.ndarray, np.ndarray]:
        """Do what `HeadRunner.run` says."""
        with unrecorded(self.device):
            batch = ClipBatch.of(clips).to(self.device)
            out = self.network(batch.embeddings, batch.evidence, batch.seconds, batch.mask, batch.geometry)
            # What the head adds is overconfident with new people; evidence that it left alone is calibrated.
            excess, trained = self.temperature - 1, self.network.trained
            frames = temper(out.frame_logits, trained, 1 + excess * out.frame_trust)
            of_clips = temper(out.clip_logits, trained, 1 + excess * out.clip_trust)
            return frames.exp().cpu().numpy(), of_clips.exp().cpu().numpy()


def computes_in_bf16(device: torch.device) -> bool:
    """Return whether a device computes in bf16 natively."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def best_autocast(device: torch.device) -> contextlib.AbstractContextManager:
    """Return bf16 autocast where the device computes in bf16 natively, else float32."""
    if computes_in_bf16(device):
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


@torch.inference_mode()
def run_backbone(
    network: FrameNetwork,
    crops: np.ndarray,
    *,
    device: torch.device | str = "cpu",
    batch_size: int = _BATCH_SIZE,
    landmarks: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Run a frame network over crops of any number.

    Args:
        network: as built by `build_backbone`; put into evaluation mode.
        crops: uint8 (N, S, S, 3) RGB or (N, S, S) gray, N at least 1.
        landmarks: (N, P, 2) in any pixels, for a network with a landmark branch; not finite where none.
    Raises:
        UsageError: the network needs landmarks that are not there.
    Returns: `embedding` float32 (N, D), and for each label set its logits float32 (N, C).
    """
    device = torch.device(device)
    num_points = network.spec.landmarks
    if num_points and (landmarks is None or landmarks.shape[1] != num_points):
        raise UsageError(
            f"this frame network needs {num_points} landmarks of each face, found "
            f"{0 if landmarks is None else landmarks.shape[1]}; use a network with backbone.landmarks 0 here"
        )
    network.eval()
    parts: list[FrameOutput] = []
    for start in range(0, len(crops), batch_size):
        batch = torch.from_numpy(crops[start : start + batch_size]).to(device)
        # In float32 as in training: only the network itself runs in less.
        inputs = normalise_crops(batch).contiguous(memory_format=torch.channels_last)
        vector = None
        if num_points and landmarks is not None:
            vector = landmark_vector(torch.from_numpy(landmarks[start : start + batch_size])).to(device)
        with best_autocast(device):
            parts.append(network(inputs, vector))
    found = {"embedding": torch.cat([part.embedding for part in parts])}
    for name in parts[0].logits:
        found[name] = torch.cat([part.logits[name] for part in parts])
    return {name: value.float().cpu().numpy() for name, value in found.items()}
