"""Write a checkpoint's networks for other systems: as ONNX or OpenVINO files, with a JSON that explains them.

No file is kept before it has said the same as PyTorch, on faces and sequences made up for it.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import log_softmax, softmax
from torch import Tensor, nn

from emotemporal.checkpoint import Checkpoint, CheckpointHeader
from emotemporal.compiled import convert_network, shared_core
from emotemporal.errors import OutputError, UsageError
from emotemporal.files import save_json
from emotemporal.models.backbone import normalise_crops
from emotemporal.models.classifier import EmotionClassifier, FrameEvidence
from emotemporal.models.exportable import ExportableFrame, ExportableHead
from emotemporal.models.network import FrameNetwork
from emotemporal.models.windows import WINDOW_SECONDS
from emotemporal.networks import build_classifier
from emotemporal.structures import ClipBatch
from emotemporal.weights import load_frame_network, load_head

SCHEMA_VERSION = 1
PARITY_BOUND = 1e-4
"""Largest difference of any probability from PyTorch's in float32; what is found is about 1e-6."""
# Frames of the made-up sequences; the longest is about one window of the pipeline at 25 fps.
_LENGTHS = (150, 61, 8, 1)
_INT64 = 7  # in ONNX's numbering of types
# Names of the sizes that may be any.
_BATCH, _FRAMES = "batch", "frames"

Run = Callable[[Sequence[np.ndarray]], list[np.ndarray]]


@dataclass(frozen=True)
class ExportedCheckpoint:
    """What was written."""

    files: tuple[Path, ...]
    """The JSON last."""
    parity: Mapping[str, float]
    """Network -> largest difference of a probability from PyTorch's."""


@dataclass(frozen=True, eq=False)
class _Network:
    """A network to be written, with what is to be said of its inputs and outputs."""

    module: nn.Module
    examples: tuple[Tensor, ...]
    inputs: Mapping[str, Mapping[str, Any]]
    outputs: Mapping[str, Mapping[str, Any]]

    def shapes(self) -> list[list[int | str]]:
        """Return the inputs' shapes, with a name for each size that may be any."""
        return [list(tensor["shape"]) for tensor in self.inputs.values()]


@dataclass(frozen=True)
class _Format:
    packages: tuple[str, ...]
    suffix: str
    """Of the file that is opened."""
    write: Callable[[_Network, Path], None]
    open: Callable[[Path], Run]


def export_checkpoint(
    checkpoint: Checkpoint[CheckpointHeader], folder: str | Path, *, format: str = "onnx"
) -> ExportedCheckpoint:
    """Write a checkpoint's frame network and temporal head, if any, and compare them with PyTorch.

    Files are named by the checkpoint's: `<stem>.frame.onnx`, `<stem>.head.onnx` (or `.xml` and `.bin`),
    `<stem>.json`. They appear all or not at all.

    Args:
        checkpoint: frame or clip.
        folder: made if missing.
        format: `onnx` or `openvino`.
    Raises:
        UsageError: there is no such format, it needs packages that are missing, or a network sees landmarks.
        OutputError: the folder cannot be written, a network cannot be converted, or the converted one says
            something else.
    """
    if format not in _FORMATS:
        raise UsageError(f"format '{format}' is unknown, expected one of {', '.join(_FORMATS)}")
    way = _FORMATS[format]
    missing = [name for name in way.packages if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"format {format} needs {', '.join(missing)}, not installed; "
            f"run: pip install 'emotemporal[{format}]'"
        )
    classifier = build_classifier(checkpoint)
    frame = load_frame_network(checkpoint)
    networks = _networks(frame, checkpoint)
    with _all_or_nothing(Path(folder)) as temporary:
        files, parity = {}, {}
        for name, network in networks.items():
            path = temporary / f"{checkpoint.path.stem}.{name}{way.suffix}"
            try:
                way.write(network, path)
                found = _PARITY[name](frame, classifier, way.open(path), checkpoint.header.geometry.side_px)
            except RuntimeError as error:
                # The first line says what, the others of both packages are pages of graph.
                reason = str(error).strip().splitlines()[0]
                raise OutputError(
                    f"{checkpoint.path}: its {name} network does not become {format} ({reason})"
                ) from error
            # Not a number is no parity either.
            if not found <= PARITY_BOUND:
                raise OutputError(
                    f"{checkpoint.path}: its {name} network as {format} differs from PyTorch by {found:.2g} "
                    f"in a probability, allowed are {PARITY_BOUND:.0e}; nothing was written"
                )
            files[name], parity[name] = path.name, found
        document = _document(checkpoint, format, networks, files, parity)
        save_json(temporary / f"{checkpoint.path.stem}.json", document)
        names = sorted(path.name for path in temporary.iterdir() if path.suffix != ".json")
    written = [*names, f"{checkpoint.path.stem}.json"]
    return ExportedCheckpoint(tuple(Path(folder) / name for name in written), parity)


