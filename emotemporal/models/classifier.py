"""From crops to evidence, from evidence to emotions: the networks as predictions use them."""

import contextlib
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from scipy.special import log_softmax

from emotemporal.errors import UsageError
from emotemporal.faces.geometry import fill_missing, geometry_stream
from emotemporal.models.backbone import normalise_crops
from emotemporal.models.mixed import landmark_vector
from emotemporal.models.network import FrameNetwork, FrameOutput
from emotemporal.models.openvino import OpenVinoBackbone
from emotemporal.models.temporal import TemporalHead, temper
from emotemporal.structures import ClipBatch

Backend = Literal["torch", "openvino"]

# A head sees this much of a track at once, in steps of half of it: about the longest training clip,
# and a bound on memory however long the video is.
WINDOW_SECONDS = 8.0
_WINDOWS_AT_ONCE = 16


class FrameEvidence(NamedTuple):
    """What the frame network says of N crops."""

    embeddings: np.ndarray
    """float16 (N, D)."""
    log_probs: np.ndarray
    """float32 (N, C), calibrated, normalised."""


class EmotionClassifier:
    """A frame network with its calibration and, in a clip checkpoint, a temporal head.

    Args:
        backbone: frame network.
        labels: the C emotions.
        temperature: divides the frame logits.
        label_set: which of the frame network's classifiers is asked; None for the first.
        head: temporal head, or None.
        head_temperature: flattens what the head made of the evidence, among the emotions it was trained on
            and as far as it was trusted.
        device: where the networks run.
        backend: what runs the frame network: PyTorch, or OpenVINO on a CPU.
        num_threads: that run the frame network under OpenVINO.
        checkpoint_sha256: of the file that the networks come from, by which what they say can be kept.
    Raises:
        UsageError: the backend is not installed, or cannot run this network there.
    """

    def __init__(
        self,
        backbone: FrameNetwork,
        *,
        labels: Sequence[str],
        temperature: float,
        label_set: str | None = None,
        head: TemporalHead | None = None,
        head_temperature: float = 1.0,
        device: torch.device | str = "cpu",
        backend: Backend = "torch",
        num_threads: int = 1,
        checkpoint_sha256: str | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.backbone = backbone.to(self.device).to(memory_format=torch.channels_last).eval()
        self.head = None if head is None else head.to(self.device).eval()
        self.labels = tuple(labels)
        self.temperature = temperature
        self.head_temperature = head_temperature
        self.checkpoint_sha256 = checkpoint_sha256
        self.label_set = label_set or next(iter(backbone.classifiers))
        if backend == "openvino" and self.device.type != "cpu":
            raise UsageError(f"backend openvino runs on the CPU, not on {self.device.type}; use device cpu")
        self._compiled = None
        if backend == "openvino":
            self._compiled = OpenVinoBackbone(
                self.backbone, identity=checkpoint_sha256, num_threads=num_threads
            )

    @property
    def num_landmarks(self) -> int:
        """How many landmarks of each face the frame network must be told: 0, 5 or 68."""
        return self.backbone.spec.landmarks

    def classify_crops(self, crops: np.ndarray, landmarks: np.ndarray | None = None) -> FrameEvidence:
        """Run the frame network.

        Args:
            crops: uint8 (N, S, S, 3) RGB or (N, S, S) gray, N at least 1.
            landmarks: (N, P, 2) in any pixels, needed where `num_landmarks` is not 0, else ignored.
        Raises:
            UsageError: the network needs landmarks that are not there.
        """
        if self._compiled is not None:
            found = self._compiled.run(crops)
        else:
            found = run_backbone(self.backbone, crops, device=self.device, landmarks=landmarks)
        logits = found[self.label_set] / self.temperature
        return FrameEvidence(
            found["embedding"].astype(np.float16), log_softmax(logits, axis=1).astype(np.float32)
        )

    def classify_sequence(
        self,
        evidence: FrameEvidence | None,
        pts_seconds: np.ndarray,
        landmarks68: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Run the temporal head over one person's frames.

        Long sequences go through overlapping windows whose frames are blended.

        Args:
            evidence: of L frames, in order; None for a head of geometry alone.
            pts_seconds: (L,), strictly increasing.
            landmarks68: (L, 68, 2) in pixels of the video, for a head that sees geometry, else ignored; not
                finite where missing.
        Returns: probabilities of the frames float32 (L, C) and of the clip float32 (C,).
        Raises:
            ValueError: there is no head.
            UsageError: a stream that the head was trained on is missing.
            DataError: the head sees geometry, and no frame has landmarks.
        """
        head = self.head
        if head is None:
            raise ValueError("this checkpoint has no temporal head")
        windows = _windows(pts_seconds)
        weights = [_window_weights(pts_seconds[window]) for window in windows]
        total = np.zeros(len(pts_seconds))
        for window, weight in zip(windows, weights, strict=True):
            total[window] += weight
        head.require_streams(appearance=evidence is not None, geometry=landmarks68 is not None)
        # Before windows are cut, one of which may have none.
        points = None
        if landmarks68 is not None and head.spec.sees_geometry:
            points = fill_missing(landmarks68, pts_seconds)
        frame_probs = np.zeros((len(pts_seconds), len(self.labels)))
        clip_probs = np.zeros(len(self.labels))
        for start in range(0, len(windows), _WINDOWS_AT_ONCE):
            chunk = slice(start, start + _WINDOWS_AT_ONCE)
            found = self._run_head(head, evidence, pts_seconds, points, windows[chunk])
            for window, weight, (frames, clip) in zip(windows[chunk], weights[chunk], found, strict=True):
                share = weight / total[window]
                frame_probs[window] += share[:, None] * frames
                # Every frame counts once in the clip, in whatever windows it was seen.
                clip_probs += share.sum() * clip
        return frame_probs.astype(np.float32), (clip_probs / clip_probs.sum()).astype(np.float32)

    @torch.inference_mode()
    def _run_head(
        self,
        head: TemporalHead,
        evidence: FrameEvidence | None,
        pts_seconds: np.ndarray,
        points: np.ndarray | None,
        windows: list[slice],
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        embeddings = log_probs = geometry = None
        if evidence is not None:
            embeddings = [evidence.embeddings[window] for window in windows]
            log_probs = [evidence.log_probs[window] for window in windows]
        if points is not None:
            # Of each window by itself, as of a training clip.
            geometry = [geometry_stream(points[window], pts_seconds[window]) for window in windows]
        seconds = [pts_seconds[window] for window in windows]
        batch = ClipBatch.pad(embeddings, log_probs, seconds, geometry=geometry).to(self.device)
        out = head(batch.embeddings, batch.evidence, batch.seconds, batch.mask, batch.geometry)
        # What the head adds is overconfident with new people; evidence that it left alone is calibrated.
        excess, trained = self.head_temperature - 1, head.trained
        frames = temper(out.frame_logits, trained, 1 + excess * out.frame_trust).exp().cpu().numpy()
        clips = temper(out.clip_logits, trained, 1 + excess * out.clip_trust).exp().cpu().numpy()
        lengths = [window.stop - window.start for window in windows]
        return [(frames[row, :length], clips[row]) for row, length in enumerate(lengths)]


def _window_weights(seconds: np.ndarray) -> np.ndarray:
    """(L,): a frame near a window's edge has less context there than in the neighbouring window."""
    return np.minimum(seconds - seconds[0], seconds[-1] - seconds) + 1e-3


def _windows(pts_seconds: np.ndarray) -> list[slice]:
    """Cut a track into windows of `WINDOW_SECONDS` that overlap by half; a short one stays whole."""
    first, last = float(pts_seconds[0]), float(pts_seconds[-1])
    if last - first <= WINDOW_SECONDS:
        return [slice(0, len(pts_seconds))]
    num = int(np.ceil((last - first) / (WINDOW_SECONDS / 2))) - 1
    starts = np.linspace(first, last - WINDOW_SECONDS, num)
    found = [
        slice(
            int(np.searchsorted(pts_seconds, start - 1e-6)),
            int(np.searchsorted(pts_seconds, start + WINDOW_SECONDS + 1e-6)),
        )
        for start in starts
    ]
    return [window for window in found if window.stop > window.start]


def best_autocast(device: torch.device) -> contextlib.AbstractContextManager:
    """Return bf16 autocast where the device computes in bf16 natively, else float32."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported()
    else:
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.autocast(device.type, torch.bfloat16) if native else contextlib.nullcontext()


@torch.inference_mode()
def run_backbone(
    network: FrameNetwork,
    crops: np.ndarray,
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 256,
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
