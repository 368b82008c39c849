"""The search: optuna's TPE over a rule's own space, the defaults first, equal budget for all.

Trials live in optuna's storage, so that a search that was killed goes on, and several machines may
share one. Every trial's sampler is seeded by the search and the trial's number alone.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna

from spikeprop.rules.names import find_rule, split_variant

__all__ = ["check_optuna", "defaults", "prepare", "search", "space_of"]

STARTUP = 5
"""Trials drawn at random before TPE has something to go by."""


def check_optuna() -> None:
    """Raise with advice if optuna is not installed.

    Raises
    ------
    ValueError
        If it is not.
    """
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise ValueError(
            "spikeprop compare needs optuna: pip install optuna (or --trials 1: no search)"
        ) from error


def space_of(rule: str) -> dict[str, Sequence[Any]]:
    """Return the values of each searched hyper-parameter, but for those that a variant fixes."""
    name, fixed = split_variant(rule)
    return {key: values for key, values in find_rule(name).search.items() if key not in fixed}


def defaults(rule: str) -> dict[str, Any]:
    """Return the first value of each searched hyper-parameter."""
    return {name: values[0] for name, values in space_of(rule).items()}


def prepare(storage: str | None, out: Path) -> str:
    """Make the search's database, and return its URL: as given, or a file in the results folder.

    Before the processes start: two of them must not make the tables at once.

    Raises
    ------
    ValueError
        If there is no such database.
    """
    url = storage or f"sqlite:///{(out / 'search.db').resolve()}"
    try:
        _database(url)
    except Exception as error:  # whatever the driver of the database raises
        raise ValueError(f"storage {url!r} cannot be used: {error}") from error
    return url


def _database(url: str) -> optuna.storages.RDBStorage:
    import optuna

    # Several processes write to one SQLite file in turn.
    patience = {"timeout": 120} if url.startswith("sqlite") else {}
    return optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": patience})


def search(
    name: str, rule: str, trials: int, storage: str, score: Callable[[dict[str, Any]], float]
) -> dict[str, Any]:
    """Return the best options of a rule by ``trials`` trials; of equals, the earliest.

    Parameters
    ----------
    name : str
        Name of the search in the storage: what it is for, with all that determines it.
    rule : str
        The rule, whose ``search`` is the space.
    trials : int
        Finished trials in the end, those of an earlier start counted.
    storage : str
        Database URL.
    score : callable
        Validation accuracy of options.
    """
    import optuna

    optuna.logging.set_verbosity(logging.WARNING)
    study = optuna.create_study(
        storage=_database(storage),
        study_name=name,
        load_if_exists=True,
        direction="maximize",
    )
    space = space_of(rule)
    finished = optuna.trial.TrialState.COMPLETE
    while len(done := study.get_trials(states=(finished,))) < trials:
        if not done:
            # Added whole, not asked for: a trial that was begun and killed leaves nothing to skip.
            first = defaults(rule)
            study.add_trial(
                optuna.trial.create_trial(
                    params=first,
                    distributions={
                        name: optuna.distributions.CategoricalDistribution(list(values))
                        for name, values in space.items()
                    },
                    value=score(first),
                )
            )
            continue
        study.sampler = _sampler(name, len(done))
        trial = study.ask()
        options = {k: trial.suggest_categorical(k, list(values)) for k, values in space.items()}
        study.tell(trial, score(options))
    best = max(done[:trials], key=lambda t: (t.value, -t.number))
    return dict(best.params)


def _sampler(name: str, number: int) -> optuna.samplers.BaseSampler:
    import optuna

    digest = hashlib.sha256(f"{name} {number}".encode()).digest()
    seed = int.from_bytes(digest[:4], "little")
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP)
