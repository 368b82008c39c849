"""Which column is what: for arrays, tables and files whose fields have names, or none.

Names are compared in lower case, without what is not a letter. Times are microseconds, unless their
name says otherwise (``t_s``, ``t_ms``, ``t_ns``) or they are no whole numbers: then seconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeprop.datasets.events import Events, make_events

_TIMES = ("t", "ts", "time", "times", "timestamp", "timestamps")
NAMES = {
    "x": ("x", "xs", "xaddr", "xpos", "xaddress", "col", "column", "addrx"),
    "y": ("y", "ys", "yaddr", "ypos", "yaddress", "row", "addry"),
    "t": (
        *(name + unit for name in _TIMES for unit in ("", "ms", "us", "ns", "sec")),
        *("tss", "timess"),
    ),
    "p": ("p", "ps", "pol", "polarity", "polarities", "on", "sign"),
}
_UNITS = {"ns": 1e-3, "ms": 1e3, "us": 1.0, "sec": 1e6, "s": 1e6}


def find_columns(names: Sequence[str]) -> dict[str, str] | None:
    """Map x, y, t, p to the given names, or None if one is missing or there twice."""
    plain = {re.sub("[^a-z]", "", name.lower()): name for name in names}
    found = {}
    for column, aliases in NAMES.items():
        given = [plain[alias] for alias in aliases if alias in plain]
        if len(given) != 1:
            return None
        found[column] = given[0]
    return found


def time_unit(name: str, values: NDArray[Any]) -> float:
    """Return how many microseconds a unit of a column of times has."""
    for unit, scale in _UNITS.items():
        if re.search(rf"[a-z]+[_ \[(]+{unit}[\])]*$", name.lower()):
            return scale
    if values.dtype.kind == "f" and len(values) and not np.all(values == np.floor(values)):
        return 1e6
    return 1.0


def events_from(columns: Mapping[str, NDArray[Any]], *, unit: float | None = None) -> Events:
    """Make events of four columns; polarities -1 and 1 become 0 and 1.

    Raises
    ------
    ValueError
        If the columns differ in length, are no numbers, or x, y or p are no whole numbers.
    """
    shapes = {name: np.shape(columns[name]) for name in "xytp"}
    if len(set(shapes.values())) != 1 or len(shapes["x"]) != 1:
        raise ValueError(f"columns x, y, t, p have the shapes {list(shapes.values())}")
    whole = {name: _integers(name, columns[name]) for name in "xyp"}
    t = np.asarray(columns["t"])
    if t.dtype.kind not in "iufb":
        raise ValueError(f"column t holds {t.dtype}, not numbers")
    scale = time_unit("t", t) if unit is None else unit
    if t.dtype.kind == "f" or scale != 1.0:
        with np.errstate(over="ignore", invalid="ignore"):
            t = np.round(t.astype(np.float64) * scale)
        if len(t) and not np.all(np.abs(t) < 2.0**62):
            raise ValueError("column t holds values that are not finite times")
    elif t.dtype == np.uint64 and len(t) and t.max() > 2**62:
        raise ValueError(f"column t reaches up to {t.max()}: no time in microseconds")
    p = whole["p"]
    if len(p) and p.min() == -1:
        p = np.where(p < 0, 0, p)
    return make_events(whole["x"], whole["y"], t.astype(np.int64), p)


def _integers(name: str, values: NDArray[Any]) -> NDArray[np.int64]:
    values = np.asarray(values)
    if values.dtype.kind in "iub":
        if values.dtype == np.uint64 and len(values) and values.max() > 2**62:
            raise ValueError(f"column {name} reaches up to {values.max()}")
        return values.astype(np.int64)
    if values.dtype.kind != "f":
        raise ValueError(f"column {name} holds {values.dtype}, not numbers")
    if len(values) and not np.all(np.abs(values) < 2.0**31):
        raise ValueError(f"column {name} holds values that are not finite or too large")
    # Whole pixels: undistorted coordinates with fractions are rounded to the nearest.
    return np.round(values).astype(np.int64)


def guess_order(rows: NDArray[Any]) -> str | None:
    """Guess the order of four columns without names, such as ``"txyp"``; None if it is not clear.

    p has no values but 0 and 1, or -1 and 1; t is one that never falls and reaches furthest. Of the
    other two, x comes first.
    """
    if rows.ndim != 2 or rows.shape[1] != 4 or len(rows) < 2:
        return None
    spread = [float(rows[:, i].max()) - float(rows[:, i].min()) for i in range(4)]
    rising = [bool(np.all(np.diff(rows[:, i]) >= 0)) for i in range(4)]
    signs = [bool(np.isin(rows[:, i], (-1, 0, 1)).all()) for i in range(4)]
    times = [i for i in range(4) if rising[i] and not (signs[i] and spread[i] <= 1 and i == 3)]
    # Where times are in seconds, pixels reach further: a column with fractions is the time.
    fractions = [i for i in times if np.any(rows[:, i] != np.floor(rows[:, i]))]
    times = fractions or times
    if not times:
        return None
    t = max(times, key=lambda i: spread[i])
    polarity = [i for i in range(4) if signs[i] and i != t]
    if not polarity:
        return None
    p = polarity[-1]
    x, y = (i for i in range(4) if i not in (t, p))
    order = [""] * 4
    for place, name in ((t, "t"), (p, "p"), (x, "x"), (y, "y")):
        order[place] = name
    return "".join(order)
