"""Splits: stratified, complete, and the same everywhere."""

import numpy as np
import pytest

from spikeprop.datasets import hold_out, kfold, split_validation
from spikeprop.datasets._random import below, permutation, raw, symmetric

TARGETS = np.array([0] * 50 + [1] * 31 + [3] * 19)


def test_validation_is_stratified_and_complete():
    train, validation = split_validation(TARGETS, 0.2, seed=1)
    assert sorted([*train, *validation]) == list(range(100))
    assert np.bincount(TARGETS[validation]).tolist() == [10, 6, 0, 4]
    assert (np.diff(train) > 0).all()
    assert (np.diff(validation) > 0).all()


def test_splits_depend_on_the_seed_only():
    first, again, other = (split_validation(TARGETS, seed=seed)[1] for seed in (1, 1, 2))
    assert first.tolist() == again.tolist() != other.tolist()


def test_these_very_splits():
    """Constants, so that a change of the rule or of a library's random numbers shows."""
    labels = np.arange(20) % 2
    assert split_validation(labels, 0.3, seed=0)[1].tolist() == VALIDATION
    assert [test.tolist() for _, test in kfold(labels, 3, seed=0)] == FOLDS
    assert permutation((7,), 6).tolist() == PERMUTATION


VALIDATION = [3, 5, 8, 9, 10, 14]
FOLDS = [[0, 4, 6, 9, 13, 14, 15], [1, 2, 3, 8, 11, 18, 19], [5, 7, 10, 12, 16, 17]]
PERMUTATION = [3, 4, 0, 2, 5, 1]


@pytest.mark.parametrize("count", [1, 2, 50, 99])
def test_hold_out_gives_the_asked_number(count):
    rest, held = hold_out(TARGETS, count)
    assert len(held) == count
    assert len(rest) == 100 - count
    share = np.bincount(TARGETS[held], minlength=4) - count * np.bincount(TARGETS) / 100
    assert np.abs(share).max() < 1


@pytest.mark.parametrize("folds", [2, 5, 7, 100])
def test_folds(folds):
    pairs = kfold(TARGETS, folds, seed=3)
    assert len(pairs) == folds
    tests = np.concatenate([test for _, test in pairs])
    assert sorted(tests) == list(range(100))
    sizes = [len(test) for _, test in pairs]
    assert max(sizes) - min(sizes) <= 1
    classes = np.array([np.bincount(TARGETS[test], minlength=4) for _, test in pairs])
    assert np.ptp(classes, axis=0).max() <= 1
    for train, test in pairs:
        assert sorted([*train, *test]) == list(range(100))
        assert not set(train) & set(test)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_bad_fraction(fraction):
    with pytest.raises(ValueError, match="fraction must lie between 0 and 1"):
        split_validation(TARGETS, fraction)


@pytest.mark.parametrize("targets", [[], [1], [[1, 2]], [0.5, 1.0], ["a", "b"]])
def test_bad_targets(targets):
    with pytest.raises(ValueError, match="one-dimensional array"):
        kfold(targets, 2)


def test_bad_numbers():
    with pytest.raises(ValueError, match="label -1"):
        split_validation([-1, 2])
    with pytest.raises(ValueError, match="folds must be an integer of at least 2, got 1"):
        kfold(TARGETS, 1)
    with pytest.raises(ValueError, match="folds must not exceed the 100"):
        kfold(TARGETS, 101)
    with pytest.raises(ValueError, match="count must be below"):
        hold_out(TARGETS, 100)
    with pytest.raises(ValueError, match="seed"):
        kfold(TARGETS, 2, seed=-1)
    with pytest.raises(TypeError, match="seed"):
        split_validation(TARGETS, seed=1.5)


def test_random_integers_are_even():
    words = raw((1, 2), 60_000)
    for values, low, size in ((below(words, 6), 0, 6), (symmetric(words, 2), -2, 5)):
        counts = np.bincount(values - low, minlength=size)
        assert len(counts) == size
        assert np.abs(counts / (60_000 / size) - 1).max() < 0.05
    assert below(np.array([0, 2**64 - 1], dtype=np.uint64), 10).tolist() == [0, 9]


def test_whole_groups_are_held_out():
    groups = np.repeat(np.arange(10, 18), 5)
    targets = np.tile(np.arange(5), 8)
    train, validation = split_validation(targets, 0.25, seed=1, groups=groups)
    assert sorted([*train, *validation]) == list(range(40))
    assert len(set(groups[validation])) == 2
    assert not set(groups[validation]) & set(groups[train])
    assert validation.tolist() == split_validation(targets, 0.25, seed=1, groups=groups)[1].tolist()
    others = {tuple(split_validation(targets, 0.25, s, groups)[1]) for s in range(20)}
    assert len(others) > 5


@pytest.mark.parametrize("fraction", [0.001, 0.999])
def test_at_least_one_group_on_each_side(fraction):
    train, validation = split_validation([0, 1, 0, 1], fraction, groups=[7, 7, 9, 9])
    assert len(train) == len(validation) == 2


def test_groups_that_cannot_be_split():
    with pytest.raises(ValueError, match="belong to one group"):
        split_validation([0, 1], 0.5, groups=[3, 3])
    with pytest.raises(ValueError, match="one integer for each of the 2 recordings"):
        split_validation([0, 1], 0.5, groups=[3])
