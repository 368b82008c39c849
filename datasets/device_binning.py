"""Binning on the device that trains: events travel there, a few bytes each, frames never do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from spikeprop.datasets.binning import Binning, as_columns, check_range
from spikeprop.datasets.columns import EventColumns
from spikeprop.datasets.events import Events

__all__ = ["bin_events_on"]


def bin_events_on(
    device: torch.device | str,
    events_list: Sequence[Events] | EventColumns,
    binning: Binning,
    sensor_size: tuple[int, int, int],
    duration: int,
) -> Tensor:
    """Cut recordings into frames on a device; the frames of ``bin_events``, made there.

    Parameters
    ----------
    device
        Where to bin, and where the frames are.
    events_list, binning, sensor_size, duration
        As in :func:`spikeprop.datasets.bin_events`.

    Returns
    -------
    Tensor, float32, shape (T, B, P, H, W)
        On ``device``.

    Raises
    ------
    ValueError
        If the batch is empty, or an event lies outside the sensor or before time 0.
    """
    columns = as_columns(events_list)
    check_range(columns, sensor_size)
    batch, lengths = columns.batch, columns.lengths
    # Checked above: pixels and polarities fit, whatever type they came in.
    t, row = (torch.from_numpy(v.astype(np.int64)).to(device) for v in (columns.t, columns.row))
    x, y, p = (
        torch.from_numpy(v.astype(np.int32)).to(device).long()
        for v in (columns.x, columns.y, columns.p)
    )
    if binning.event_count is not None:
        starts = torch.from_numpy(columns.offsets[:-1].astype(np.int64)).to(device)
        step = (torch.arange(len(t), device=device) - starts[row]) // binning.event_count
        steps = max(1, -(-int(lengths.max()) // binning.event_count))
    elif binning.n_time_bins is not None:
        first, last = (torch.from_numpy(v).to(device) for v in columns.span())
        if bool(((t < first[row]) | (t > last[row])).any()):
            raise ValueError("events are not sorted in t; n_time_bins needs them in order")
        step = (t - first[row]) * binning.n_time_bins // (last - first + 1)[row]
        steps = binning.n_time_bins
    else:
        found = binning.steps(duration)
        assert found is not None
        assert binning.time_window is not None
        steps = found
        step = torch.where(t < duration, t // binning.time_window, steps)
    features = binning.features(sensor_size)
    plane = torch.zeros_like(p) if binning.merge_polarities else p
    cell = (plane * features[1] + y // binning.pool) * features[2] + x // binning.pool
    size = features[0] * features[1] * features[2]
    cell = ((step * batch + row) * size + cell)[step < steps]
    frames = torch.zeros(steps * batch * size, dtype=torch.float32, device=device)
    if binning.binary:
        frames[cell] = 1.0
    else:
        frames.index_add_(0, cell, torch.ones(len(cell), device=device))
    return frames.view(steps, batch, *features)
