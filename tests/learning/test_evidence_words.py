"""Evidence by its word on the command line."""

from __future__ import annotations

import pytest

from spikeprop.evidence import Instantaneous, Leaky, RunningMean, evidence_of


def test_words_name_filters_and_sums_of_them() -> None:
    assert evidence_of("running-mean") == RunningMean()
    assert evidence_of("instantaneous") == Instantaneous()
    assert evidence_of("leaky") == Leaky()
    assert evidence_of("running-mean+leaky:0.5") == (RunningMean(), Leaky(0.5))


@pytest.mark.parametrize("word", ["", "mean", "leaky:2", "leaky:x", "running-mean+"])
def test_other_words_are_refused(word: str) -> None:
    with pytest.raises(ValueError, match="evidence"):
        evidence_of(word)
