"""A rule by its name: one of the table, or a user's own class in a module or a file."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from spikeprop.homeostasis import Homeostasis
from spikeprop.rule_names import check_rule_name, near
from spikeprop.rules import RULES, Rule
from spikeprop.rules.pseudo import PSEUDO_DERIVATIVES

__all__ = ["load_rule", "make_rule"]


def load_rule(name: str) -> type[Rule]:
    """Return the class of a rule.

    Parameters
    ----------
    name : str
        A key of :data:`spikeprop.rules.RULES`, or ``module:Class``, where the module is importable
        (from the current folder, too) or a ``.py`` file.

    Raises
    ------
    ValueError
        If there is no such rule; the message lists near names.
    """
    check_rule_name(name)
    if name in RULES:
        return RULES[name]
    place, _, kind = name.rpartition(":")
    module = _module(place)
    found = getattr(module, kind, None)
    if found is None:
        names = [n for n, v in vars(module).items() if isinstance(v, type) and issubclass(v, Rule)]
        raise ValueError(f"{place} has no {kind!r}{near(kind, names)}")
    if not (isinstance(found, type) and issubclass(found, Rule)):
        raise ValueError(
            f"{name} is no rule: derive it from spikeprop.rules.LocalRule, or from "
            f"another kind of rule"
        )
    return found


def make_rule(name: str, num_classes: int, options: Sequence[str] = ()) -> Rule:
    """Make a rule from its name and options such as ``kappa=0.8``.

    ``homeostasis`` is given by its rate, ``surrogate`` as ``NAME`` or ``NAME:NUMBER``, such as
    ``fast-sigmoid:25``.

    Raises
    ------
    ValueError
        For an unknown rule or option (the message lists near ones), or a value out of range.
    """
    kind = load_rule(name)
    fields = [f.name for f in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []
    given: dict[str, Any] = {}
    for option in options:
        key, equals, text = option.partition("=")
        key = key.strip().replace("-", "_")
        if not equals:
            raise ValueError(f"a rule's option has to be NAME=VALUE, got {option!r}")
        if fields and key not in fields:
            raise ValueError(f"rule {name!r} has no option {key!r}{near(key, fields)}")
        given[key] = _value(key, text.strip())
    return kind(num_classes, **given)  # type: ignore[call-arg]


def _value(key: str, text: str) -> Any:
    """Read a number, a truth value, None, or else a word; a rate or a surrogate by its name."""
    if key == "surrogate":
        return _surrogate(text)
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    if "homeostasis" in key and isinstance(value, int | float) and not isinstance(value, bool):
        return Homeostasis(target=float(value))
    return value


def _surrogate(text: str) -> Any:
    """Read ``NAME`` or ``NAME:NUMBER``."""
    name, colon, number = text.partition(":")
    if name not in PSEUDO_DERIVATIVES:
        raise ValueError(f"there is no surrogate {name!r}{near(name, list(PSEUDO_DERIVATIVES))}")
    try:
        numbers = (float(number),) if colon else ()
    except ValueError:
        raise ValueError(f"surrogate has to be NAME or NAME:NUMBER, got {text!r}") from None
    return PSEUDO_DERIVATIVES[name](*numbers)


def _module(place: str) -> ModuleType:
    if place.endswith(".py"):
        path = Path(place)
        if not path.is_file():
            raise ValueError(f"there is no file {place} to take a rule from")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None, "a .py file has a loader"
        assert spec.loader is not None, "a .py file has a loader"
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        raise ValueError(f"there is no module {place!r} to take a rule from: {error}") from error
    finally:
        if added:
            sys.path.remove(here)
