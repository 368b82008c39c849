"""Seeded, stratified splits of a training set; the same on every machine.

The rule: the members of each class are put into a random order that depends on ``(seed, class)``
only; the first ones of each class go into the held-out part. How many is ``count * n_class / n``
rounded down, and what is still missing goes one each to the classes with the largest remainders
(the lower label first where they tie).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikeprop.datasets._random import permutation
from spikeprop.datasets.binning import positive_int

_HOLD_OUT, _FOLDS, _GROUPS = 1, 2, 3

Split = tuple[NDArray[np.int64], NDArray[np.int64]]


def hold_out(targets: ArrayLike, count: int, seed: int = 0) -> Split:
    """Split indices into ``(rest, held_out)``, ``count`` of them held out, stratified.

    Parameters
    ----------
    targets : array of int, shape (N,)
        Labels, 0 or more.
    count
        Size of the held-out part, 1 to N - 1.
    seed
        Seed of the choice.

    Returns
    -------
    rest, held_out : ndarray of int64
        Ascending indices; together all of ``0 .. N - 1``.

    Raises
    ------
    ValueError
        If ``targets`` is not a one-dimensional array of labels, or ``count`` or ``seed`` is out of
        range.
    """
    labels = _labels(targets)
    count = positive_int("count", count)
    seed = positive_int("seed", seed, least=0)
    if count >= len(labels):
        raise ValueError(f"count must be below the number of recordings {len(labels)}, got {count}")
    classes, sizes = np.unique(labels, return_counts=True)
    shares = count * sizes // len(labels)
    remainders = count * sizes % len(labels)
    largest = np.argsort(-remainders, kind="stable")[: count - shares.sum()]
    shares[largest] += 1
    chosen = np.zeros(len(labels), dtype=bool)
    for label, share in zip(classes, shares, strict=True):
        members = np.flatnonzero(labels == label)
        order = permutation((seed, _HOLD_OUT, int(label)), len(members))
        chosen[members[order[:share]]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def split_validation(
    targets: ArrayLike,
    fraction: float = 0.1,
    seed: int = 0,
    groups: ArrayLike | None = None,
) -> Split:
    """Take a validation part out of a training set; see the module for the rule.

    Parameters
    ----------
    targets : array of int, shape (N,)
        Labels of the training set.
    fraction
        Share of the validation part, between 0 and 1 (exclusive); ``round(fraction * N)``
        recordings, at least one.
    seed
        Seed of the choice.
    groups : array of int, shape (N,), optional
        Where recordings come in groups (the person recorded, say), whole groups are held out, and
        ``fraction`` is the share of the groups: as a test on other people asks for.

    Returns
    -------
    train, validation : ndarray of int64
        Ascending indices into the training set.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    labels = _labels(targets)
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must lie between 0 and 1 (exclusive), got {fraction!r}")
    if groups is not None:
        return _hold_out_groups(np.asarray(groups), len(labels), fraction, seed)
    return hold_out(labels, max(1, round(fraction * len(labels))), seed)


def _hold_out_groups(groups: NDArray[Any], count: int, fraction: float, seed: int) -> Split:
    if groups.shape != (count,) or not np.issubdtype(groups.dtype, np.integer):
        raise ValueError(
            f"groups must be one integer for each of the {count} recordings, got shape "
            f"{groups.shape}, {groups.dtype}"
        )
    seed = positive_int("seed", seed, least=0)
    names = np.unique(groups)
    if len(names) < 2:
        raise ValueError(
            f"all {count} recordings belong to one group: there is none to hold out for validation"
        )
    held = min(max(1, round(fraction * len(names))), len(names) - 1)
    chosen = np.isin(groups, names[permutation((seed, _GROUPS), len(names))[:held]])
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def hashed_split(
    names: Sequence[str], targets: Sequence[Any], fraction: float, seed: int = 0
) -> Split:
    """Split a set that has no official split, by the names of its recordings alone.

    The rule: in each class, recordings are ordered by the SHA-256 of ``"<seed>:<name>"``; the first
    ``round(fraction * n)`` (at least one, where there are two or more) are the test part. That
    depends on no order of files and no machine, so that everybody tests on the same.

    Parameters
    ----------
    names
        A name for each recording, such as ``"airplane/cifar10_airplane_0"``.
    targets
        The class of each.
    fraction
        Share of the test part, between 0 and 1 (exclusive).
    seed
        Another seed gives another split.

    Returns
    -------
    train, test : ndarray of int64
        Ascending indices.

    Raises
    ------
    ValueError
        If ``fraction`` is out of range, a name is there twice, or the lengths differ.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must lie between 0 and 1 (exclusive), got {fraction!r}")
    if len(names) != len(targets):
        raise ValueError(f"there are {len(names)} names and {len(targets)} targets")
    if len(set(names)) != len(names):
        raise ValueError("names must differ from each other")
    digests = [hashlib.sha256(f"{seed}:{name}".encode()).digest() for name in names]
    test = np.zeros(len(names), dtype=bool)
    for label in dict.fromkeys(targets):
        members = [index for index, target in enumerate(targets) if target == label]
        members.sort(key=digests.__getitem__)
        count = round(fraction * len(members))
        if len(members) > 1:
            count = min(max(count, 1), len(members) - 1)
        test[members[:count]] = True
    return np.flatnonzero(~test), np.flatnonzero(test)


def kfold(targets: ArrayLike, folds: int, seed: int = 0) -> list[Split]:
    """Split for cross-validation: every recording is in the test part of exactly one fold.

    The members of each class, in a random order that depends on ``(seed, class)``, are dealt to the
    folds in turn, going on from class to class: fold sizes differ by at most one, and so do the
    numbers of a class in them.

    Parameters
    ----------
    targets : array of int, shape (N,)
        Labels.
    folds
        Number of folds, 2 to N.
    seed
        Seed of the order.

    Returns
    -------
    list of (train, test)
        Ascending indices, one pair a fold.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    labels = _labels(targets)
    folds = positive_int("folds", folds, least=2)
    seed = positive_int("seed", seed, least=0)
    if folds > len(labels):
        raise ValueError(f"folds must not exceed the {len(labels)} recordings, got {folds}")
    dealt = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        dealt.append(members[permutation((seed, _FOLDS, int(label)), len(members))])
    fold = np.empty(len(labels), dtype=np.int64)
    fold[np.concatenate(dealt)] = np.arange(len(labels)) % folds
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(folds)]


def _labels(targets: ArrayLike) -> NDArray[Any]:
    labels = np.asarray(targets)
    if labels.ndim != 1 or len(labels) < 2 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            "targets must be a one-dimensional array of at least two integer labels, got shape "
            f"{labels.shape}, {labels.dtype}"
        )
    if labels.min() < 0:
        raise ValueError(f"label {labels.min()} is out of range: labels are 0 or more")
    return labels
