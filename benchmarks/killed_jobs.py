"""Commands that `kill_nine.py` kills, with small inputs, and what tells one result from another."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from emotemporal.datasets.crops import CropStore

ROOT = Path(__file__).resolve().parent.parent
_FIRST_FRAMES = (0, 63, 75, 160, 246)
"""Of the clips that are cut from the demo clip."""

Contents = Mapping[str, bytes]
"""What a result is told by: name -> bytes without times and paths."""


@dataclass(frozen=True)
class Job:
    """A command whose results are in the folder `out` below the one that it is run in."""

    name: str
    arguments: Sequence[str]
    """Of Python, paths from the folder that it is run in."""
    contents: Callable[[Path], Contents]
    """Of a finished folder."""
    check: Callable[[Path, Contents], list[str]]
    """Faults of a folder after a kill, held against the contents of a finished one: of what seems whole."""
    finished: Callable[[Path], Mapping[str, object]]
    """What need not be done again, and by what it is seen that it was not."""
    has_workers: bool = False
    tables: Sequence[str] = ()
    """Files that tell of what failed, too."""


def predict_job(videos: str, *flags: str) -> Job:
    """Label a folder of videos in two processes."""
    tool = str(ROOT / "tools" / "predict_clip.py")
    arguments = [tool, videos, "--output-dir", "out", "--per-frame", "--workers", "2", "--quiet", *flags]

    def finished(out: Path) -> dict[str, object]:
        found = {}
        for record in _whole_lines(out / ".emotemporal_done.jsonl"):
            # Also the second line of a video that was done twice.
            found[record["stem"]] = [(out / name).stat().st_mtime_ns for name in sorted(record["outputs"])]
        return found

    return Job(
        "predict_clip",
        arguments,
        _visible_files,
        _equal_or_absent,
        finished,
        has_workers=True,
        tables=("summary.csv",),
    )


def extract_job(manifest: str, *flags: str) -> Job:
    """Extract the faces of a manifest in two processes."""
    tool = str(ROOT / "tools" / "extract_faces.py")
    arguments = [tool, manifest, "--output", "out", "--workers", "2", *flags]

    def contents(out: Path) -> dict[str, bytes]:
        store = CropStore.open(out)
        found = _visible_files(out)
        for row in store.read_index():
            crops = store.read(row.clip_id).crops
            if crops is not None:
                parts = (crops.frame_index, crops.pts_seconds, crops.crops)
                found[row.clip_id] = b"".join(part.tobytes() for part in parts)
        return found

    def finished(out: Path) -> dict[str, object]:
        # Which shard and line; a clip that was extracted twice has another.
        return {
            line.split(b'"clip_id": "')[1].split(b'"')[0].decode(): (path.name, number)
            for path in sorted((out / "shards").glob("*.journal"))
            for number, line in enumerate(path.read_bytes().split(b"\n")[:-1])
        }

    return Job(
        "extract_faces",
        arguments,
        contents,
        _equal_or_absent,
        finished,
        has_workers=True,
        tables=("extraction.csv", "index.csv"),
    )


def train_frame_job(faces: str, *flags: str) -> Job:
    """Train a tiny frame network."""
    arguments = [str(ROOT / "tools" / "train_frame.py"), "--data", faces, "--run.folder", "out"]
    arguments += ["--backbone.widths", "[8,16]", "--backbone.depths", "[1,1]", "--optim.batch-size", "16"]
    arguments += ["--optim.epochs", "8", "--run.accelerator", "cpu", "--run.precision", "32-true", *flags]
    return Job("train_frame", arguments, _training, _loadable, _epochs)


def train_clip_job(store: str, checkpoint: str, *flags: str) -> Job:
    """Train a small head, leaving one person out at a time."""
    arguments = [str(ROOT / "tools" / "train_clip.py"), "--store", store, "--run.folder", "out"]
    arguments += ["--frame-checkpoint", checkpoint, "--head.kind", "gru", "--head.width", "8"]
    arguments += ["--optim.batch-size", "2", "--optim.epochs", "40"]
    arguments += ["--run.accelerator", "cpu", "--run.precision", "32-true", *flags]

    def finished(out: Path) -> dict[str, object]:
        return {path.name: path.stat().st_mtime_ns for path in (out / "folds").glob("*.json")} | _epochs(out)

    return Job("train_clip", arguments, _training, _loadable, finished)


def _visible_files(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("[!.]*") if path.is_file()}


def _equal_or_absent(out: Path, truth: Contents) -> list[str]:
    found = _visible_files(out) if out.is_dir() else {}
    return [f"{name} is not whole" for name, content in found.items() if truth.get(name) != content]


def _training(out: Path) -> dict[str, bytes]:
    import torch

    found = {}
    for path in [*out.glob("*.safetensors"), *out.glob("*.csv"), *out.glob("*.json"), *out.glob("folds/*")]:
        found[path.name] = path.read_bytes()
    state = torch.load(out / "last.ckpt", weights_only=True)
    for name, tensor in {**state["network"], **state["averaged"]}.items():
        found[f"last.ckpt {name}"] = tensor.numpy().tobytes()
    for number, record in enumerate(_whole_lines(out / "metrics.jsonl")):
        record.pop("faces_per_second", None)
        found[f"metrics {number}"] = json.dumps(record).encode()
    return found


def _loadable(out: Path, truth: Contents) -> list[str]:
    """Return faults of what a training leaves at any moment; weights may be an earlier epoch's."""
    import torch
    from safetensors.torch import load_file

    faults = []
    for path in out.rglob("*") if out.is_dir() else []:
        if path.name.startswith((".", "events.", "metrics.")) or path.is_dir():
            continue
        try:
            if path.suffix == ".safetensors":
                load_file(path)
            elif path.suffix == ".ckpt":
                torch.load(path, weights_only=True)
            elif truth.get(path.name) != path.read_bytes():
                faults.append(f"{path.name} is not whole")
        except Exception as error:
            faults.append(f"{path.name}: {error}")
    return faults


