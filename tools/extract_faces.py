#!/usr/bin/env python3
"""Cut tracked faces out of labelled videos; see `--help`."""

import sys

from emotemporal.cli.extract_faces import main

if __name__ == "__main__":
    sys.exit(main())
