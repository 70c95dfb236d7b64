"""Networks compiled by OpenVINO for the CPU, and kept on disk so that the next process need not wait.

Turning a PyTorch network into OpenVINO's takes seconds, loading what came of it takes 40 ms. It is kept in
`$EMOTEMPORAL_CACHE`, else in `emotemporal` under the user's cache folder (`$XDG_CACHE_HOME`, `~/.cache`).
Files appear whole, carry a checksum, and are made anew when they are damaged or another release of OpenVINO
reads them; where the folder cannot be written, everything works and only the start is slower. What they hold
runs: only files of this user that nobody else may write to are read, wherever the folder lies.

Needs the extra `emotemporal[openvino]`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import stat
import threading
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emotemporal.errors import OutputError, UsageError
from emotemporal.files import replacing

if TYPE_CHECKING:
    import openvino
    from torch import Tensor, nn

# To be raised with any change of how networks are converted.
_FORMAT_VERSION = 1
_DIGEST_BYTES = 32
_CORES: dict[int, openvino.Core] = {}
_CORE_LOCK = threading.Lock()


class CompiledNetwork:
    """One network, ready to run; use it from one thread at a time.

    Args:
        compiled: by OpenVINO.
    """

    def __init__(self, compiled: openvino.CompiledModel) -> None:
        self._request = compiled.create_infer_request()
        self._num_outputs = len(compiled.outputs)

    def __call__(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        """Run on a batch; each output is a copy of its own."""
        whole = [np.ascontiguousarray(values) for values in inputs]
        found = self._request.infer(whole, share_inputs=True, share_outputs=True)
        return tuple(found[i].copy() for i in range(self._num_outputs))


def is_available() -> bool:
    """Return whether OpenVINO is installed."""
    return find_spec("openvino") is not None


@cache
def computes_in_bf16() -> bool:
    """Return whether this processor computes in bf16, which then is twice as fast as float32.

    Raises:
        UsageError: OpenVINO is not installed.
    """
    return "BF16" in shared_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def shared_core() -> openvino.Core:
    """Return the OpenVINO core of this process, which lives as long as it does.

    Each core gives the thread that makes it a stack for signals and frees that with itself; of two cores,
    the one that ends last puts back the freed stack of the other (2026.4). The next signal, such as that of
    Ctrl-C, then ends the process with a segmentation fault.

    Raises:
        UsageError: OpenVINO is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise UsageError(
            "backend openvino: OpenVINO is not installed; run: pip install 'emotemporal[openvino]'"
        ) from error
    # A fork lacks the threads of its parent's core.
    process = os.getpid()
    with _CORE_LOCK:
        if process not in _CORES:
            _CORES[process] = openvino.Core()
        return _CORES[process]


def compile_network(
    name: str,
    identity: str,
    make_module: Callable[[], nn.Module],
    *,
    examples: Callable[[], Sequence[Tensor]],
    input_shapes: Sequence[Sequence[int]],
    num_threads: int = 1,
    half: bool = True,
) -> CompiledNetwork:
    """Compile a network, or take what was compiled before.

    Args:
        name: of the file that is kept.
        identity: what tells these weights from others, such as their checkpoint's hash; empty keeps nothing.
        make_module: called only where nothing is kept; in evaluation mode, returning a tensor or a tuple of
            them.
        examples: makes inputs that it can be run on, called with it.
        input_shapes: of each input, -1 where any size may come.
        num_threads: that run it.
        half: run it in bf16 where the processor computes in that, else in float32.
    Raises:
        UsageError: OpenVINO is not installed.
    """
    core = shared_core()
    options: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": "bf16" if half and computes_in_bf16() else "f32",
        "INFERENCE_NUM_THREADS": num_threads,
        "NUM_STREAMS": 1,
        # Pinned, two networks of one thread each would share a core and leave the other idle.
        "ENABLE_CPU_PINNING": False,
    }
    path = _cache_path(name, identity, options)
    kept = None if path is None else _read(path)
    if kept is not None:
        # What another release or processor wrote is refused, whatever the exception.
        with contextlib.suppress(RuntimeError):
            return CompiledNetwork(core.import_model(kept, "CPU", options))
    compiled = core.compile_model(convert_network(make_module(), examples(), input_shapes), "CPU", options)
    if path is not None:
        _write(path, compiled.export_model())
    return CompiledNetwork(compiled)


def convert_network(
    module: nn.Module, examples: Sequence[Tensor], input_shapes: Sequence[Sequence[int]]
) -> openvino.Model:
    """Turn a PyTorch network into OpenVINO's.

    Args:
        module: in evaluation mode, returning a tensor or a tuple of them.
        examples: inputs that it can be run on.
        input_shapes: of each input, -1 where any size may come.
    """
    import warnings

    import openvino
    import torch

    fused = torch.backends.mha.get_fastpath_enabled()
    # A single operation for a whole attention layer, which OpenVINO does not know.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            # OpenVINO traces with a function that PyTorch wants to replace.
            warnings.simplefilter("ignore")
            return openvino.convert_model(
                module,
                example_input=tuple(examples),
                input=[openvino.PartialShape(list(shape)) for shape in input_shapes],
            )
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def _cache_path(name: str, identity: str, options: dict[str, Any]) -> Path | None:
    folder = cache_folder()
    if folder is None or not identity:
        return None
    # In a folder that is shared each user has files of their own.
    parts = [_FORMAT_VERSION, os.geteuid(), version("openvino"), identity, sorted(options.items())]
    digest = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
    return folder / f"{name}_{digest}.openvino"


def cache_folder() -> Path | None:
    """Return the folder in which compiled networks are kept, None for a user who has none."""
    own = os.environ.get("EMOTEMPORAL_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    with contextlib.suppress(RuntimeError):
        return (Path(base) if base else Path.home() / ".cache") / "emotemporal"
    return None


def _read(path: Path) -> io.BytesIO | None:
    """Return what is kept, None where there is nothing, it is damaged, or others could have written it."""
    try:
        with path.open("rb") as stream:
            # Of the file that was opened, which no other can take the place of.
            found = os.fstat(stream.fileno())
            if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return None
            content = stream.read()
    except OSError:
        return None
    digest, body = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    return io.BytesIO(body) if hashlib.sha256(body).digest() == digest else None


def _write(path: Path, stream: io.BytesIO) -> None:
    body = stream.getvalue()
    with contextlib.suppress(OSError, OutputError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_bytes(hashlib.sha256(body).digest() + body)
