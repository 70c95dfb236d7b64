"""`emotemporal app`: label videos in the browser, on this machine."""

import errno
import os
import signal
import socket
import sys
import webbrowser
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from jsonargparse import ArgumentParser

from emotemporal.cli.common import EXIT_INTERRUPTED, guarded, make_parser
from emotemporal.errors import CheckpointError, UsageError
from emotemporal.faces.choice import DETECTOR_HELP
from emotemporal.labels import LABEL_SETS

if TYPE_CHECKING:
    from emotemporal.pipeline import EmotionPipeline

_END_SECONDS = 10.0
"""What is being labelled may go on for so long after the end, for want of a frame to stop at."""


def _parser() -> ArgumentParser:
    parser = make_parser(
        "app",
        "Label videos in the browser: drop them in, or record from the camera. It runs on this machine, for "
        "this machine alone, and Ctrl-C ends it.",
    )
    parser.add_argument(
        "--host", type=str, default="127.0.0.1", help="address to listen on; there is no login"
    )
    parser.add_argument("--port", type=int, default=7860, help="0 takes any that is free")
    parser.add_argument("--max-mb", type=float, default=500.0, help="of one video, in megabytes")
    parser.add_argument(
        "--keep",
        type=str,
        metavar="DIR",
        help="keep videos and results there (made if missing); without it nothing is left when the app ends",
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open the browser")
    parser.add_argument("--checkpoint", type=str, help="weights; the shipped clip checkpoint by default")
    parser.add_argument("--labels", choices=list(LABEL_SETS), help="the emotions to tell apart")
    parser.add_argument("--detector", type=str, default="mtcnn", help=DETECTOR_HELP)
    parser.add_argument(
        "--min-confidence", type=float, default=0.0, metavar="P", help="call uncertain what is less probable"
    )
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument(
        "--backend", choices=["auto", "torch", "openvino"], default="auto", help="what runs the networks"
    )
    return parser


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    if any(find_spec(name) is None for name in ("starlette", "uvicorn")):
        raise UsageError("the app needs starlette and uvicorn: pip install 'emotemporal[app]'")
    if not 0 <= options.min_confidence <= 1:
        raise UsageError(f"--min-confidence {options.min_confidence}: expected a probability, 0 to 1")
    if not options.max_mb > 0:
        raise UsageError(f"--max-mb must be positive, found {options.max_mb:g}")
    keep = None if options.keep is None else _folder_to_keep(Path(options.keep))
    if not 0 <= options.port <= 65535:
        raise UsageError(f"--port must lie between 0 and 65535, found {options.port}")
    with ExitStack() as resources:
        # These end a process without clearing up, unless they are told not to.
        for number in (signal.SIGTERM, signal.SIGHUP):
            resources.callback(signal.signal, number, signal.signal(number, _end))
        listener = resources.enter_context(_listen(options.host, options.port))
        pipeline = _load(options)
        _serve(pipeline, listener, options, keep)
    return EXIT_INTERRUPTED


def _serve(pipeline: "EmotionPipeline", listener: socket.socket, options: Any, keep: Path | None) -> None:
    from emotemporal.app.folder import SessionFolder
    from emotemporal.app.guard import is_loopback
    from emotemporal.app.server import create_app, make_server
    from emotemporal.app.uploads import Limits
    from emotemporal.app.videos import Videos
    from emotemporal.app.worker import Worker

    with SessionFolder() as session:
        videos = Videos()
        worker = Worker(pipeline, videos, keep=keep, min_confidence=options.min_confidence)
        limits = Limits(round(options.max_mb * 1e6))
        app = create_app(videos, session, host=options.host, limits=limits, keep=keep)
        worker.start()
        if not is_loopback(options.host):
            print(
                f"warning: --host {options.host}: there is no login; whoever reaches this machine over the "
                "net can see every video, and add some",
                file=sys.stderr,
            )
        address = _address(options.host, listener.getsockname()[1])
        kept = f"results stay in {keep}" if keep else "nothing is left behind"
        print(f"emotemporal app: {address} (Ctrl-C ends it, {kept})", flush=True)
        if not options.no_browser and _has_screen():
            webbrowser.open(address)
        try:
            make_server(app).run(sockets=[listener])
        finally:
            videos.close()
            worker.join(_END_SECONDS)


def _load(options: Any) -> "EmotionPipeline":
    from emotemporal.pipeline import EmotionPipeline

    try:
        pipeline = EmotionPipeline.load(
            options.checkpoint,
            options.device,
            detector=options.detector,
            labels=options.labels,
            backend=options.backend,
        )
    except CheckpointError as error:
        raise UsageError(f"--checkpoint: {error}" if options.checkpoint else str(error)) from error
    head = pipeline.classifier.head
    if head is not None and head.spec.sees_geometry:
        # Landmarks are not free for every use.
        print(f"licence of --checkpoint: {pipeline.checkpoint.header.licence}", file=sys.stderr)
    return pipeline


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"--port {port}: taken; is the app running already? Choose another") from error
        raise UsageError(f"--host {host} --port {port}: cannot listen there ({error.strerror})") from error


def _address(host: str, port: int) -> str:
    # That of "all addresses" is none to go to.
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}/"


def _has_screen() -> bool:
    """Tell whether a browser would have a window: without, one of text may take the terminal."""
    if sys.platform != "linux":
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _folder_to_keep(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--keep {path}: cannot be made ({error.strerror})") from error
    if not os.access(path, os.W_OK):
        raise UsageError(f"--keep {path}: not a folder that can be written to")
    return path.resolve()


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
