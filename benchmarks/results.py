"""Headline numbers: one JSON file each, written by the command that measured it."""

import datetime
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"
ROOT = Path(__file__).parent.parent
_INSTRUCTION_SETS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "VNNI",
    "avx512_bf16": "bf16",
    "amx_bf16": "AMX",
}


def write_result(
    name: str,
    value: float,
    *,
    unit: str,
    details: Mapping[str, Any],
    interval: Sequence[float] | None = None,
    folder: Path = FOLDER,
) -> None:
    """Write `<name>.json` into the folder and print its line."""
    document = {
        "name": name,
        "value": value,
        "unit": unit,
        "interval": None if interval is None else list(interval),
        "command": recorded_command(sys.argv),
        "date": datetime.date.today().isoformat(),
        "commit": _commit(),
        "machine": machine(),
        "details": dict(details),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n")
    print(f"{name}: {value:.4f} {unit}")


def recorded_command(argv: Sequence[str]) -> str:
    """Return a command as it would be given in the repository root, wherever it was given.

    Args:
        argv: script and arguments; paths that exist, and absolute ones, are told from the root. What lies
            neither in it nor in `shared` beside it stays as it was.
    """
    words = []
    for word in argv:
        # An option's value may stand behind a sign of equality.
        option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        words.append(option + equals + _from_root(value))
    return shlex.join(["python", *words])


def _from_root(word: str) -> str:
    path = Path(word)
    if not word or not (path.is_absolute() or path.exists()):
        return word
    # Either may be reached over links.
    for folder, shown in ((ROOT, Path()), (ROOT.parent / "shared", Path("../shared"))):
        if path.resolve().is_relative_to(folder.resolve()):
            return str(shown / path.resolve().relative_to(folder.resolve()))
    return word


def machine() -> str:
    """Return processor, cores and memory in words."""
    facts: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    model, flags = facts.get("model name", platform.machine()), facts.get("flags", "").split()
    # Several kinds go by the same name; networks are several times as fast on some.
    sets = [name for flag, name in _INSTRUCTION_SETS.items() if flag in flags]
    if sets:
        model = f"{model} ({', '.join(sets)})"
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{len(os.sched_getaffinity(0))} cores of {model}, {gigabytes:.0f} GB"


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
