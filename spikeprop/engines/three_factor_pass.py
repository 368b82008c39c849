"""One block on its way along the time axis, for a rule with eligibilities of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from spikeprop.blocks import Block
from spikeprop.engines.credit import Credit
from spikeprop.engines.own_state import (
    SpikeFunction,
    by_filter,
    has_own_state,
    own_jacobian,
    with_reset,
)
from spikeprop.evidence import Evidence, Instantaneous, Leaky
from spikeprop.membranes import filter_of, is_activation, spikes, state_before, visible
from spikeprop.neurons import LinearFilter, SpikingNeuron
from spikeprop.neurons.eligibility import make_filter
from spikeprop.neurons.surrogates import heaviside
from spikeprop.parametrizations import set_gradient
from spikeprop.rules.three_factor import Eligibility, OwnState, ThreeFactorRule, View

__all__ = ["BlockPass"]


@dataclass
class BlockPass:
    """What is known of a block after some time steps; see :class:`.passage.BlockRecord`."""

    block: Block
    rule: ThreeFactorRule
    n_recordings: int
    labels: Tensor | None
    optimizer: torch.optim.Optimizer | None
    traces: str
    t: int = 0
    logits: Tensor | None = None
    logits_sum: Tensor | float = 0.0
    loss_sum: Tensor | float = 0.0
    spikes: Tensor | float = 0.0
    spike_sum: Tensor | float = 0.0
    spike_function: SpikeFunction | None = None
    #: The current that the neuron took, within its graph, and the spikes as a leaf of the next one.
    current: Tensor | None = None
    leaf: Tensor | None = None
    carry: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.calls = [0] * len(self.block.sites)
        self.credits: list[Credit] = []
        self._pseudo: Callable[[Tensor], Tensor] | None = self.rule.surrogate
        if is_activation(self.block.neuron):
            self._pseudo = heaviside  # the derivative of a ReLU
        elif not spikes(self.block.neuron):
            self._pseudo = torch.ones_like
        self._bare: list[bool] = []
        self._resets = any(isinstance(e, OwnState) and e.reset for e in self.rule.eligibilities)
        self._state: Any = None
        self._given = torch.zeros(())
        self._now: tuple[Tensor, Tensor, Tensor] | None = None
        self._before: tuple[Tensor, Tensor, Tensor] | None = None

    def prepare(self, *, reversible: bool) -> None:
        """Begin to follow what is trained, before the first step.

        ``reversible`` says that no weight moves before the sequence ends: the reverse filter then
        cuts nothing, and is far cheaper than traces a synapse.
        """
        if self.optimizer is None or self.credits:
            return
        if reversible and self.traces == "synapse":
            self.traces = "chunk"
        wanted = self.rule.eligibilities
        self.credits = [self._credit(item) for item in wanted]
        #: Which of them hold no pseudo-derivative although the rule counts on it.
        self._bare = [isinstance(w, OwnState) and self._dynamics_of(w) is None for w in wanted]
        if not self.rule.biases:
            for credit in self.credits:
                for site in credit.sites:
                    site.gradients.pop("bias", None)

    def _credit(self, wanted: Eligibility) -> Credit:
        filters: tuple[Evidence, ...] = (Instantaneous(),)
        dynamics: Any = None
        if isinstance(wanted, OwnState):
            if wanted.smoothing:
                filters = (Leaky(1.0 - wanted.smoothing),)
            dynamics = self._dynamics_of(wanted)
        elif wanted.decay is not None:
            like: Any = self.block.synapse.weight
            dynamics = make_filter([[like.detach().new_tensor(wanted.decay)]], [1.0], [1.0])
        return Credit(self.block, filters, self.n_recordings, self.traces, dynamics)

    def _dynamics_of(self, wanted: OwnState) -> Any:
        neuron = self.block.neuron
        if has_own_state(neuron):
            return self._jacobian
        if wanted.reset and spikes(neuron):
            return lambda: with_reset(neuron, self._psi(), self._before)
        shared = filter_of(neuron)
        assert shared is not None, "neurons without a filter have a state of their own"
        if not wanted.smoothing and shared.shared:
            return None  # the pseudo-derivative joins the modulator: one trace an input
        return lambda: by_filter(neuron, self._psi())

    # ------------------------------------------------------------------ one time step

    def begin_step(self, labels: Tensor | None) -> None:
        """Prepare one step of a stream, with or without labels."""
        self.labels = labels
        self.loss_sum = 0.0

    def take(self, place: int, x: Tensor) -> None:
        """Note the presynaptic input ``x`` ``(R, *inputs)`` of a time step at one of the sites."""
        self.calls[place] += 1
        for credit in self.credits:
            credit.sites[place].take(x)

    def expect(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note the current, and what the neuron is about to make its step from."""
        self.current = args[0]
        neuron = self.block.neuron
        if self.credits and isinstance(neuron, SpikingNeuron):
            self._state = state_before(neuron, args, kwargs)
            for credit in self.credits:
                if credit.needs_state:
                    credit.expect((args[0].detach(), *args[1:]), kwargs)

    def see(self, current: Tensor, spk: Tensor, mem: Tensor) -> None:
        """Move the eligibilities on, after the neuron has made a step; all ``(R, *features)``."""
        self.t += 1
        self._count_calls()
        mem, follows = visible(self.block.neuron, mem)
        self._now = (mem, spk, self._shift(mem))
        self._given = current
        for credit in self.credits:
            credit.advance(follows)
        if self._resets:
            self._before = (mem, spk, self._psi())
        counted = (spk[: self.n_recordings] != 0).sum(dim=0)
        self.spikes, self.spike_sum = counted, self.spike_sum + counted

    @property
    def view(self) -> View:
        """What the rule sees of the step."""
        assert self._now is not None, "the block has made a step"
        mem, spk, shift = (value.flatten(1) for value in self._now)
        return View(self.block.index, spk, mem, shift, self.carry, self._pseudo)

    def slope(self) -> Tensor:
        """Return the spikes' derivative by the present current, ``(R, *features)`` or less."""
        neuron = self.block.neuron
        own = filter_of(neuron)
        if own is None:
            assert isinstance(neuron, SpikingNeuron), "all others are linear"
            return own_jacobian(neuron, self._given, self._state).B[-1]
        return self._psi() * (own.C * own.B).sum(dim=0)

    def report(self, value: Tensor, logits: Tensor) -> None:
        """Take note of the loss and the scores of the step."""
        self.loss_sum = self.loss_sum + value
        self.logits = logits
        self.logits_sum = self.logits_sum + logits

    # ------------------------------------------------------------------ learning

    def learn(self, deltas: Sequence[Tensor]) -> None:
        """Add what a step's modulators, one an eligibility, say to the gradients."""
        for credit, bare, delta in zip(self.credits, self._bare, deltas, strict=False):
            credit.learn(delta * self._psi().flatten(1) if bare else delta)

    @property
    def stored(self) -> int:
        """Time steps that wait for a reverse filter."""
        return max((credit.stored for credit in self.credits), default=0)

    def flush(self, *, learned: bool) -> None:
        """Let the optimiser step on the sums, or forget them if nothing was learned."""
        if self.optimizer is None:
            return
        if not learned:
            for credit in self.credits:
                credit.drop()
            return
        sums = [credit.gradients() for credit in self.credits]
        for place, site in enumerate(self.block.sites if sums else ()):
            module: Any = site.module
            for name in sums[0][place]:
                parts = [found[place][name] for found in sums]
                weight = getattr(module, name).detach()
                set_gradient(module, name, self.rule.combine(weight, parts))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        for credit in self.credits:
            credit.forget()

    # ------------------------------------------------------------------ the neuron's own

    def _jacobian(self) -> LinearFilter:
        neuron = self.block.neuron
        assert isinstance(neuron, SpikingNeuron), "snntorch.Leaky has no state of its own"
        return own_jacobian(neuron, self._given, self._state)

    def _psi(self) -> Tensor:
        """Pseudo-derivative of the step's spikes, ``(R, *features)``."""
        assert self._now is not None, "the block has made a step"
        assert self._pseudo is not None, "rules without a surrogate ask for none"
        return self._pseudo(self._now[2])

    def _shift(self, mem: Tensor) -> Tensor:
        """Voltage minus the threshold in force."""
        function = self.spike_function
        if function is not None and function.shift is not None:
            return function.shift
        if not spikes(self.block.neuron) or is_activation(self.block.neuron):
            return mem
        threshold: Tensor | float = getattr(self.block.neuron, "threshold", 0.0)
        return mem - threshold

    def _count_calls(self) -> None:
        for place, site in enumerate(self.block.sites):
            if self.calls[place] == self.t - 1 and (site.inside or len(self.block.sites) > 1):
                self.calls[place] += 1  # a recurrent synapse may begin with the second step
                for credit in self.credits:
                    credit.sites[place].skip()
            if self.calls[place] != self.t:
                raise ValueError(
                    f"synapse '{site.name}' was called {self.calls[place]} times when neuron "
                    f"'{self.block.neuron_name}' made step {self.t}; an update at every step needs "
                    f"the synapse to be called once for each step"
                )
