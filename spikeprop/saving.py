"""What a learner keeps across a restart: network, signals, optimisers, schedulers, counters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from spikeprop import checks

if TYPE_CHECKING:
    from spikeprop.learner import ForwardLearner

__all__ = ["STATE_VERSION", "restore", "state_of"]

#: Version of what :func:`state_of` holds; raised when an older file could be misread.
STATE_VERSION = 2


def state_of(learner: ForwardLearner) -> dict[str, Any]:
    """Return all that is needed to go on; see :meth:`ForwardLearner.state_dict`."""
    reference = learner.bound()
    checks.finite_weights(learner.net)
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
        "signals": {name: value.detach() for name, value in reference.tensors.items()},
        "optimizers": [None if o is None else o.state_dict() for o in learner.all_optimizers],
        "schedulers": [s.state_dict() for s in learner.schedulers],
    }


def restore(learner: ForwardLearner, state: dict[str, Any]) -> None:
    """Put ``state`` into a learner; nothing is changed if it does not fit.

    Raises
    ------
    ValueError
        If it comes from another version, another rule or settings, or another network.
    """
    checks.same_state(
        state, STATE_VERSION, learner.rule.config(), learner.time, learner.update_every
    )
    checks.same_network(state["network"], learner.net)
    checks.finite("the saved network", state["network"])
    if learner.input_shape is None:
        learner.bind(state["input_shape"], state["time_steps"])
    reference = learner.bound()
    if len(state["optimizers"]) != len(learner.all_optimizers):
        raise ValueError(
            f"the state has {len(state['optimizers'])} optimisers, the learner "
            f"{len(learner.all_optimizers)}"
        )
    learner.net.load_state_dict(state["network"])
    for name, value in state["signals"].items():
        held = reference.tensors[name]
        if isinstance(held, nn.Parameter):  # the rule's optimiser holds it
            held.data.copy_(value)
        else:
            reference.tensors[name] = value.to(held)
    for optimizer, saved in zip(learner.all_optimizers, state["optimizers"], strict=True):
        if optimizer is not None and saved is not None:
            optimizer.load_state_dict(saved)
    learner.use_density(state["density"])
    learner.seed = state["seed"]
    learner.updates = state["updates"]
    learner.resume_schedules(state["schedulers"])
    learner.reset()
