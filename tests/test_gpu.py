"""On a GPU: what was recorded gives what runs directly, and videos get the labels that they get on a CPU."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from emotemporal import recorded
from emotemporal.cli.predict_clip import main as predict_clip
from emotemporal.faces.association import box_overlaps
from emotemporal.faces.detector import MtcnnDetector
from emotemporal.faces.mtcnn import load_cascade
from emotemporal.labels import FER7
from emotemporal.models.backbone import build_backbone
from emotemporal.models.specs import BACKBONE_NAMES, BackboneSpec
from emotemporal.models.torch_runners import TorchFrame, run_backbone
from emotemporal.pipeline import EmotionPipeline
from emotemporal.recorded import RecordedNetwork
from emotemporal.structures import VideoAnalysis
from emotemporal.video.reader import VideoReader

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def network() -> RecordedNetwork:
    scale = torch.arange(1, 5, device="cuda")

    def compute(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return x.float().mean(1) @ torch.outer(scale, scale).float(), x.int().sum((1, 2))

    return RecordedNetwork(compute, "cuda")


def assert_computed(batch: np.ndarray, found: tuple[np.ndarray, ...]) -> None:
    scale = np.arange(1, 5)
    np.testing.assert_allclose(found[0], batch.mean(1) @ np.outer(scale, scale), rtol=1e-5)
    np.testing.assert_array_equal(found[1], batch.sum((1, 2)))


def test_rows_of_other_batches_are_left_out(network):
    for rows in (8, 3, 5, 1, 8, 2):
        batch = pixels(rows, 6, 4)
        assert_computed(batch, network(batch))


def test_batches_of_one_shape_are_kept_apart(network):
    batches = [pixels(4, 6, 4) // (i + 1) for i in range(5)]
    for batch, found in zip(batches, network.run_all(batches), strict=True):
        assert_computed(batch, found)


def test_more_shapes_than_are_kept(network, monkeypatch):
    monkeypatch.setattr(recorded, "_MAX_RECORDINGS", 3)
    for height in (2, 3, 4, 5, 2, 5, 6, 3):
        batches = [pixels(2, height, 4), pixels(2, height + 7, 4)]
        for batch, found in zip(batches, network.run_all(batches), strict=True):
            assert_computed(batch, found)


def test_threads_that_record_and_run_at_once():
    cascades = [load_cascade("cuda", backend="torch") for _ in range(2)]
    frame = TorchFrame(build_backbone(BackboneSpec(label_sets={"fer7": FER7})), "cuda")
    levels = [pixels(1, 20 + 3 * i, 30 + 2 * i, 3) for i in range(20)]
    crops = [pixels(n, 32, 32, 3) for n in (1, 2, 4, 8, 16, 32, 64)]

    def run(turn: int) -> list[np.ndarray]:
        if turn % 3 == 2:
            return [frame.run(part)["embedding"] for part in crops]
        return [scores for _, scores in cascades[turn % 3].pnet(levels)]

    alone = [run(turn) for turn in range(3)]
    cascades = [load_cascade("cuda", backend="torch") for _ in range(2)]
    frame = TorchFrame(frame.network, "cuda")
    with ThreadPoolExecutor(6) as pool:
        for turn, found in enumerate(pool.map(run, range(18))):
            for part, expected in zip(found, alone[turn % 3], strict=True):
                np.testing.assert_allclose(part, expected, atol=1e-4)


@pytest.mark.parametrize("name", BACKBONE_NAMES)
def test_frame_networks_give_what_they_give_unrecorded(name):
    torch.manual_seed(0)
    network = build_backbone(BackboneSpec(name=name, label_sets={"fer7": FER7}))
    crops = pixels(300, 48, 48, 3)
    frame = TorchFrame(network, "cuda")
    for part in (crops[:5], crops):
        expected = run_backbone(network, part, device="cuda")
        found = frame.run(part)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert found[key].dtype == np.float32
            # In bf16, by other kernels for another number of rows.
            spread = np.abs(value).max()
            np.testing.assert_allclose(found[key], value, atol=0.03 * spread, rtol=0)


def test_faces_are_found_where_the_cpu_finds_them(root):
    on_cpu, on_gpu = MtcnnDetector("cpu"), MtcnnDetector("cuda")
    with VideoReader(root / "examples" / "demo.mp4") as reader:
        frames = next(iter(reader)).data[::4]
    for frame in frames:
        expected, found = on_cpu.detect_faces(frame), on_gpu.detect_faces(frame)
        assert len(found) == len(expected) > 0
        overlap, _ = box_overlaps(expected.boxes, found.boxes)
        assert np.diag(overlap).min() > 0.95
        refined = on_gpu.refine_faces(frame, expected.boxes)
        again = on_cpu.refine_faces(frame, expected.boxes)
        np.testing.assert_allclose(refined.landmarks, again.landmarks, atol=1.0)


@pytest.mark.needs_weights
def test_a_video_gets_the_labels_that_it_gets_on_the_cpu(root):
    def label(device: str) -> VideoAnalysis:
        return EmotionPipeline.load(device=device, backend="torch").analyze(root / "examples" / "demo.mp4")

    on_cpu, on_gpu = label("cpu"), label("cuda")
    assert on_gpu.settings["device"] == "cuda"
    for expected, found in zip(on_cpu.tracks, on_gpu.tracks, strict=True):
        np.testing.assert_array_equal(found.frame_index, expected.frame_index)
        assert np.median(np.abs(found.boxes - expected.boxes)) < 0.5
    for expected, found in zip(on_cpu.timelines, on_gpu.timelines, strict=True):
        assert np.abs(found.frame_probs - expected.frame_probs).mean() < 0.02
        same = found.smoothed_probs.argmax(1) == expected.smoothed_probs.argmax(1)
        assert same.mean() >= 0.97
        for way, result in expected.clip.items():
            np.testing.assert_allclose(found.clip[way].probs, result.probs, atol=0.03)


@pytest.mark.needs_weights
def test_the_command_takes_the_gpu_by_itself(root, tmp_path):
    video = Path(root, "examples", "demo.mp4")
    assert predict_clip([str(video), "--per-frame", "--overlay", "--output-dir", str(tmp_path)]) == 0
    text = (tmp_path / "demo.json").read_text()
    assert '"device": "cuda"' in text
    assert '"backend": "torch"' in text
    assert (tmp_path / "demo.frames.csv").stat().st_size > 1000
