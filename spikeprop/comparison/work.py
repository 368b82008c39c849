"""Runs a comparison: searches and training runs in parallel processes, finished cells kept."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from itertools import product, starmap
from pathlib import Path
from random import Random
from socket import gethostname
from typing import Any, NamedTuple

from spikeprop.comparison.cells import Cell, Result, run_cell
from spikeprop.comparison.claims import Taken, claimed, waiting
from spikeprop.comparison.config import CompareConfig
from spikeprop.comparison.cost import Cost, measure_costs
from spikeprop.comparison.kept import CELLS, load_or_run
from spikeprop.comparison.rows import Row, make_rows
from spikeprop.comparison.search import check_optuna, defaults, prepare, search, space_of
from spikeprop.config import lag_steps
from spikeprop.rules.names import find_rule, split_variant

__all__ = ["Pair", "compare", "processes"]

CHOSEN = "chosen"


class Pair(NamedTuple):
    """What one row of the table is about."""

    dataset: str
    network: str
    rule: str


def compare(
    config: CompareConfig, progress: Callable[[int, int], None] = lambda done, total: None
) -> list[Row]:
    """Run, or go on with, a comparison, and return the rows of its table.

    Parameters
    ----------
    config : CompareConfig
        Options.
    progress : callable
        Called now and then with the numbers of finished and of all training runs.

    Raises
    ------
    ValueError
        If a rule is unknown, an option does not fit, or optuna is missing.
    FileNotFoundError
        If data are missing.
    """
    config = quick(config) if config.quick else config
    for rule in config.rules:
        find_rule(split_variant(rule)[0])
    if config.trials > 1:
        check_optuna()
        config.out.mkdir(parents=True, exist_ok=True)
        with waiting(config.out, "storage"):  # two must not make its tables at once
            config = replace(config, storage=prepare(config.storage, config.out))
    pairs = list(starmap(Pair, product(config.datasets, config.networks, config.rules)))
    kinds = (False, True) if config.frozen else (False,)
    total = len(pairs) * (config.trials * (config.trials > 1) + config.seeds * len(kinds))
    cells_folder = config.out / CELLS
    cells_folder.mkdir(parents=True, exist_ok=True)
    before = len(list(cells_folder.glob("[!.]*.json")))

    chosen: dict[Pair, dict[str, Any]] = {}
    found: dict[tuple[Pair, bool], list[Result | str]] = {}
    running: dict[Future[Any], tuple[Pair, bool, int] | Pair] = {}
    done = 0
    with processes(config.processes) as pool:
        # Machines that share the folder begin at different places.
        for pair in Random(f"{gethostname()} {os.getpid()}").sample(pairs, len(pairs)):
            running[pool.submit(_tune, config, pair)] = pair
        while running:
            finished, _ = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
            for future in finished:
                work = running.pop(future)
                if isinstance(future.exception(), Taken):  # another process does it: look later
                    if isinstance(work, Pair):
                        running[pool.submit(_tune, config, work)] = work
                    else:
                        pair, freeze, seed = work
                        cell = _final(config, pair, chosen[pair], seed, freeze)
                        running[pool.submit(_tried, cell, config.out)] = work
                elif isinstance(work, Pair):
                    chosen[work] = future.result()
                    for seed in range(config.seeds):
                        for freeze in kinds:
                            cell = _final(config, work, chosen[work], seed, freeze)
                            task = pool.submit(_tried, cell, config.out)
                            running[task] = (work, freeze, seed)
                else:
                    pair, freeze, seed = work
                    results = found.setdefault((pair, freeze), [""] * config.seeds)
                    results[seed] = future.result()
            done = max(done, len(list(cells_folder.glob("[!.]*.json"))) - before)
            progress(min(done, total), total)
    progress(total, total)
    costs: dict[Pair, Cost] = {}
    if config.measure:
        for dataset in config.datasets:
            for network in config.networks:
                group = [p for p in pairs if (p.dataset, p.network) == (dataset, network)]
                cells = [_final(config, pair, chosen[pair], 0, False) for pair in group]
                costs.update(zip(group, measure_costs(cells, config.out), strict=True))
    return make_rows(pairs, chosen, found, costs)


def quick(config: CompareConfig) -> CompareConfig:
    """Return the same at the smallest size that still goes through every stage."""
    return replace(
        config, networks=("12-8",), epochs=1, trial_epochs=None, lags=(0,), seeds=2,
        trials=min(config.trials, 2), time_window=63_000, batch_size=20,
    )  # fmt: skip


def _cell(config: CompareConfig, pair: Pair, options: dict[str, Any], **more: Any) -> Cell:
    trial = config.epochs if config.trial_epochs is None else config.trial_epochs
    return Cell(
        rule=pair.rule,
        network=pair.network,
        dataset=pair.dataset,
        options=options,
        epochs=trial if more.get("validation") else config.epochs,
        batch_size=config.batch_size,
        time_window=config.time_window,
        pool=config.pool,
        shift=config.shift,
        beta=config.beta,
        limit=config.limit,
        lags=tuple(n * config.time_window for n in lag_steps(config.lags, config.time_window)),
        order_window=config.order_window,
        update_every=config.update_every,
        data_dir=None if config.data_dir is None else str(config.data_dir.resolve()),
        quick=config.quick,
        device=config.device,
        **more,
    )


def _final(
    config: CompareConfig, pair: Pair, options: dict[str, Any], seed: int, freeze: bool
) -> Cell:
    return _cell(config, pair, options, seed=seed, freeze=freeze)


def _tune(config: CompareConfig, pair: Pair) -> dict[str, Any]:
    """Choose a rule's options by validation; in a process of its own."""
    if config.trials == 1:
        return defaults(pair.rule)

    def score(options: dict[str, Any]) -> float:
        cell = _cell(config, pair, options, seed=0, validation=config.validation)
        try:
            return load_or_run(cell, config.out, run_cell, Result).accuracy
        except FloatingPointError:  # diverged: no use, and no reason to stop the search
            return 0.0

    # All that a trial's score depends on names the search, so that none takes up another's trials.
    base = _cell(config, pair, {}, seed=0, validation=config.validation)
    space = json.dumps({k: list(v) for k, v in space_of(pair.rule).items()})
    name = f"{base.key} {hashlib.sha256(space.encode()).hexdigest()[:8]}"
    assert config.storage is not None, "prepared before"
    # By one process at a time: each trial is chosen by what those before it gave.
    with claimed(config.out, name.replace(" ", "_")):
        return search(name, pair.rule, config.trials, config.storage, score)


def _tried(cell: Cell, out: Path) -> Result | str:
    """Return a cell's result, or why there is none."""
    try:
        return load_or_run(cell, out, run_cell, Result)
    except (FloatingPointError, TypeError, ValueError) as error:
        return f"seed {cell.seed}: {error}"


def _begin() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)


def _end_with_parent() -> None:
    """End this process when the one that started it does, whatever ended that.

    Nobody would read what it goes on with, and files are written whole or not at all.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has one"
    parent.join()
    os._exit(1)


@contextmanager
def processes(wanted: int) -> Iterator[ProcessPoolExecutor]:
    """Start processes of one thread each, 0 for one a core.

    They end at once on Ctrl-C, and with the calling process; what they have finished is kept.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(wanted or os.cpu_count() or 1, context, initializer=_begin)
    try:
        yield pool
    except BaseException:
        for process in list(pool._processes.values()):
            process.terminate()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
