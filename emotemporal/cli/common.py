"""What all commands share: settings from files and flags, and errors as one line."""

import errno
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from emotemporal.cli.interrupts import call_interruptibly
from emotemporal.errors import OUT_OF_MEMORY, EmotemporalError, UsageError, is_out_of_memory
from emotemporal.text import one_line, printable

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

T = TypeVar("T")

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130
# A disk that is full or gone, or that must not be written to.
_OF_DISKS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


def make_parser(command: str, description: str) -> "ArgumentParser":
    """Return a command's parser; flags must be spelt out, so that new ones break no script."""
    # `doctor` must answer where it cannot be imported.
    from jsonargparse import ArgumentParser

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
        _open_missing_streams()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # A terminal that lacks a sign shows another; that is no reason to stop.
                stream.reconfigure(errors="replace")
        try:
            code = call_interruptibly(lambda: main(argv))
            # Here, since what it says when Python ends is no one line.
            sys.stdout.flush()
            return code
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
            _discard_output()
            return EXIT_FAILED
        except (OSError, RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                print(f"error: {OUT_OF_MEMORY}", file=sys.stderr)
            elif isinstance(error, OSError) and error.errno in _OF_DISKS:
                place = error.filename or "the output"
                print(f"error: cannot write {place}: {error.strerror}", file=sys.stderr)
                _discard_output()
            else:
                raise
            return EXIT_FAILED

    return run


def _open_missing_streams() -> None:
    """Give a process that was started without standard streams some that lead nowhere.

    Else the next file or pipe that is opened gets their numbers, and whatever is printed.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r+" if name == "stdin" else "w"))  # noqa: SIM115


def _discard_output() -> None:
    """Lead stdout nowhere: nobody reads it any more, and Python would complain again when it closes it."""
    with suppress(OSError, ValueError):  # a stand-in may have no file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


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
