"""Rules by the names that the command line uses, and by ``module:Class`` for a user's own."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from spikeprop.evidence import evidence_of
from spikeprop.homeostasis import Homeostasis
from spikeprop.losses import Cosine
from spikeprop.names import meant
from spikeprop.rule_names import check_rule_name
from spikeprop.rules import RULES, Rule, SigProp

__all__ = ["find_rule", "make_rule", "parse_options", "split_variant"]


def find_rule(name: str) -> type[Rule]:
    """Return the rule's class.

    Parameters
    ----------
    name : str
        A name in :data:`spikeprop.rules.RULES`, or ``module:Class``: a module that can be imported
        from the current folder, or a ``.py`` file.

    Raises
    ------
    ValueError
        For an unknown name (the near ones are listed), or a class that cannot be found or is no
        rule.
    """
    if name in RULES:
        found: type[Rule] = RULES[name]
        return found
    check_rule_name(name)
    module_name, _, class_name = name.rpartition(":")
    try:
        own = getattr(_module(module_name), class_name, None)
    except ImportError as error:
        raise ValueError(f"rule {name!r} cannot be imported: {error}") from error
    if not (isinstance(own, type) and issubclass(own, Rule)):
        what = "nothing" if own is None else repr(own)
        raise ValueError(f"rule {name!r} must be a class derived from Rule, found {what}")
    return own


def split_variant(word: str) -> tuple[str, dict[str, Any]]:
    """Return a rule's name, and the hyper-parameters that ``NAME[OPTION=VALUE,...]`` fixes.

    Raises
    ------
    ValueError
        If what stands in the brackets is no list of options.
    """
    if not word.endswith("]") or "[" not in word:
        return word, {}
    name, _, inside = word[:-1].partition("[")
    return name, parse_options([option for option in inside.split(",") if option.strip()])


def make_rule(name: str, num_classes: int, **options: Any) -> Rule:
    """Return a rule with the given hyper-parameters, the others at their defaults.

    Of signal propagation, ``tau`` goes into the cosine loss, ``evidence`` may be a word
    (:func:`~spikeprop.evidence.evidence_of`) and ``homeostasis`` a rate.

    Raises
    ------
    ValueError
        If the rule is unknown or has no such hyper-parameter.
    """
    kind = find_rule(name)
    if kind is SigProp:
        if "tau" in options:
            options["loss"] = Cosine(options.pop("tau"))
        if isinstance(options.get("evidence"), str):
            options["evidence"] = evidence_of(options["evidence"])
        if isinstance(options.get("homeostasis"), float):
            options["homeostasis"] = Homeostasis(target=options["homeostasis"])
    allowed = inspect.signature(kind).parameters
    unknown = [option for option in options if option not in allowed]
    if unknown:
        raise ValueError(
            f"rule {name!r} has no {', '.join(unknown)}; it has {', '.join(allowed)}"
            f"{meant(unknown[0], allowed)}"
        )
    return kind(num_classes, **options)  # type: ignore[call-arg]


def parse_options(options: Sequence[str]) -> dict[str, Any]:
    """Read a rule's hyper-parameters as the command line gives them: ``kappa=0.8``.

    Raises
    ------
    ValueError
        For what is not ``NAME=VALUE``.
    """
    found: dict[str, Any] = {}
    for option in options:
        name, equals, text = option.partition("=")
        if not equals:
            raise ValueError(f"a rule's option has to be NAME=VALUE, got {option!r}")
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = text  # a word, such as that of a surrogate
        found[name.strip().replace("-", "_")] = value
    return found


def _module(name: str) -> ModuleType:
    if not name.endswith(".py"):
        if not {"", str(Path.cwd())} & set(sys.path):
            sys.path.insert(0, str(Path.cwd()))
        return importlib.import_module(name)
    path = Path(name)
    if not path.is_file():
        raise ImportError(f"there is no file {name}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None, "a .py file has a loader"
    assert spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
