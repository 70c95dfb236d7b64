#!/usr/bin/env python3
"""Label every person in front of a camera; see `--help`."""

import sys

from emotemporal.cli.live import main

if __name__ == "__main__":
    sys.exit(main())
