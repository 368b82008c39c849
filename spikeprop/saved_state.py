"""Whether a saved learner is whole and fits: checked before anything of a learner is changed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from spikeprop import checks
from spikeprop.blocks import Block

__all__ = [
    "check_fields",
    "check_optimizers",
    "check_schedules",
    "check_signals",
    "check_thresholds",
]

_FIELDS: dict[str, type | tuple[type, ...]] = {
    "rule": dict,
    "time": str,
    "update_every": int,
    "seed": int,
    "updates": int,
    "input_shape": list,
    "time_steps": int,
    "density": (int, float, type(None)),
    "network": dict,
    "signals": dict,
    "optimizers": list,
    "schedulers": list,
}
#: What an optimiser's state holds of a parameter, where that is known; tensors of its shape.
_MOMENTS: dict[type, tuple[str, ...]] = {
    torch.optim.Adam: ("step", "exp_avg", "exp_avg_sq"),
    torch.optim.AdamW: ("step", "exp_avg", "exp_avg_sq"),
    torch.optim.SGD: (),
    torch.optim.RMSprop: ("step", "square_avg"),
}


def check_fields(state: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` unless everything is there, of its type, and no tensor is NaN.

    Raises
    ------
    ValueError
        Naming what is missing or wrong.
    """
    if not isinstance(state, Mapping):
        raise ValueError(f"the saved learner is a {type(state).__name__}, not a dictionary")
    for name, kind in _FIELDS.items():
        if name not in state:
            raise ValueError(f"the saved learner has no '{name}'")
        value = state[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ValueError(f"the saved learner's '{name}' is a {type(value).__name__}")
    if _holds_tensor(state["rule"]):
        raise ValueError("the saved learner's 'rule' holds a tensor")
    for name in ("network", "signals"):
        for key, value in state[name].items():
            if not isinstance(key, str) or not isinstance(value, Tensor):
                raise ValueError(f"the saved learner's '{name}.{key}' is no tensor")
    counts = {name: state[name] for name in ("seed", "updates", "time_steps")}
    sizes = state["input_shape"]
    if min(counts.values()) < 0 or not all(isinstance(n, int) and n > 0 for n in sizes):
        raise ValueError(f"the saved learner has {counts} and the input shape {sizes}")
    if state["density"] is not None and not 0 <= state["density"] < math.inf:
        raise ValueError(f"the saved learner's density is {state['density']}")
    checks.finite("the saved network", state["network"])
    checks.finite("the saved learner", state["signals"])


def check_signals(saved: Mapping[str, Tensor], mine: Mapping[str, Tensor]) -> None:
    """Raise ``ValueError`` unless the tensors that the rule drew have the same names and shapes."""
    _same_names("signals", saved, mine)
    for name, value in mine.items():
        if saved[name].shape != value.shape:
            raise ValueError(
                f"the saved signals' '{name}' has shape {tuple(saved[name].shape)}, this learner's "
                f"{tuple(value.shape)}"
            )


def check_thresholds(saved: Mapping[str, Tensor], blocks: Sequence[Block], *, grown: bool) -> None:
    """Raise ``ValueError`` unless each threshold is one number, or one a neuron or channel.

    With homeostasis they have ``grown``: one number would have lost the others.
    """
    for block in blocks:
        name = f"{block.neuron_name}.threshold"
        if name not in saved:
            continue
        channels, *space = block.features
        shape, own = saved[name].shape, getattr(block.neuron, "threshold", None)
        allowed = {torch.Size([channels, *[1] * len(space)])}
        if not grown:
            allowed.add(torch.Size([]))
        if own is not None:
            allowed.add(own.shape)
        if shape not in allowed:
            raise ValueError(
                f"the saved network's '{name}' has shape {tuple(shape)}, and the block's features "
                f"have {tuple(block.features)}"
            )


def check_optimizers(saved: Sequence[Any], mine: Sequence[torch.optim.Optimizer | None]) -> None:
    """Raise ``ValueError`` unless each optimiser could go on with what was saved for it."""
    if len(saved) != len(mine):
        raise ValueError(f"the state has {len(saved)} optimisers, the learner {len(mine)}")
    for index, (state, optimizer) in enumerate(zip(saved, mine, strict=True)):
        if optimizer is None or state is None:
            continue
        name = f"optimiser {index}"
        try:
            inner = getattr(optimizer, "inner", None)
            if isinstance(inner, torch.optim.Optimizer):  # one that wraps another
                _check_wrapper(name, state, optimizer)
                state, optimizer = state["inner"], inner
            _check_optimizer(name, state, optimizer)
        except (KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise ValueError(f"the saved optimiser {index} is damaged: {error!r:.200}") from None


def _check_wrapper(name: str, saved: Any, optimizer: torch.optim.Optimizer) -> None:
    """Check what a wrapper keeps beside the optimiser that it wraps."""
    own = optimizer.state_dict()
    if saved.keys() != own.keys():
        raise ValueError(
            f"the saved {name} has {', '.join(sorted(saved))}, and this learner's "
            f"{', '.join(sorted(own))}"
        )
    for key, value in own.items():
        if key == "inner":
            continue
        theirs, mine = (v if isinstance(v, list) else [v] for v in (saved[key], value))
        if len(theirs) != len(mine):
            raise ValueError(f"the saved {name} has {len(theirs)} '{key}', this one {len(mine)}")
        for there, here in zip(theirs, mine, strict=True):
            if isinstance(here, Tensor) and there.shape != here.shape:
                raise ValueError(f"the saved {name}'s '{key}' has shape {tuple(there.shape)}")
            if isinstance(there, Tensor) and there.is_floating_point():
                checks.finite(f"the saved {name}", {key: there})
            elif isinstance(here, float) and not math.isfinite(there):
                raise ValueError(f"the saved {name} has {key}={there}")


def _check_optimizer(name: str, saved: Any, optimizer: torch.optim.Optimizer) -> None:
    if not isinstance(saved, dict):
        raise ValueError(f"the saved {name} is a {type(saved).__name__}")
    if not isinstance(saved["state"], dict) or not isinstance(saved["param_groups"], list):
        raise ValueError(f"the saved {name} is damaged")
    groups, own = saved["param_groups"], optimizer.state_dict()["param_groups"]
    for entries, what in ((saved["state"].values(), "state"), (groups, "groups")):
        if not all(isinstance(item, dict) for item in entries):
            raise ValueError(f"the saved {name}'s {what} are damaged")
    if len(groups) != len(own):
        raise ValueError(f"the saved {name} has {len(groups)} groups, this learner's {len(own)}")
    parameters: dict[Any, Tensor] = {}
    for theirs, ours, live in zip(groups, own, optimizer.param_groups, strict=True):
        for option, value in ours.items():
            if option == "initial_lr":  # a scheduler's
                continue
            if option not in theirs:
                raise ValueError(f"the saved {name} has no {option}")
            number = isinstance(value, int | float) and not isinstance(value, bool)
            kinds = (int, float) if number else type(value)
            if not isinstance(theirs[option], kinds):
                raise ValueError(f"the saved {name} has {option}={theirs[option]!r:.80}")
            if isinstance(theirs[option], float) and not math.isfinite(theirs[option]):
                raise ValueError(f"the saved {name} has {option}={theirs[option]}")
        if not isinstance(theirs["params"], list) or len(theirs["params"]) != len(live["params"]):
            raise ValueError(f"the saved {name} has other parameters")
        parameters.update(zip(theirs["params"], live["params"], strict=True))
    moments = _MOMENTS.get(type(optimizer))
    for index, entries in saved["state"].items():
        if index not in parameters:
            raise ValueError(f"the saved {name} has state of an unknown parameter {index!r}")
        missing = set(moments or ()) - set(entries)
        if missing:
            raise ValueError(f"the saved {name} has no {', '.join(sorted(missing))}")
        wrong = [key for key, value in entries.items() if not isinstance(value, Tensor)]
        wrong = [key for key in wrong if entries[key] is not None or key in (moments or ())]
        if moments is not None and wrong:
            raise ValueError(f"the saved {name}'s '{wrong[0]}' is no tensor")
        tensors = {key: value for key, value in entries.items() if isinstance(value, Tensor)}
        checks.finite(f"the saved {name}", tensors)
        for key, value in tensors.items():
            fits = value.numel() == 1 or value.shape == parameters[index].shape
            if moments is not None and (not fits or (key == "step") != (value.dim() == 0)):
                raise ValueError(
                    f"the saved {name}'s '{key}' has shape {tuple(value.shape)}, its parameter "
                    f"{tuple(parameters[index].shape)}"
                )


def check_schedules(saved: Sequence[Any], trained: int) -> None:
    """Raise ``ValueError`` unless there is a schedule for each optimiser, or none at all."""
    if len(saved) not in (0, trained):
        raise ValueError(f"the state has {len(saved)} schedules for {trained} optimisers")
    shape: tuple[Any, ...] | None = None
    for state in saved:
        state = state if isinstance(state, dict) else {}
        rates, count = state.get("_last_lr"), state.get("last_epoch")
        if not isinstance(count, int) or count < 0:
            raise ValueError("a saved schedule is damaged: it does not say how far it has come")
        if not isinstance(rates, list) or not all(
            isinstance(rate, int | float) and math.isfinite(rate) for rate in rates
        ):
            raise ValueError("a saved schedule is damaged: it has no learning rates")
        lists = [len(value) for value in state.values() if isinstance(value, list)]
        alike = (sorted(map(str, state)), lists, count)
        if shape is None:
            shape = alike
        if alike != shape or not rates:
            raise ValueError("the saved schedules are damaged: they are not alike")


def _holds_tensor(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_tensor, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_holds_tensor, value))
    return isinstance(value, Tensor)


def _same_names(what: str, saved: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    missing, unknown = sorted(mine.keys() - saved.keys()), sorted(saved.keys() - mine.keys())
    if missing or unknown:
        raise ValueError(
            f"the saved {what} do not fit: missing {missing or 'nothing'}, unknown "
            f"{unknown or 'nothing'}"
        )
