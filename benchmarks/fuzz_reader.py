"""Read damaged files: never a crash, a hang or too much memory, and what can be decoded is told.

python benchmarks/fuzz_reader.py [--seeds 2000] [--seconds 3600] [--keep FOLDER]

Each seed flips bytes, swaps chunks, and makes a header lie in one of several small files; the first 200
also cut it off. Whatever goes wrong is kept in FOLDER. At last predict_clip.py is run on some of the files.
"""

import argparse
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from damage import DAMAGES, NUM_CUTS

SOURCES = (
    "sound_aac",
    "h264_mkv",
    "h264_ts",
    "mpeg4_b_frames_avi",
    "vp8_webm",
    "sorenson_flv",
    "gif",
    "mpeg1_mpg",
    "hevc_mp4",
    "apng_named_png",
    "sound_wma_wmv",
    "av1_ivf",
    "still_png",
    "still_jpg",
    "still_webp",
    "edit_list",
)
"""Cases of the corpus that are damaged."""
WATCHDOG_SECONDS = 4.0
"""After which the reader replaces a silent decoder."""
_LIMIT_SECONDS = 4 * WATCHDOG_SECONDS
"""For one file: two decoders may each fall silent."""
MEMORY_BOUND_BYTES = 3 << 29
"""Of the reading process and its decoder together, what they share counted twice: as 8K pictures need it."""
_LOOK_SECONDS = 0.05


class Fuzzer:
    """Hands damaged files to a process that reads them, and watches it."""

    def __init__(self, keep: Path | None = None) -> None:
        self.outcomes: Counter[str] = Counter()
        self.faults: list[str] = []
        self.peak_bytes, self.largest = 0, ""
        self.slowest_seconds = 0.0
        self._keep = keep
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Fuzzer":
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def run(self, name: str, file: Path) -> None:
        """Have one file read, and note what came of it."""
        started = time.monotonic()
        before = self.peak_bytes
        outcome = self._read(file, started)
        if self.peak_bytes > before:
            self.largest = name
        self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - started)
        kind, _, text = outcome.partition(": ")
        self.outcomes[kind] += 1
        if kind not in ("whole", "warned", "refused"):
            self.faults.append(f"{name}: {kind}: {text}")
            if self._keep is not None:
                self._keep.mkdir(parents=True, exist_ok=True)
                (self._keep / f"{name}{file.suffix}").write_bytes(file.read_bytes())

    def _read(self, file: Path, started: float) -> str:
        if self._process is None:
            command = [sys.executable, __file__, "--worker"]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                process_group=0,
            )
            self._process.stdout.readline()  # it is ready
            started = time.monotonic()
        process = self._process
        for pid in _with_children(process.pid):
            _reset_peak(pid)
        process.stdin.write(f"{file}\n")
        process.stdin.flush()
        while True:
            has_ended = bool(select.select([process.stdout], [], [], _LOOK_SECONDS)[0])
            used = sum(map(_peak_bytes, _with_children(process.pid)))
            self.peak_bytes = max(self.peak_bytes, used)
            line = process.stdout.readline() if has_ended else None
            if line == "":
                code = process.wait()
                self._end()
                return f"crash: {signal.Signals(-code).name if code < 0 else code}"
            if used > MEMORY_BOUND_BYTES:
                self._end()
                return f"memory: {used >> 20} MB"
            if line is not None:
                return json.loads(line)
            if time.monotonic() - started > _LIMIT_SECONDS:
                self._end()
                return f"hang: more than {_LIMIT_SECONDS:g} s"

    def _end(self) -> None:
        if self._process is None:
            return
        for pid in reversed(_with_children(self._process.pid)):
            os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
        self._process = None


def damaged_files(folder: Path, seeds: Sequence[int]) -> Iterator[tuple[str, Path]]:
    """Yield a name for each damage, and the file, which is gone with the next."""
    from corpus import CASES

    cases = {case.name: case for case in CASES}
    sources = [(name, cases[name].make(folder)) for name in SOURCES]
    for seed in seeds:
        # Each seed meets another source by each kind of damage.
        for number, (kind, damage) in enumerate(DAMAGES.items()):
            if kind == "cut" and seed >= NUM_CUTS:
                continue
            source, path = sources[(seed + number * 5) % len(sources)]
            target = folder / f"damaged{path.suffix}"
            target.write_bytes(damage(path.read_bytes(), seed))
            yield f"{source}-{kind}-{seed}", target
            target.unlink()


