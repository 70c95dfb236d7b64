"""Peak memory of predict_clip.py on a video of one minute and the same looped to thirty.

python benchmarks/memory.py examples/demo.mp4 [VIDEO_OF_1080_LINES]
"""

import sys
import tempfile
from pathlib import Path

import av
from processes import peak_memory, predict_command
from results import write_result


def loop_video(source: Path, target: Path, *, seconds: float) -> None:
    """Write a video's picture over and over, packets copied as they are, until it is so long."""
    with av.open(str(source)) as first, av.open(str(target), "w") as out:
        stream = first.streams.video[0]
        copy = out.add_stream_from_template(stream)
        length = stream.duration
        rounds = round(seconds / float(length * stream.time_base))
        for number in range(rounds):
            with av.open(str(source)) as container:
                for packet in container.demux(container.streams.video[0]):
                    if packet.dts is None:
                        continue
                    packet.pts += number * length
                    packet.dts += number * length
                    packet.stream = copy
                    out.mux(packet)


def main(source: str, large: str | None = None) -> None:
    minutes = (1, 30)
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
    write_result("peak_memory_30min", long, unit="MB, whole process tree", details=details)
    if large is not None:
        with tempfile.TemporaryDirectory() as temporary:
            measured = peak_memory(predict_command(Path(large), Path(temporary), "--per-frame"))
        details = {"video": Path(large).name, **measured}
        write_result("peak_memory_1080p", measured["peak_mb"], unit="MB, whole process tree", details=details)


if __name__ == "__main__":
    main(*sys.argv[1:])