@contextlib.contextmanager
def _all_or_nothing(folder: Path) -> Iterator[Path]:
    """Give a folder whose files move into `folder` when the block ends without an error."""
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryDirectory(dir=folder, prefix=".emotemporal-") as temporary:
                yield Path(temporary)
                # The JSON last: where it is, the others are.
                for path in sorted(Path(temporary).iterdir(), key=lambda path: path.suffix == ".json"):
                    path.chmod(0o644)
                    os.replace(path, folder / path.name)
        except BaseException:
            if made:
                with contextlib.suppress(OSError):
                    folder.rmdir()
            raise
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {error.strerror or error}") from error


def _networks(frame: FrameNetwork, checkpoint: Checkpoint[CheckpointHeader]) -> dict[str, _Network]:
    header = checkpoint.header
    side, dim = header.geometry.side_px, frame.embedding_dim
    # Sizes above one, which would be taken for a constant.
    networks = {
        "frame": _Network(
            ExportableFrame(frame).eval(),
            (torch.zeros(2, side, side, dtype=torch.uint8),),
            {"crops": _tensor("uint8", [_BATCH, side, side], "0 to 255, gray; see `crop`")},
            {
                "embedding": _tensor("float32", [_BATCH, dim], "any"),
                **{
                    f"logits_{name}": _tensor("float32", [_BATCH, len(labels)], "any; see `probabilities`")
                    for name, labels in header.backbone.label_sets.items()
                },
            },
        )
    }
    if header.head is not None:
        num = len(header.labels)
        sequence = [_BATCH, _FRAMES]
        mask = torch.ones(2, 5, dtype=torch.bool)
        mask[1, 3:] = False
        networks["head"] = _Network(
            ExportableHead(load_head(checkpoint), header.head_temperature).eval(),
            (torch.zeros(2, 5, dim), torch.zeros(2, 5, num), torch.arange(5.0).expand(2, 5) * mask, mask),
            {
                "embeddings": _tensor("float32", [*sequence, dim], "the frame network's, 0 in padding"),
                "evidence": _tensor(
                    "float32", [*sequence, num], "log-probabilities of `labels`, not positive; 0 in padding"
                ),
                "seconds": _tensor(
                    "float32", sequence, f"since the clip's first frame, rising, 0 to {WINDOW_SECONDS:g}"
                ),
                "mask": _tensor("bool", sequence, "true = real; real frames come first, at least one"),
            },
            {
                "frame_log_probs": _tensor("float32", [*sequence, num], "not positive; none in padding"),
                "clip_log_probs": _tensor("float32", [_BATCH, num], "not positive"),
            },
        )
    return networks


def _tensor(dtype: str, shape: Sequence[int | str], values: str) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "values": values}


def _write_onnx(network: _Network, path: Path) -> None:
    import warnings

    sizes = {name: torch.export.Dim(name, min=1) for name in (_BATCH, _FRAMES)}
    dynamic = tuple({i: sizes[size] for i, size in enumerate(s) if size in sizes} for s in network.shapes())
    with torch.no_grad(), warnings.catch_warnings():
        # PyTorch's exporter uses what PyTorch is about to replace.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.module,
            network.examples,
            dynamo=True,
            verbose=False,
            dynamic_shapes=dynamic,
            input_names=list(network.inputs),
            output_names=list(network.outputs),
            custom_translation_table={torch.ops.aten.searchsorted.Tensor: _searchsorted},
        )
        assert program is not None  # there is none only where another exporter is asked for
        program.save(path)


def _searchsorted(
    sorted_sequence: Any,
    self: Any,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Any = None,
) -> Any:
    """Count what is not greater, as torch.searchsorted with `right` does, since ONNX has no search.

    The names are PyTorch's: (B, T) sorted, (B, K) to be placed -> (B, K).
    """
    from onnxscript import opset18 as op

    below = op.LessOrEqual(op.Unsqueeze(sorted_sequence, [1]), op.Unsqueeze(self, [2]))
    return op.ReduceSum(op.Cast(below, to=_INT64), [2], keepdims=0)


