"""The command line: `emotemporal <command>`; `tools/*.py` call the same functions."""

import sys
from collections.abc import Sequence
from importlib import import_module

# Command -> what it does; the module of the same name has its `main`.
COMMANDS = {
    "predict-clip": "label every person in videos",
    "live": "label every person in front of a camera",
    "app": "label videos in the browser, on this machine",
    "extract-faces": "cut tracked faces out of labelled videos, for training",
    "train-frame": "train a frame network on FER2013",
    "train-clip": "train a temporal head on extracted faces",
    "search-clip": "search settings of a temporal head, by people held out",
    "train-geometry": "train linear models on RAVDESS's landmarks",
    "evaluate": "measure a checkpoint on labelled data",
    "export": "write a checkpoint's networks for other systems",
    "doctor": "check the installation",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in COMMANDS:
        module = import_module(f"emotemporal.cli.{arguments[0].replace('-', '_')}")
        return module.main(arguments[1:])
    lines = [f"  {name:<14} {text}" for name, text in COMMANDS.items()]
    usage = "\n".join(
        ["usage: emotemporal <command> [...]", "", *lines, "", "<command> --help tells its flags"]
    )
    if arguments and arguments[0] in ("-h", "--help"):
        print(usage)
        return 0
    if arguments and arguments[0] == "--version":
        from emotemporal import __version__

        print(__version__)
        return 0
    found = f"unknown command '{arguments[0]}'" if arguments else "no command"
    print(f"error: {found}, expected one of {', '.join(COMMANDS)}", file=sys.stderr)
    return 2
