"""Rules by the names that the command line uses, and by ``module:Class`` for a user's own."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

from spikeprop.losses import Cosine
from spikeprop.names import meant
from spikeprop.rules import RULES, Rule, SigProp

__all__ = ["find_rule", "make_rule"]


def find_rule(name: str) -> type[Rule]:
    """Return the rule's class.

    Parameters
    ----------
    name : str
        A name in :data:`spikeprop.rules.RULES`, or ``module:Class``: a module that can be imported
        from the current folder.

    Raises
    ------
    ValueError
        For an unknown name (the near ones are listed), or a class that cannot be found or is no
        rule.
    """
    if name in RULES:
        found: type[Rule] = RULES[name]
        return found
    if ":" not in name:
        raise ValueError(
            f"rule must be one of {', '.join(RULES)}, or module:Class, got {name!r}"
            f"{meant(name, RULES)}"
        )
    module_name, _, class_name = name.partition(":")
    if not {"", str(Path.cwd())} & set(sys.path):
        sys.path.insert(0, str(Path.cwd()))
    try:
        own = getattr(importlib.import_module(module_name), class_name, None)
    except ImportError as error:
        raise ValueError(f"rule {name!r} cannot be imported: {error}") from error
    if not (isinstance(own, type) and issubclass(own, Rule)):
        what = "nothing" if own is None else repr(own)
        raise ValueError(f"rule {name!r} must be a class derived from Rule, found {what}")
    return own


def make_rule(name: str, num_classes: int, **options: Any) -> Rule:
    """Return a rule with the given hyper-parameters, the others at their defaults.

    ``tau`` goes into the cosine loss of signal propagation.

    Raises
    ------
    ValueError
        If the rule is unknown or has no such hyper-parameter.
    """
    kind = find_rule(name)
    if kind is SigProp and "tau" in options:
        options["loss"] = Cosine(options.pop("tau"))
    allowed = inspect.signature(kind).parameters
    unknown = [option for option in options if option not in allowed]
    if unknown:
        raise ValueError(f"rule {name!r} has no {', '.join(unknown)}; it has {', '.join(allowed)}")
    return kind(num_classes, **options)  # type: ignore[call-arg]
