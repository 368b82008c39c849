"""Many processes on one network: a batch split among them, or the blocks in a pipeline.

Built on ``torch.distributed`` under ``torchrun``; ``docs/scale.md`` says how and what to expect.
"""

from __future__ import annotations

from spikeprop.parallel.ranks import Ranks, join, leave
from spikeprop.parallel.shares import Share, check_batches, split

__all__ = ["Ranks", "Share", "check_batches", "join", "leave", "split"]
