"""`emotemporal train-clip`: train a temporal head on a store of face crops."""

from collections.abc import Sequence

from emotemporal.cli.common import guarded, parse_settings
from emotemporal.training.config import ClipConfig


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    config = parse_settings("train-clip", ClipConfig, "Train a temporal head on a store of face crops.", argv)
    from emotemporal.training.clip import train_clip

    path = train_clip(config)
    print(f"checkpoint: {path}")
    return 0
