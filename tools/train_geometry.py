#!/usr/bin/env python3
"""Train linear models on RAVDESS's landmarks; see `--help`."""

import sys

from emotemporal.cli.train_geometry import main

if __name__ == "__main__":
    sys.exit(main())
