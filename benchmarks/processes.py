"""Memory of a process and all its children, as Linux accounts for it."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path


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
