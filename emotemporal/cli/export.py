"""`emotemporal export`: write a checkpoint's networks for other systems."""

from collections.abc import Sequence

from jsonargparse import ArgumentParser

from emotemporal.cli.common import EXIT_OK, guarded, make_parser
from emotemporal.errors import CheckpointError, UsageError


def _parser() -> ArgumentParser:
    parser = make_parser(
        "export",
        "Write a checkpoint's frame network and temporal head as files that other systems run, with a JSON "
        "beside them that says what goes in and what comes out. Each file is run and compared with PyTorch "
        "before it is kept.",
    )
    parser.add_argument("--checkpoint", type=str, help="weights; the shipped clip checkpoint by default")
    parser.add_argument(
        "--format",
        choices=["onnx", "openvino"],
        default="onnx",
        help="onnx needs the extra emotemporal[onnx], openvino the extra emotemporal[openvino]",
    )
    parser.add_argument(
        "--output-dir", type=str, default="emotemporal_export", help="where files go (made if missing)"
    )
    return parser


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)

    from emotemporal.checkpoint import default_checkpoint, load_checkpoint
    from emotemporal.export import export_checkpoint
    from emotemporal.text import printable

    try:
        checkpoint = load_checkpoint(options.checkpoint or default_checkpoint())
    except CheckpointError as error:
        raise UsageError(f"--checkpoint: {error}" if options.checkpoint else str(error)) from error
    exported = export_checkpoint(checkpoint, options.output_dir, format=options.format)
    for path in exported.files:
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
    for name, difference in exported.parity.items():
        print(f"{name}: probabilities differ from PyTorch's by {difference:.1e} at most")
    print(f"licence: {printable(checkpoint.header.licence)}")
    return EXIT_OK
