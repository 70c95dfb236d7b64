#!/usr/bin/env python3
"""Measure a checkpoint on labelled data; see `--help`."""

import sys

from emotemporal.cli.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
