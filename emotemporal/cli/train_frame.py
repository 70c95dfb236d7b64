"""`emotemporal train-frame`: train a frame network on FER2013."""

from collections.abc import Sequence

from emotemporal.cli.common import guarded, parse_settings
from emotemporal.training.config import FrameConfig


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    config = parse_settings("train-frame", FrameConfig, "Train a frame network on FER2013.", argv)
    from emotemporal.training.frame import train_frame

    path = train_frame(config)
    print(f"best checkpoint: {path}")
    return 0
