"""`emotemporal live`: label a camera, or a file or stream played as one."""

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser

from emotemporal.cli.common import EXIT_INTERRUPTED, EXIT_OK, guarded, make_parser, tell
from emotemporal.errors import CheckpointError, UsageError, VideoError
from emotemporal.faces.choice import DETECTOR_HELP
from emotemporal.labels import LABEL_SETS

if TYPE_CHECKING:
    from emotemporal.live import LiveLabeller, LiveSession


def _parser() -> ArgumentParser:
    parser = make_parser(
        "live",
        "Tell what every person in front of a camera shows on their face, frame by frame: a line of JSON for "
        "each frame, or a window. Ctrl-C ends it.",
    )
    parser.add_argument(
        "source", type=str, help="number of a camera (0), video played as one, or address of a stream"
    )
    parser.add_argument("--show", action="store_true", help="a window instead of JSON; q or Esc closes it")
    parser.add_argument("--overlay", type=str, help="write what is shown to this .mp4")
    parser.add_argument(
        "--max-delay", type=float, default=100.0, help="milliseconds; a frame ready later is not shown"
    )
    parser.add_argument(
        "--no-drop",
        action="store_true",
        help="label and show every frame, however late; a file as fast as it goes",
    )
    parser.add_argument("--checkpoint", type=str, help="weights; the shipped clip checkpoint by default")
    parser.add_argument(
        "--head",
        type=str,
        help="head checkpoint in place of the head of --checkpoint (head.safetensors of train-clip with "
        "head.kind gru); without --checkpoint the shipped one by default",
    )
    parser.add_argument("--labels", choices=list(LABEL_SETS), help="the emotions to tell apart")
    parser.add_argument(
        "--frame-labels",
        choices=["network", "head"],
        default="network",
        help="what the labels are made of: the frame network, or what the one-way head made of it",
    )
    parser.add_argument("--smooth", choices=["hmm", "ema", "none"], default="hmm", help="from the past alone")
    parser.add_argument("--detector", type=str, default="mtcnn", help=DETECTOR_HELP)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--backend", choices=["torch", "openvino"], default="torch")
    return parser


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    if not options.max_delay > 0:
        raise UsageError(f"--max-delay must be positive, found {options.max_delay:g} ms")
    if options.overlay and Path(options.overlay).suffix.lower() != ".mp4":
        raise UsageError(f"--overlay {options.overlay}: an overlay is an .mp4 file, give such a name")

    import torch

    from emotemporal.live import LiveLabeller, LiveSession
    from emotemporal.video.live import LiveReader

    # One frame is too little to share out: on two busy cores threads that wait for one another turned a
    # median delay of 90 ms into seconds.
    torch.set_num_threads(1)
    window = Window(f"emotemporal {options.source}") if options.show else None
    try:
        labeller = LiveLabeller.load(
            options.checkpoint,
            options.head,
            device=options.device,
            detector=options.detector,
            labels=options.labels,
            backend=options.backend,
            smooth=options.smooth,
            frame_labels=options.frame_labels,
        )
    except CheckpointError as error:
        raise UsageError(str(error)) from error
    if not labeller.has_causal_head:
        tell("warning: no one-way head (gru): labels are the frame network's alone")
    labeller.warm_up()
    limit = float("inf") if options.no_drop else options.max_delay / 1e3
    was_interrupted = False
    with LiveReader(options.source, drop=not options.no_drop) as reader:
        session = LiveSession(reader, labeller, max_delay_seconds=limit)
        try:
            _run(session, labeller, window, options)
        except KeyboardInterrupt:
            was_interrupted = True
        finally:
            summary = session.summary()
            tell(f"{reader.name}: {summary}")
    if summary.num_late and not summary.num_shown:
        tell(
            f"warning: no frame was ready within {options.max_delay:g} ms; raise --max-delay, or make the "
            "picture smaller"
        )
    if was_interrupted:
        tell("interrupted")
        return EXIT_INTERRUPTED
    return EXIT_OK


def _run(session: "LiveSession", labeller: "LiveLabeller", window: "Window | None", options: Any) -> None:
    """Show frames until the source ends, the window is closed, or Ctrl-C."""
    from emotemporal.live import face_marks, frame_document
    from emotemporal.report.overlay import FramePainter
    from emotemporal.video.writer import VideoWriter

    painter: FramePainter | None = None
    writer: VideoWriter | None = None
    with ExitStack() as resources:
        try:
            for frame, people in session:
                picture = frame.image
                height, width = picture.shape[:2]
                if window is not None or options.overlay:
                    painter = painter or FramePainter(width, height)
                    picture = painter.paint(picture, face_marks(people, labeller.labels))
                delay = session.stamp(frame)
                if delay is None:
                    continue
                if window is None:
                    document = frame_document(frame, people, labeller.labels, delay_seconds=delay)
                    print(json.dumps(document), flush=True)
                elif not window.show(picture):
                    return
                if options.overlay:
                    if writer is None:
                        new = VideoWriter(options.overlay, width=width, height=height)
                        writer = resources.enter_context(new)
                    writer.write(picture, frame.pts_seconds)
        except (KeyboardInterrupt, VideoError):
            # What was written until now is to be finished, not thrown away.
            resources.close()
            raise


class Window:
    """A window on the screen.

    Raises:
        UsageError: there is no screen, or OpenCV was built without windows.
    """

    def __init__(self, title: str) -> None:
        import os

        import cv2

        self._cv2 = cv2
        self._title = title
        gui = next((line for line in cv2.getBuildInformation().splitlines() if " GUI:" in line), "")
        if gui.split(":")[-1].strip() == "NONE":
            raise UsageError(
                "--show: this OpenCV has no windows (opencv-python-headless); leave --show out, or install "
                "opencv-python in its place"
            )
        # Without a screen Qt would end the whole process.
        if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise UsageError(
                "--show: no screen (DISPLAY is not set); leave --show out, or use --overlay FILE"
            )

    def show(self, picture: Any) -> bool:
        """Show a picture, uint8 (H, W, 3) RGB; false once the user has closed the window."""
        cv2 = self._cv2
        cv2.imshow(self._title, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        if cv2.waitKey(1) & 0xFF in (ord("q"), 27):
            return False
        return cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1
