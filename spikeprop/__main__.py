"""``python -m spikeprop`` is the command ``spikeprop``."""

import sys

from spikeprop.cli import main

if __name__ == "__main__":
    sys.exit(main())
