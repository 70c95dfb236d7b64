#!/usr/bin/env python3
"""Train a frame network on FER2013; see `--help`."""

import sys

from emotemporal.cli.train_frame import main

if __name__ == "__main__":
    sys.exit(main())