def read_damaged(path: str) -> str:
    """Read a file and say in one line what came of it: `whole`, `warned`, `refused`, or a fault."""
    import numpy as np

    from emotemporal.errors import VideoError
    from emotemporal.video import VideoReader

    try:
        with VideoReader(path, timeout_seconds=WATCHDOG_SECONDS) as reader:
            times = np.concatenate([batch.pts_seconds for batch in reader])
    except VideoError as error:
        return "refused" if "\n" not in str(error) else f"lines: {error}"
    except Exception as error:
        return f"error: {type(error).__name__}: {error}"
    if not np.all(np.isfinite(times)) or np.any(np.diff(times) <= 0):
        return f"times: {times.tolist()}"
    if reader.decoder != "picture" and len(times) != (num_decodable := _count_decodable(path)):
        return f"rows: {len(times)}, {num_decodable} frames decode"
    return "warned" if any("PyAV, not decord" not in line for line in reader.warnings) else "whole"


def check_command(folder: Path, names: Sequence[str] = ("sound_aac", "h264_ts", "gif")) -> list[str]:
    """Run predict_clip.py on damaged files, all at once; return what is wrong with its results."""
    from corpus import CASES

    files, refused = [], set()
    for case in CASES:
        if case.name not in names:
            continue
        content = case.make(folder).read_bytes()
        for kind, damage in DAMAGES.items():
            for seed in range(100, 103):
                file = folder / f"{case.name}-{kind}-{seed}{Path(case.file).suffix}"
                file.write_bytes(damage(content, seed))
                files.append(file)
                if read_damaged(str(file)) == "refused":
                    refused.add(file)
    command = [sys.executable, str(Path(__file__).parent.parent / "tools" / "predict_clip.py")]
    command += [*map(str, files), "--per-frame", "--output-dir", str(folder / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    faults = []
    if done.returncode != (1 if refused else 0):
        faults.append(f"predict_clip.py: exit code {done.returncode}, {len(refused)} files cannot be read")
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    if len(lines) != len(refused) or "Traceback" in done.stderr:
        faults.append(f"predict_clip.py: {len(lines)} errors of {len(refused)} files that cannot be read")
    for file in files:
        if (folder / "out" / f"{file.stem}.frames.csv").exists() == (file in refused):
            faults.append(f"predict_clip.py: {file.name} is {'' if file in refused else 'not '}labelled")
    return faults


def _count_decodable(path: str) -> int:
    """Return how many frames one thread decodes until the first error."""
    import av

    from emotemporal.video.opening import open_video
    from emotemporal.video.probe import choose_stream

    count = 0
    with open_video(path) as container, contextlib.suppress(av.FFmpegError):
        stream = choose_stream(container, path)
        stream.codec_context.thread_count = 1
        for _ in container.decode(stream):
            count += 1
    return count


def _with_children(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *map(int, children)]


def _peak_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM")), 0)


def _reset_peak(pid: int) -> None:
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def _work() -> None:
    """Read the files that are named on stdin until it ends."""
    read_damaged(__file__)  # everything is imported
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(read_damaged(line.rstrip("\n"))), flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=3600.0, help="stop after so long")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files that went wrong")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.worker:
        _work()
        return 0

    from results import write_result

    deadline = time.monotonic() + options.seconds
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    with tempfile.TemporaryDirectory() as folder, Fuzzer(options.keep) as fuzzer:
        for name, file in damaged_files(Path(folder), seeds):
            fuzzer.run(name, file)
            if time.monotonic() > deadline:
                print(f"stopped at {name}", flush=True)
                break
        fuzzer.faults += check_command(Path(folder))
    for fault in fuzzer.faults:
        print(fault)
    details = {
        "outcomes": dict(fuzzer.outcomes),
        "faults": fuzzer.faults,
        "peak_mb": fuzzer.peak_bytes / 1e6,
        "largest": fuzzer.largest,
        "slowest_seconds": fuzzer.slowest_seconds,
    }
    print(
        details["outcomes"],
        f"peak {details['peak_mb']:.0f} MB ({fuzzer.largest}), slowest {fuzzer.slowest_seconds:.1f} s",
    )
    write_result("fuzz_reader", len(fuzzer.faults), unit="faults", details=details)
    return 1 if fuzzer.faults else 0


if __name__ == "__main__":
    sys.exit(main())
