#!/usr/bin/env python3
"""Train a temporal head on extracted faces; see `--help`."""

import sys

from emotemporal.cli.train_clip import main

if __name__ == "__main__":
    sys.exit(main())
