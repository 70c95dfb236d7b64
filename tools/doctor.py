#!/usr/bin/env python3
"""Check the installation; see `--help`."""

import sys

from emotemporal.cli.doctor import main

if __name__ == "__main__":
    sys.exit(main())
