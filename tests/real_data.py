"""Where real recordings lie that are no part of the project; tests that need them are skipped.

``$SPIKEPROP_TEST_DATA``, or ``shared/data`` beside the clone.
"""

import os
from pathlib import Path

import pytest

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"
REAL_DATA = Path(os.environ.get("SPIKEPROP_TEST_DATA") or _BESIDE)


def needs_real_data(folder: str) -> pytest.MarkDecorator:
    """Skip a test where the folder of real recordings is missing."""
    return pytest.mark.skipif(
        not (REAL_DATA / folder).is_dir(), reason=f"no real recordings ({folder})"
    )
