#!/usr/bin/env python3
"""Write a checkpoint's networks for other systems; see `--help`."""

import sys

from emotemporal.cli.export import main

if __name__ == "__main__":
    sys.exit(main())
