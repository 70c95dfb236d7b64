"""Read every kind of file there is, and write its overlay: frames, times and sound against the file itself.

python benchmarks/file_corpus.py OUT [CASE ...]

Writes the files into the folder OUT, a table of the verdicts to the screen, and the counts as a result.
"""

import contextlib
import functools
import http.server
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from corpus import CASES, Case, decode_truth

from emotemporal.errors import EmotemporalError
from emotemporal.structures import VideoAnalysis
from emotemporal.video import VideoReader
from emotemporal.video.opening import is_sequence

_TIME_TOLERANCE_SECONDS = 0.002
_OVERLAY_DRIFT_SECONDS = 0.02
_SOUND_TOLERANCE_SECONDS = 0.5


@dataclass(frozen=True)
class Verdict:
    """What came of one case."""

    case: str
    frames: int
    """Frames that were written."""
    rows: int
    """Frames that the reader gave."""
    time_error_seconds: float
    """Largest distance from the file's own times; NaN where it has none."""
    decoder: str
    warnings: tuple[str, ...]
    faults: tuple[str, ...]
    refused: bool
    seconds: float
    """Taken to read it, and to write its overlay."""


def check_case(case: Case, folder: Path, *, overlay: bool) -> Verdict:
    """Write a case's file, read it, and hold what comes of it against the file.

    Args:
        overlay: write its overlay, too.
    """
    path = case.make(folder)
    with serve(folder) if case.served else contextlib.nullcontext() as address:
        place = f"{address}/{case.file}" if address else str(path)
        started = time.monotonic()
        faults: list[str] = []
        decoder, warnings, times, refused = "", [], np.empty(0), False
        try:
            with VideoReader(place) as reader:
                batches = list(reader)
            times = np.concatenate([batch.pts_seconds for batch in batches])
            decoder, warnings = reader.decoder, list(reader.warnings)
            if overlay and not reader.info.is_still:
                found, said = _check_overlay(reader, times, place, folder / f"{case.name}.overlay.mp4")
                faults += found
                warnings += said
                if case.sound_warning and sum(case.sound_warning in line for line in said) != 1:
                    faults.append(f"the overlay's warnings are {said}")
        except EmotemporalError as error:
            refused = True
            if (
                case.refusal is None
                or case.refusal not in str(error)
                or "\n" in str(error).replace(place, "")
            ):
                faults.append(f"refused: {error}")
        taken = time.monotonic() - started
    error_seconds = np.nan
    if not refused:
        if case.refusal is not None:
            faults.append(f"not refused for {case.refusal}")
        if len(times) != case.num_frames:
            faults.append(f"{len(times)} rows, {case.num_frames} frames were written")
        if case.warning and not any(case.warning in line for line in warnings):
            faults.append(f"no warning of {case.warning}: {warnings}")
        if decoder != "picture" and path.exists():
            error_seconds = _time_error(times, str(path), faults)
    return Verdict(
        case=case.name,
        frames=case.num_frames,
        rows=len(times),
        time_error_seconds=error_seconds,
        decoder=decoder,
        warnings=tuple(warnings),
        faults=tuple(faults),
        refused=refused,
        seconds=taken,
    )


def _time_error(times: np.ndarray, place: str, faults: list[str]) -> float:
    worst = 0.0
    for way, truth in zip(("frames", "packets"), decode_truth(place), strict=True):
        if len(truth) != len(times):
            faults.append(f"{len(times)} rows, {len(truth)} {way}")
            continue
        if np.isnan(truth).any():
            return np.nan
        # Where the file's clock starts anew its times are joined: none of them is shown twice.
        if len(np.unique(truth)) == len(truth):
            worst = max(worst, float(np.abs(truth - times).max()))
    if worst > _TIME_TOLERANCE_SECONDS:
        faults.append(f"times are off by {worst:.3f} s")
    return worst


def _check_overlay(
    reader: VideoReader, times: np.ndarray, place: str, path: Path
) -> tuple[list[str], list[str]]:
    """Write the overlay of a video in which nobody was found; return its faults and its warnings."""
    from emotemporal.pipeline import write_overlay

    info, faults = reader.info, []
    analysis = VideoAnalysis(
        info=info,
        labels=("happy", "sad"),
        frame_index=np.arange(len(times)),
        pts_seconds=times,
        tracks=(),
        timelines=(),
        checkpoint={},
        settings={},
    )
    warnings = write_overlay(analysis, path)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        shape = stream.sample_aspect_ratio or 1
    if len(frames) != len(times):
        return [f"the overlay has {len(frames)} frames, expected {len(times)}"], warnings
    size = frames[0].width, frames[0].height
    if size != (info.width + info.width % 2, info.height + info.height % 2) or frames[0].rotation:
        faults.append(f"the overlay is {size}, turned by {frames[0].rotation}")
    drift = np.array([float(frame.pts * frame.time_base) for frame in frames]) - times
    if np.abs(drift - drift[0]).max() > _OVERLAY_DRIFT_SECONDS:
        faults.append(f"the overlay's times drift by {np.abs(drift - drift[0]).max():.3f} s")
    if shape != (expected_shape := _upright_pixel_shape(place, info.rotation_degrees)):
        faults.append(f"the overlay's pixels are {shape}, expected {expected_shape}")
    if not is_sequence(place):
        heard, expected = sound_end(str(path)), sound_end(place)
        if (heard == 0) != (expected == 0) or abs(heard - expected) > _SOUND_TOLERANCE_SECONDS:
            faults.append(f"the overlay's sound ends at {heard:.2f} s, expected {expected:.2f} s")
    return faults, warnings


def _upright_pixel_shape(place: str, rotation_degrees: int) -> Fraction:
    if is_sequence(place):
        return Fraction(1)
    with av.open(place) as container:
        stream = next(s for s in container.streams.video if not s.disposition & Disposition.attached_pic)
        shape = Fraction(stream.sample_aspect_ratio or 1)
    return 1 / shape if rotation_degrees % 180 else shape


def sound_end(place: str) -> float:
    """Return when a file's sound ends, in seconds; 0 without one."""
    with av.open(place) as container:
        if not container.streams.audio:
            return 0.0
        ends = [
            float((packet.pts + (packet.duration or 0)) * packet.time_base)
            for packet in container.demux(container.streams.audio[0])
            if packet.pts is not None
        ]
    return max(ends, default=0.0)


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Give the files of a folder over http; yields its address."""
    handler = functools.partial(_Silent, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def main(folder: str, *names: str) -> int:
    from results import write_result

    verdicts = []
    for case in CASES:
        if names and case.name not in names:
            continue
        verdict = check_case(case, Path(folder), overlay=True)
        verdicts.append(verdict)
        said = "; ".join(verdict.faults) or ("refused" if verdict.refused else "ok")
        error = f"{1000 * verdict.time_error_seconds:.2f} ms"
        counts = f"{verdict.rows:5d} of {verdict.frames:5d}"
        print(f"{verdict.case:24s} {counts} {error:>9s} {verdict.decoder:8s} {said}", flush=True)
    num_good = sum(not verdict.faults for verdict in verdicts)
    details = {
        "num_cases": len(verdicts),
        "num_refused": sum(verdict.refused for verdict in verdicts),
        "cases": [asdict(verdict) for verdict in verdicts],
    }
    write_result("file_corpus", num_good, unit="cases without a fault", details=details)
    return 0 if num_good == len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
