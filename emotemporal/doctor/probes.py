"""What is done in a process of its own: imports, decoding, encoding, the whole way from a video to a label.

Each probe tells of itself in lines on stdout: `begin`, `found` with a finding as JSON, `end`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotemporal.doctor.children import portrait
from emotemporal.doctor.findings import Finding
from emotemporal.doctor.packages import module_of

if TYPE_CHECKING:
    import numpy as np

_NUM_FRAMES, _FPS = 25, 25
_PORTRAIT_BOX = (75.6, 56.4, 165.3, 168.1)
"""Where the face of the portrait is, in pixels."""
_MIN_IOU = 0.8
_PORTRAIT_EMOTION = "happy"
_TIME_TOLERANCE_SECONDS = 0.001


def main(names: Sequence[str]) -> None:
    """Do probes: `import:<distribution>`, or one of `PROBES`."""
    for name in names:
        _tell("begin " + name)
        package = name.removeprefix("import:")
        probe = PROBES[name] if package == name else partial(probe_import, package)
        try:
            for finding in probe():
                _tell("found " + json.dumps(asdict(finding)))
        except Exception as error:
            finding = Finding(name, "fault", _describe(error), "see the other faults, or install anew")
            _tell("found " + json.dumps(asdict(finding)))
        _tell("end " + name)
    # Some libraries take their time to end, and nothing is left to do.
    os._exit(0)


def _tell(line: str) -> None:
    print("\n" + line, flush=True)


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def probe_import(package: str) -> Iterator[Finding]:
    """Import a distribution's module; says something only where that fails, or of torch's devices."""
    try:
        module = importlib.import_module(module_of(package))
        if package == "torchvision":
            # Its compiled part, which is of one release of torch only.
            from torchvision.ops import nms

            _ = nms
            module.extension._assert_has_ops()
        if package == "facenet-pytorch":
            from facenet_pytorch.models import mtcnn  # noqa: F401
    except BaseException as error:  # a module may do anything
        advice = f"run: pip install --force-reinstall {package}"
        yield Finding(package, "fault", f"cannot be imported: {_describe(error)}", advice)
        return
    if package == "torch":
        yield _describe_cuda(module)


def _describe_cuda(torch: Any) -> Finding:
    if torch.cuda.is_available():
        devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Finding("CUDA", "ok", ", ".join(devices))
    if Path("/dev/nvidia0").exists():
        advice = "install a torch that is built for its driver"
        return Finding("CUDA", "warning", f"a GPU is there, torch {torch.__version__} cannot use it", advice)
    return Finding("CUDA", "note", "no GPU; everything runs on the CPU")


def probe_decoders() -> Iterator[Finding]:
    """Write a short video; both decoders must give all of its frames at their times."""
    import av
    import numpy as np

    if "libx264" not in av.codecs_available:
        advice = "run: pip install --force-reinstall av (its own wheel has it)"
        yield Finding("encoder libx264", "fault", "this FFmpeg has none: no overlays", advice)
        return
    picture = _read_portrait()
    if picture is None:
        advice = "run: pip install --force-reinstall emotemporal"
        yield Finding("portrait", "fault", f"{portrait()} is missing or cannot be read", advice)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "portrait.mp4"
        try:
            with av.open(str(path), "w") as container:
                stream = container.add_stream("libx264", rate=_FPS)
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
                for _ in range(_NUM_FRAMES):
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
                container.mux(stream.encode())
        except Exception as error:
            advice = "run: pip install --force-reinstall av"
            yield Finding("encoder libx264", "fault", f"writes no video: {_describe(error)}", advice)
            return
        yield Finding("encoder libx264", "ok", f"wrote {_NUM_FRAMES} frames")
        expected = np.arange(_NUM_FRAMES) / _FPS
        for name, package, decode in (("PyAV", "av", _decode_av), ("decord", "decord2", _decode_decord)):
            advice = f"run: pip install --force-reinstall {package}"
            try:
                times, brightness = decode(path)
            except Exception as error:
                yield Finding(f"decoder {name}", "fault", f"fails: {_describe(error)}", advice)
                continue
            if len(times) != len(expected):
                found = f"{len(times)} frames of {len(expected)}"
                yield Finding(f"decoder {name}", "fault", found, advice)
            elif np.abs(times - expected).max() > _TIME_TOLERANCE_SECONDS:
                found = f"times are off by {np.abs(times - expected).max():.3f} s"
                yield Finding(f"decoder {name}", "fault", found, advice)
            elif abs(brightness - picture.mean()) > 5:
                found = f"pictures of brightness {brightness:.0f}, {picture.mean():.0f} were written"
                yield Finding(f"decoder {name}", "fault", found, advice)
            else:
                yield Finding(f"decoder {name}", "ok", f"{len(times)} frames at their times")


def _decode_av(path: Path) -> tuple:
    """Return times in seconds (N,) and the mean brightness of the last frame."""
    import av
    import numpy as np

    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return np.array([frame.time for frame in frames]), frames[-1].to_ndarray(format="rgb24").mean()


def _decode_decord(path: Path) -> tuple:
    import decord
    import numpy as np

    reader = decord.VideoReader(str(path))
    times = np.array([reader.get_frame_timestamp(i)[0] for i in range(len(reader))])
    return times, reader[len(reader) - 1].asnumpy().mean()


def probe_cache() -> Iterator[Finding]:
    """Look whether compiled networks can be kept."""
    from emotemporal.compiled import cache_folder, is_available

    if not is_available():
        return
    folder = cache_folder()
    if folder is None:
        yield Finding("cache", "warning", "no home folder: every start is slower", "set EMOTEMPORAL_CACHE")
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"1")
    except OSError as error:
        advice = "let EMOTEMPORAL_CACHE name a folder that can be written to"
        found = f"{folder} cannot be written ({error.strerror}): every start is slower"
        yield Finding("cache", "warning", found, advice)
        return
    yield Finding("cache", "ok", str(folder))


def probe_pipeline() -> Iterator[Finding]:
    """Label the portrait as a picture: the face must be where it is, and smile."""
    from emotemporal.errors import EmotemporalError
    from emotemporal.pipeline import EmotionPipeline

    advice = "run: pip install --force-reinstall facenet-pytorch==2.5.3, and see the other faults"
    try:
        pipeline = EmotionPipeline.load(device="cpu")
    except EmotemporalError as error:
        yield Finding("self-test", "fault", f"the networks do not load: {error}", "see the other faults")
        return
    picture = _read_portrait()
    if picture is None:
        return  # which the decoders' probe has told
    faces = pipeline.detector.detect_faces(picture)
    if len(faces) != 1:
        found = f"{len(faces)} faces found on a picture of one"
        yield Finding("face detector", "fault", found, advice)
        return
    overlap = _iou(faces.boxes[0], _PORTRAIT_BOX)
    if overlap < _MIN_IOU:
        found = f"the known face is found elsewhere: {faces.boxes[0].round().tolist()}"
        yield Finding("face detector", "fault", found, advice)
        return
    yield Finding("face detector", "ok", f"found the known face (IoU {overlap:.2f})")
    analysis = pipeline.analyze(portrait())
    labels = [timeline.clip["sum"].emotion for timeline in analysis.timelines]
    if labels != [_PORTRAIT_EMOTION]:
        found = f"the known smile is labelled {', '.join(labels) or 'nobody'}"
        yield Finding("self-test", "fault", found, "check the checkpoints' hashes; see the other faults")
        return
    confidence = analysis.timelines[0].clip["sum"].probs.max()
    backend = pipeline.backend
    yield Finding("self-test", "ok", f"the known smile is {labels[0]} ({confidence:.0%}, {backend})")


def probe_video() -> Iterator[Finding]:
    """Write and read the portrait as a video through the package's own reader and its decoding process."""
    from emotemporal.video.reader import VideoReader
    from emotemporal.video.writer import VideoWriter

    picture = _read_portrait()
    if picture is None:
        return
    height, width = picture.shape[:2]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "portrait.mp4"
        with VideoWriter(path, width=width, height=height) as writer:
            for i in range(_NUM_FRAMES):
                writer.write(picture, i / _FPS)
        with VideoReader(path) as reader:
            num = sum(len(batch) for batch in reader)
            decoder, warnings = reader.decoder, list(reader.warnings)
    if num != _NUM_FRAMES:
        yield Finding("video", "fault", f"{num} frames of {_NUM_FRAMES} that were written", "install anew")
    elif warnings:
        yield Finding("video", "warning", warnings[0], "see the other faults")
    else:
        yield Finding("video", "ok", f"written and read again by {decoder}")


def _read_portrait() -> np.ndarray | None:
    """Return the portrait, uint8 (H, W, 3) RGB, None where it cannot be read."""
    import cv2

    picture = cv2.imread(str(portrait()))
    return None if picture is None else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype("uint8", copy=False)


def _iou(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the overlap of two boxes (x1, y1, x2, y2), from 0 to 1."""
    x1, y1, x2, y2 = (f(a, b) for f, a, b in zip((max, max, min, min), first, second, strict=True))
    shared = max(0.0, x2 - x1) * max(0.0, y2 - y1)
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return float(shared / (area - shared))


PROBES: dict[str, Callable[[], Iterator[Finding]]] = {
    "decoders": probe_decoders,
    "cache": probe_cache,
    "video": probe_video,
    "self-test": probe_pipeline,
}

if isinstance(sys.stdout, TextIOWrapper):
    # Text of other languages in messages of the system.
    sys.stdout.reconfigure(errors="replace")
