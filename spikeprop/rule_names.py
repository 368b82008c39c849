"""The names of the learning rules, and what is said to a name that is none of them.

Apart from :mod:`spikeprop.rules`, which has the classes, since a configuration is read without
loading anything heavy. A rule of a user's own is ``module:Class``, where the module is a dotted
name or a ``.py`` file.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

__all__ = ["RULE_NAMES", "check_rule_name", "near"]

#: The keys of ``spikeprop.rules.RULES``.
RULE_NAMES: tuple[str, ...] = (
    "sigprop",
    "sp-voltage",
    # What people compare with.
    "traces-propagation",
    "decolle",
    "e-prop",
    "e-prop-random",
    "etlp",
    "ostl",
    "osttp",
    "ottt",
    "sltt",
    "s-tllr",
    "tess",
    "stsf",
    "feedback-alignment",
    "dfa",
    "drtp",
    "r-stdp",
    "stdp",
    "readout-only",
    "bptt",
    "tbptt",
)


def check_rule_name(name: str) -> None:
    """Refuse a name that is neither in the table nor of the form ``module:Class``.

    Raises
    ------
    ValueError
        With the names that are near.
    """
    module, colon, kind = name.partition(":")
    if name in RULE_NAMES or (colon and module and kind.isidentifier()):
        return
    raise ValueError(
        f"there is no rule {name!r}{near(name, RULE_NAMES)}; `spikeprop rules` lists all of them, "
        f"and a rule of your own is module:Class"
    )


def near(name: str, names: Sequence[str]) -> str:
    """Return ``": did you mean ...?"`` with the names that are near, or all of them if none is."""
    plain = {other.replace("-", "").lower(): other for other in names}
    wanted = name.replace("-", "").replace("_", "").lower()
    found = [plain[key] for key in difflib.get_close_matches(wanted, plain, n=3, cutoff=0.5)]
    if found:
        return f": did you mean {' or '.join(repr(item) for item in found)}?"
    return f", only {', '.join(names)}"
