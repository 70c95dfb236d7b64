"""Memory and time of a process and all its children, as Linux accounts for them."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


def peak_memory(command: Sequence[str]) -> dict[str, float]:
    """Run a command to its end.

    Returns: `peak_mb`, of the proportional set size of the whole process tree, sampled twice a second, in
        which memory shared between processes counts once; `main_mb`, the peak of the command's own process;
        `seconds` on the wall.
    Raises:
        RuntimeError: the command failed.
    """
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    peak = own_peak = 0
    while process.poll() is None:
        found = {pid: _proportional_bytes(pid) for pid in _tree(process.pid)}
        peak = max(peak, sum(found.values()))
        own_peak = max(own_peak, found[process.pid])
        time.sleep(0.5)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}: {process.stderr.read()}")
    return {"peak_mb": peak / 1e6, "main_mb": own_peak / 1e6, "seconds": time.perf_counter() - started}


class Cost(NamedTuple):
    """What a piece of work took."""

    seconds: float
    """On the wall."""
    cpu_seconds: float
    """Of all processes together."""


class Stopwatch:
    """Measures a `with` block in `cost`: the wall, and what this process and its children calculated."""

    cost: Cost

    def __enter__(self) -> "Stopwatch":
        self._cpu, self._wall = _cpu_seconds(), time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self.cost = Cost(time.perf_counter() - self._wall, _cpu_seconds() - self._cpu)


def run_command(
    command: Sequence[str],
    *,
    cores: Sequence[int] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Cost:
    """Run a command to its end.

    Args:
        cores: that it may use; None for all.
        environment: added to that of this process.
    Raises:
        RuntimeError: the command failed.
    """
    pin = [] if cores is None else ["taskset", "--cpu-list", ",".join(map(str, cores))]
    with Stopwatch() as watch:
        done = subprocess.run(
            [*pin, *command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr}")
    return watch.cost


def _cpu_seconds() -> float:
    """CPU time of this process, of its living descendants, and of all that they have waited for."""
    ticks = 0
    for pid in _tree(os.getpid()):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        # utime, stime, cutime, cstime: fields 14 to 17 of the file, the first here is the third.
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _tree(root: int) -> list[int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # The name in parentheses may hold spaces; the parent is the second field after it.
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
    tree, grown = {root}, True
    while grown:
        children = {pid for pid, parent in parents.items() if parent in tree}
        grown = not children <= tree
        tree |= children
    return sorted(tree)


def _proportional_bytes(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def predict_command(video: Path, output_dir: Path, *flags: str) -> list[str]:
    """Return the command line that labels a video."""
    tool = Path(__file__).parent.parent / "tools" / "predict_clip.py"
    return [sys.executable, str(tool), str(video), "--output-dir", str(output_dir), *flags]