def _epochs(out: Path) -> dict[str, object]:
    """Return the lines of epochs whose state is kept: a frame network's tell how fast it was."""
    import torch

    if not (out / "last.ckpt").exists():
        return {}
    epoch = torch.load(out / "last.ckpt", weights_only=True)["epoch"]
    lines = [line for line in _whole_lines(out / "metrics.jsonl") if line["epoch"] <= epoch]
    return {f"epoch {line['epoch']}": line for line in lines}


def _whole_lines(path: Path) -> list[dict]:
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def write_inputs(folder: Path) -> list[Job]:
    """Cut clips of eight frames from the demo clip, paint faces of stripes; return the jobs on them."""
    videos = folder / "videos"
    videos.mkdir(parents=True)
    with av.open(str(ROOT / "examples" / "demo.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    rows = ["path,label,subject"]
    for number, first in enumerate(_FIRST_FRAMES):
        write_clip(videos / f"{number}.mp4", frames[first : first + 8])
        rows.append(f"videos/{number}.mp4,{('happy', 'neutral')[number % 2]},{'ab'[number // 2 % 2]}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    write_faces(folder / "faces.csv")
    shipped = ROOT / "checkpoints" / "frame_fer2013.safetensors"
    return [
        predict_job("../videos", "--overlay"),
        extract_job("../manifest.csv", "--embeddings", str(shipped)),
        train_frame_job("../faces.csv"),
        train_clip_job("../store", str(shipped)),
    ]


def write_clip(path: Path, frames: Sequence[np.ndarray]) -> None:
    """Write frames, uint8 (H, W, 3), as a video of 25 a second."""
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def write_faces(path: Path) -> None:
    """Write pictures in FER2013's form whose stripes tell their label."""
    rng = np.random.default_rng(0)
    lines = ["emotion,pixels,Usage"]
    for split, num in (("Training", 168), ("PublicTest", 42)):
        for i in range(num):
            wave = np.sin(np.arange(48)[:, None] * 2 * np.pi * (i % 7 + 1) / 48) * 80 + 128
            pixels = np.clip(wave + rng.normal(0, 10, (48, 48)), 0, 255).astype(int)
            lines.append(f"{i % 7},{' '.join(map(str, pixels.ravel()))},{split}")
    path.write_text("\n".join(lines) + "\n")
