"""What all commands share: settings from files and flags, and errors as one line."""

import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar

from jsonargparse import ArgumentParser

from emotemporal.errors import EmotemporalError, UsageError
from emotemporal.text import one_line, printable

T = TypeVar("T")

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130


def make_parser(command: str, description: str) -> ArgumentParser:
    """Return a command's parser; flags must be spelt out, so that new ones break no script."""
    return ArgumentParser(prog=f"emotemporal {command}", description=description, allow_abbrev=False)


def parse_settings(command: str, config_class: type[T], description: str, argv: Sequence[str] | None) -> T:
    """Parse a training's command line: `--config FILE`, then dotted overrides.

    Settings are named as in the file, or with hyphens as other commands' flags are. A faulty file or flag
    is named on stderr and exits with 2.
    """
    parser = make_parser(command, description)
    parser.add_argument("--config", action="config", help="YAML file of departures from the defaults")
    parser.add_class_arguments(config_class, as_group=False)
    options = parser.parse_args(
        [_with_underscores(word) for word in (sys.argv[1:] if argv is None else argv)]
    )
    try:
        settings = vars(parser.instantiate(options))
        return config_class(**{name: value for name, value in settings.items() if name != "config"})
    except (ValueError, TypeError) as error:
        # What the settings' own checks say of values that are of the right type.
        raise UsageError(str(error).splitlines()[0]) from error


def _with_underscores(word: str) -> str:
    name, equals, value = word.partition("=")
    return name[:2] + name[2:].replace("-", "_") + equals + value if word.startswith("--") else word


def tell(line: str) -> None:
    """Print a line to stderr: one, whatever names are in it, and without passwords."""
    print(one_line(line), file=sys.stderr)


def guarded(main: Callable[..., int]) -> Callable[..., int]:
    """Turn this package's errors into one line on stderr and the right exit code."""

    @wraps(main)
    def run(argv: Sequence[str] | None = None) -> int:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # A terminal that lacks a sign shows another; that is no reason to stop.
                stream.reconfigure(errors="replace")
        try:
            return main(argv)
        except UsageError as error:
            tell(f"error: {error}")
            return EXIT_USAGE
        except EmotemporalError as error:
            tell(f"error: {error}")
            return EXIT_FAILED
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return EXIT_INTERRUPTED
        except BrokenPipeError:
            # Whoever read our output has gone; Python would complain once more when it closes stdout.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return EXIT_FAILED

    return run


@contextmanager
def progress_bar(name: str, *, quiet: bool = False) -> Iterator[Callable[[str, float, int | None], None]]:
    """Give a progress callback that draws a bar on stderr, where that is a terminal and unless `quiet`."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(
        *columns,
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
        # What goes into a file or pipe meanwhile stays there.
        redirect_stdout=sys.stdout.isatty(),
    ) as progress:
        tasks: dict[str, Any] = {}

        def on_progress(stage: str, done: float, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(f"{escape(printable(name))} {stage}".strip(), total=total)
            progress.update(tasks[stage], completed=done, total=total)

        yield on_progress
