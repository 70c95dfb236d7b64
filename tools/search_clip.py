#!/usr/bin/env python3
"""Search settings of a temporal head; see `--help`."""

import sys

from emotemporal.cli.search_clip import main

if __name__ == "__main__":
    sys.exit(main())