def _open_onnx(path: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [tensor.name for tensor in session.get_inputs()]
    return lambda inputs: session.run(None, dict(zip(names, inputs, strict=True)))


def _write_openvino(network: _Network, path: Path) -> None:
    import openvino

    shapes = [[size if isinstance(size, int) else -1 for size in shape] for shape in network.shapes()]
    model = convert_network(network.module, network.examples, shapes)
    for tensors, names in ((model.inputs, network.inputs), (model.outputs, network.outputs)):
        for tensor, name in zip(tensors, names, strict=True):
            tensor.get_tensor().set_names({name})
    openvino.save_model(model, path, compress_to_fp16=False)


def _open_openvino(path: Path) -> Run:
    # In bf16, which it would choose by itself, rounding would hide what else is amiss.
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = shared_core().compile_model(path, "CPU", options)
    return lambda inputs: list(compiled(list(inputs)).values())


_FORMATS = {
    "onnx": _Format(("onnx", "onnxscript", "onnxruntime"), ".onnx", _write_onnx, _open_onnx),
    "openvino": _Format(("openvino",), ".xml", _write_openvino, _open_openvino),
}


def _frame_parity(frame: FrameNetwork, classifier: EmotionClassifier, run: Run, side_px: int) -> float:
    """Return the largest difference of a probability from PyTorch's, over batches of several sizes."""
    difference = 0.0
    for batch in (_made_up_crops(length, side_px) for length in _LENGTHS):
        _, *found = run([batch])
        with torch.no_grad():
            expected = frame(normalise_crops(torch.from_numpy(batch)))
        for ours, theirs in zip(expected.logits.values(), found, strict=True):
            gap = softmax(ours.numpy(), axis=1) - softmax(theirs, axis=1)
            difference = max(difference, float(np.abs(gap).max()))
    return difference


def _head_parity(frame: FrameNetwork, classifier: EmotionClassifier, run: Run, side_px: int) -> float:
    """Return the same for frames and clips, all of them in one padded batch."""
    sequences = []
    for length in _LENGTHS:
        with torch.no_grad():
            crops = torch.from_numpy(_made_up_crops(length, side_px))
            found = frame(normalise_crops(crops))
        logits = found.logits[classifier.label_set].numpy() / classifier.temperature
        sequences.append(FrameEvidence(found.embedding.numpy(), log_softmax(logits, axis=1)))
    seconds = [np.arange(length) / 25 for length in _LENGTHS]
    batch = ClipBatch.pad([s.embeddings for s in sequences], [s.log_probs for s in sequences], seconds)
    assert batch.embeddings is not None
    assert batch.evidence is not None
    frames, clips = run([t.numpy() for t in (batch.embeddings, batch.evidence, batch.seconds, batch.mask)])
    difference = 0.0
    for row, (evidence, times) in enumerate(zip(sequences, seconds, strict=True)):
        frame_probs, clip_probs = classifier.classify_sequence(evidence, times)
        for ours, theirs in ((frame_probs, frames[row, : len(times)]), (clip_probs, clips[row])):
            difference = max(difference, float(np.abs(ours - np.exp(theirs)).max()))
    return difference


_PARITY = {"frame": _frame_parity, "head": _head_parity}


def _made_up_crops(length: int, side_px: int) -> np.ndarray:
    """uint8 (L, S, S): blurred noise that changes smoothly, twice a second at 25 fps."""
    generator = torch.Generator().manual_seed(length)
    coarse = torch.rand(1, 1, 2 + length // 12, 6, 6, generator=generator)
    smooth = nn.functional.interpolate(coarse, size=(length, side_px, side_px), mode="trilinear")
    return (255 * smooth[0, 0]).round().byte().numpy()


def _document(
    checkpoint: Checkpoint[CheckpointHeader],
    format: str,
    networks: Mapping[str, _Network],
    files: Mapping[str, str],
    parity: Mapping[str, float],
) -> dict[str, Any]:
    header = checkpoint.header
    main = header.main_classifier
    probabilities = {
        "frame": "softmax(logits_<set> / temperature of the set), over its labels",
    }
    if "head" in networks:
        probabilities["evidence"] = f"log_softmax(logits_{main} / {header.temperature!r}), of each frame"
        probabilities["head"] = (
            "exp(frame_log_probs), exp(clip_log_probs): they are calibrated already. Give it frames on which "
            f"the face was found, of at most {WINDOW_SECONDS:g} seconds; of longer sequences, windows that "
            "overlap by half"
        )
    return {
        "schema_version": SCHEMA_VERSION,
        "format": format,
        "checkpoint": checkpoint.identity(),
        "labels": list(header.labels),
        "label_sets": {
            name: {"labels": list(labels), "temperature": header.temperature_of(name)}
            for name, labels in header.backbone.label_sets.items()
        },
        "trained_labels": list(header.trained_labels),
        "head_temperature": header.head_temperature if "head" in networks else None,
        "crop": {
            **asdict(header.geometry),
            "landmarks": "template: image-left eye, image-right eye, nose, image-left and image-right mouth "
            "corner as fractions of the side; a similarity transform brings the face's closest to them",
            "colour": "gray, 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), rounded",
            "normalisation": "inside the network: each crop less its mean, divided by its deviation (n - 1), "
            "which counts as 8 at least",
        },
        "networks": {
            name: {"file": files[name], "inputs": dict(network.inputs), "outputs": dict(network.outputs)}
            for name, network in networks.items()
        },
        "probabilities": probabilities,
        "parity": {
            "largest_difference_of_probabilities": dict(parity),
            "bound": PARITY_BOUND,
            "against": "PyTorch in float32, on made-up crops and sequences, which the file ran in float32",
        },
        "versions": {name: version(name) for name in ("torch", *_FORMATS[format].packages)},
    }
