"""Makes the examples in plain loops importable, whatever folder pytest starts in."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
