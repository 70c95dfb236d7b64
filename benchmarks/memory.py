"""Peak memory of predict_clip.py on a video of one minute and of one hour, and on a minute of 1080 lines.

python benchmarks/memory.py examples/demo.mp4 [VIDEO_OF_1080_LINES]
"""

import sys
import tempfile
from pathlib import Path

from processes import peak_memory, predict_command
from results import write_result
from videos import loop_video


def main(source: str, large: str | None = None) -> None:
    minutes = (1, 60)
    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for length in minutes:
            video = folder / f"{length}min.mp4"
            loop_video(Path(source), video, seconds=60 * length)
            found[length] = peak_memory(predict_command(video, folder / "out", "--per-frame"))
            print(f"{length} min: {found[length]}", flush=True)
    short, long = (found[length]["peak_mb"] for length in minutes)
    details = {"video": source, "minutes": found, "grown_mb": long - short}
    write_result("peak_memory_60min", long, unit="MB, whole process tree", details=details)
    if large is not None:
        with tempfile.TemporaryDirectory() as temporary:
            video = Path(temporary) / "large.mp4"
            loop_video(Path(large), video, seconds=60)
            measured = peak_memory(predict_command(video, Path(temporary), "--per-frame"))
        details = {"video": Path(large).name, **measured}
        write_result("peak_memory_1080p", measured["peak_mb"], unit="MB, whole process tree", details=details)


if __name__ == "__main__":
    main(*sys.argv[1:])
