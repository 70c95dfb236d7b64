"""Everything that is checked, in an order in which a fault stands before what follows from it."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from emotemporal.doctor.children import ProbeProcess
from emotemporal.doctor.findings import Finding
from emotemporal.doctor.packages import check_packages, installed_version, read_requirements

_MIN_PYTHON = (3, 11)
_HASHES = "SHA256SUMS"
_MIN_MEMORY_BYTES = 2 * 2**30
_MIN_DISK_BYTES = 2**30
_ANEW = "run: pip install --force-reinstall emotemporal, or check it out anew"


def check_installation() -> Iterator[Finding]:
    """Look at everything that commands rely on; yields as it goes."""
    temporary = check_temporary_folder()
    if temporary.status == "fault":
        # Without one no process can be watched.
        yield temporary
        return
    try:
        requirements = read_requirements()
    except Exception as error:
        yield Finding("emotemporal", "fault", f"what it requires cannot be read ({error})", _ANEW)
        return
    names = [_name(text) for text in requirements[""]]
    # Of the extras openvino alone is used without being asked for.
    imported = [name for name in [*names, "openvino"] if installed_version(name) is not None]
    # At the same time, since each waits for its libraries. Once decord is loaded, PyTorch may crash: what it
    # brings with it takes the place of PyTorch's linear algebra.
    decoders = ProbeProcess(["decoders"])
    works = ProbeProcess(["cache", "video", "self-test"])
    imports = ProbeProcess([f"import:{name}" for name in imported])
    yield check_python()
    yield from check_packages(requirements)
    yield from check_checkpoints(checkpoint_folder())
    yield from check_machine()
    yield temporary
    yield from imports.findings()
    yield from decoders.findings()
    yield from works.findings()


def _name(requirement: str) -> str:
    """Return the distribution's name of a requirement such as `lightning>=2.5`."""
    for i, sign in enumerate(requirement):
        if not (sign.isalnum() or sign in "-_."):
            return requirement[:i]
    return requirement


def check_python() -> Finding:
    found = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info[:2] < _MIN_PYTHON:
        return Finding("Python", "fault", found, "install Python 3.11 or newer")
    return Finding("Python", "ok", found)


def checkpoint_folder() -> Path:
    """Return where the shipped checkpoints are: inside the installed package, beside it in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "checkpoints"
    return inside if inside.is_dir() else package.parent / "checkpoints"


def check_checkpoints(folder: Path) -> Iterator[Finding]:
    """Compare the shipped checkpoints with the list of hashes that is shipped with them."""
    try:
        lines = (folder / _HASHES).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        yield Finding("checkpoints", "fault", f"{folder / _HASHES}: {error.strerror}", _ANEW)
        return
    for line in lines:
        expected, _, name = line.partition("  ")
        path = folder / name
        try:
            with path.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            yield Finding(name, "fault", f"{path}: {error.strerror}", _ANEW)
            continue
        if found == expected:
            yield Finding(name, "ok", f"SHA-256 {found[:12]}...")
        else:
            size = path.stat().st_size
            what = (
                f"damaged or replaced: {size} bytes of SHA-256 {found[:12]}..., expected {expected[:12]}..."
            )
            yield Finding(name, "fault", what, _ANEW)


def check_machine() -> Iterator[Finding]:
    """Tell of cores, memory and disk."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("cores", "ok", str(cores))
    memory = available_memory()
    if memory is not None:
        short = memory < _MIN_MEMORY_BYTES
        advice = "end other programs; 2 GB are needed for a video, each worker takes 1 GB" if short else ""
        yield Finding("memory", "warning" if short else "ok", f"{memory / 2**30:.1f} GB free", advice)
    free = shutil.disk_usage(Path.cwd()).free
    short = free < _MIN_DISK_BYTES
    advice = "make room before videos are written" if short else ""
    yield Finding("disk", "warning" if short else "ok", f"{free / 2**30:.1f} GB free here", advice)
    if not hasattr(os, "memfd_create"):
        yield Finding("shared memory", "note", "no memfd_create: frames go by way of temporary files")
    else:
        yield Finding("shared memory", "ok", "memfd_create; /dev/shm is not needed")


def available_memory() -> int | None:
    """Return the bytes that are free, by the machine and by the container; None where nothing tells."""
    found = []
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
    except (OSError, ValueError):
        pass
    try:
        group = Path("/sys/fs/cgroup")
        found.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    except (OSError, ValueError):  # not in a container, or one without a limit
        pass
    return min(found) if found else None


def check_temporary_folder() -> Finding:
    try:
        folder = tempfile.gettempdir()
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"1")
            file.flush()
    except OSError as error:
        return Finding(
            "temporary folder", "fault", f"none can be written to ({error})", "let TMPDIR name one"
        )
    return Finding("temporary folder", "ok", folder)
