"""Makes the toy problem importable, whatever folder pytest starts in."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [
    str(HERE),
    str(HERE.parent),
    str(HERE.parent / "learning"),
    str(HERE.parent / "neurons"),
]
