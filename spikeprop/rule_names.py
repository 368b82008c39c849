"""The names of the learning rules, and what is said to a name that is none of them.

Apart from :mod:`spikeprop.rules`, which has the classes, since a configuration is read without
loading anything heavy. A rule of a user's own is ``module:Class``, where the module is a dotted
name or a ``.py`` file.
"""

from __future__ import annotations

from spikeprop.names import meant

__all__ = ["RULE_NAMES", "check_rule_name"]

#: The keys of ``spikeprop.rules.RULES``.
RULE_NAMES: tuple[str, ...] = (
    "sigprop",
    "sp-voltage",
    "sp-surrogate",
    "hebbian",
    # Its siblings in the authors' tutorial.
    "efp",
    "forward-forward",
    "forward-forward-trace",
    "forward-forward-rate",
    "csdp",
    "pff",
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
    module, colon, kind = name.rpartition(":")
    if name in RULE_NAMES or (colon and module and kind.isidentifier()):
        return
    raise ValueError(
        f"rule must be one of {', '.join(RULE_NAMES)}, or module:Class, got {name!r}"
        f"{meant(name, RULE_NAMES)}"
    )
