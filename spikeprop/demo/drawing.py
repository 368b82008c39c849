"""Recordings, evidence and accuracy as text: coloured blocks, braille, or plain ASCII."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

__all__ = ["bar", "blocks", "braille", "evidence_lines", "letters"]

ON, OFF = "bright_red", "bright_blue"
_HALVES = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}
_PLAIN = {(False, False): " ", (True, False): "'", (False, True): ".", (True, True): ":"}


def blocks(frame: NDArray[np.bool_], *, colour: bool = True) -> Text:
    """Draw events in half blocks: a letter is one pixel wide and two high.

    Parameters
    ----------
    frame
        Where events fell, ``(P, H, W)``; the first polarity of two is OFF.
    colour
        Red for ON, blue for OFF; without it, both alike.
    """
    styles = _styles(frame) if colour else np.where(frame.any(axis=0), "none", "")
    styles = _even(styles)
    text = Text(no_wrap=True)
    for top, bottom in zip(styles[0::2], styles[1::2], strict=True):
        for upper, lower in zip(top.tolist(), bottom.tolist(), strict=True):
            if colour and upper and lower and upper != lower:
                text.append("▀", style=f"{upper} on {lower}")
            else:
                style = (upper or lower) if colour else ""
                text.append(_HALVES[bool(upper), bool(lower)], style=style or "")
        text.append("\n")
    text.right_crop(1)
    return text


def letters(frame: NDArray[np.bool_]) -> Text:
    """Draw events in ASCII, a letter one pixel wide and two high."""
    seen = _even(np.asarray(frame.any(axis=0)))
    rows = zip(seen[0::2].tolist(), seen[1::2].tolist(), strict=True)
    lines = ["".join(_PLAIN[pair] for pair in zip(*row, strict=True)) for row in rows]
    return Text("\n".join(lines), no_wrap=True)


def braille(frame: NDArray[np.bool_]) -> Text:
    """Draw events in braille: a letter is two pixels wide and four high."""
    seen = frame.any(axis=0)
    height, width = seen.shape
    seen = np.pad(seen, ((0, -height % 4), (0, -width % 2)))
    # Dots 1, 2, 3, 7 down the left column, 4, 5, 6, 8 down the right one (Unicode, chapter 21).
    weights = np.array([[1, 8], [2, 16], [4, 32], [64, 128]])
    cells = seen.reshape(seen.shape[0] // 4, 4, seen.shape[1] // 2, 2).transpose(0, 2, 1, 3)
    codes = 0x2800 + (cells * weights).sum(axis=(2, 3))
    return Text("\n".join("".join(map(chr, row)) for row in codes.tolist()), no_wrap=True)


def bar(share: float, width: int, *, ascii_only: bool = False) -> str:
    """Return a bar that fills a share (0 to 1) of the width, to an eighth of a letter."""
    share = min(max(share, 0.0), 1.0)
    if ascii_only:
        return ("#" * round(share * width)).ljust(width)
    eighths = round(share * width * 8)
    part = " ▏▎▍▌▋▊▉"[eighths % 8].strip()
    return ("█" * (eighths // 8) + part).ljust(width)


def evidence_lines(
    evidence: Sequence[float],
    label: int,
    width: int,
    top: float,
    *,
    ascii_only: bool = False,
) -> Text:
    """Draw the evidence for each class as a line of its own; the leader is bold.

    Parameters
    ----------
    evidence
        One value a class; what is below zero shows as no bar.
    label
        The true class, which is marked.
    width
        Of the bars.
    top
        Value of a full bar.
    """
    leads = int(np.argmax(evidence))
    text = Text(no_wrap=True)
    mark = "<" if ascii_only else "◂"
    for number, value in enumerate(evidence):
        drawn = bar(value / max(top, 1e-9), width, ascii_only=ascii_only)
        style = "bold green" if number == leads == label else "bold red" if number == leads else ""
        text.append(f"{number} {drawn}{mark if number == label else ' '}\n", style=style)
    text.right_crop(1)
    return text


def _styles(frame: NDArray[np.bool_]) -> NDArray[np.str_]:
    """Return the colour of every pixel, empty where nothing happened."""
    if len(frame) != 2:
        return np.where(frame.any(axis=0), "default", "")
    return np.where(frame[1], ON, np.where(frame[0], OFF, ""))


def _even(rows: NDArray[Any]) -> NDArray[Any]:
    """Return the rows with an empty one below if their number is odd."""
    # Not np.pad, which would write "0" into an array of strings.
    return np.concatenate([rows, np.zeros_like(rows[: len(rows) % 2])])
