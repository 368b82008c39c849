"""What a learner keeps across a restart: network, signals, optimisers, schedulers, counters."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from spikeprop import checks
from spikeprop.saved_state import (
    check_fields,
    check_optimizers,
    check_schedules,
    check_signals,
    check_thresholds,
)

if TYPE_CHECKING:
    from spikeprop.learner import ForwardLearner

__all__ = ["STATE_VERSION", "put_back", "restore", "state_in_place", "state_of"]

#: Version of what :func:`state_of` holds; raised when an older file could be misread.
STATE_VERSION = 2


def state_of(learner: ForwardLearner) -> dict[str, Any]:
    """Return all that is needed to go on; see :meth:`ForwardLearner.state_dict`.

    Raises
    ------
    ValueError
        If a number in it is NaN or infinite: such a state is not worth keeping.
    """
    checks.finite_weights(learner.net)
    checks.finite("the learner", {n: v.detach() for n, v in learner.bound().tensors.items()})
    for index, optimizer in enumerate(learner.all_optimizers):
        for entries in () if optimizer is None else optimizer.state.values():
            moments = {name: v for name, v in entries.items() if isinstance(v, Tensor)}
            checks.finite(f"optimiser {index}", moments)
    return state_in_place(learner)


def state_in_place(learner: ForwardLearner) -> dict[str, Any]:
    """Return the same unchecked; its tensors are the learner's own, which go on moving."""
    return {
        "version": STATE_VERSION,
        "rule": learner.rule.config(),
        "time": learner.time,
        "update_every": learner.update_every,
        "seed": learner.seed,
        "updates": learner.updates,
        "input_shape": list(learner.input_shape or ()),
        "time_steps": learner.time_steps,
        "density": learner.density,
        "network": dict(learner.net.state_dict()),
        "signals": {n: value.detach() for n, value in learner.bound().tensors.items()},
        "optimizers": [None if o is None else o.state_dict() for o in learner.all_optimizers],
        "schedulers": [s.state_dict() for s in learner.schedulers],
    }


def restore(learner: ForwardLearner, state: dict[str, Any]) -> None:
    """Put ``state`` into a learner; nothing is changed if it does not fit.

    Raises
    ------
    ValueError
        If it is damaged, or comes from another version, another rule or settings, or another
        network.
    """
    if not isinstance(state, dict) or state.get("version") == STATE_VERSION:
        check_fields(state)
    checks.same_state(
        state, STATE_VERSION, learner.rule.config(), learner.time, learner.update_every
    )
    checks.same_network(state["network"], learner.net)
    if learner.input_shape is None:
        learner.bind(state["input_shape"], state["time_steps"])
    if list(learner.input_shape or ()) != state["input_shape"]:
        raise ValueError(
            f"the saved learner takes inputs of shape {state['input_shape']}, this one "
            f"{list(learner.input_shape or ())}"
        )
    reference, mine = learner.bound(), learner.all_optimizers
    check_signals(state["signals"], reference.tensors)
    grown = learner.rule.homeostasis is not None
    check_thresholds(state["network"], learner.blocks, grown=grown)
    check_optimizers(state["optimizers"], mine)
    check_schedules(state["schedulers"], sum(item is not None for item in mine))
    put_back(learner, state)


def put_back(learner: ForwardLearner, state: dict[str, Any]) -> None:
    """Put a state that fits into a learner; its tensors stay apart from the learner's."""
    reference, mine = learner.bound(), learner.all_optimizers
    learner.net.load_state_dict(state["network"])
    for name, value in state["signals"].items():
        held = reference.tensors[name]
        if isinstance(held, nn.Parameter):  # the rule's optimiser holds it
            held.data.copy_(value)
        else:
            reference.tensors[name] = value.to(held, copy=True)
    for optimizer, saved in zip(mine, state["optimizers"], strict=True):
        if optimizer is not None and saved is not None:
            optimizer.load_state_dict(copy.deepcopy(saved))
            optimizer.zero_grad(set_to_none=True)
    learner.use_density(state["density"])
    learner.seed = state["seed"]
    learner.updates = state["updates"]
    learner.resume_schedules(state["schedulers"])
    learner.reset()
