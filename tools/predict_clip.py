#!/usr/bin/env python3
"""Label every person in videos; see `--help`."""

import sys

from emotemporal.cli.predict_clip import main

if __name__ == "__main__":
    sys.exit(main())
