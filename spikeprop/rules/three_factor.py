r"""Three-factor rules: a kind whose engine sees all blocks of a time step before it credits them.

.. math::

    \Delta W^l_t \propto -\sum_k \delta^{l,k}_t \otimes e^{l,k}_t

The rule says which eligibilities ``e`` there are (:class:`Trace`, :class:`OwnState`), and at each
step the modulator ``delta`` of each block for each of them: most often a learning signal times a
pseudo-derivative of the block's spikes. How a learning signal comes to a block is the rule's own
affair (its own labels, a broadcast error); a rule that sends it back through the network's own
synapses asks for :attr:`Step.transport` by its ``path``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from spikeprop.rules.base import Rule
from spikeprop.rules.pseudo import PseudoDerivative

__all__ = ["Eligibility", "Lesson", "OwnState", "Step", "ThreeFactorRule", "Trace", "View"]


class Trace(NamedTuple):
    """The presynaptic input, low-pass filtered: ``trace_t = decay trace_{t-1} + x_t``.

    Attributes
    ----------
    decay : float, optional
        0 is the input itself; None is the neuron's own sub-threshold filter, so that the trace is
        ``d mem_t / d W``.
    """

    decay: float | None = None


class OwnState(NamedTuple):
    """``d spk_t / d W`` through the neuron's own state, its spikes differentiated by the stand-in.

    One value a synapse and row. For neurons whose state is their voltage, resets held as inputs,
    that is ``psi_t trace_t``; what a spike does to the neuron's own later state (adaptation) counts
    as well.

    Attributes
    ----------
    smoothing : float
        Low-pass of it over time, ``e_t = smoothing e_{t-1} + (1 - smoothing) d spk_t / d W``; 0 is
        none.
    reset : bool
        Whether what a spike resets is differentiated, too, for neurons whose state is their
        voltage.
    """

    smoothing: float = 0.0
    reset: bool = False


Eligibility = Trace | OwnState


@dataclass
class View:
    """What a rule sees of one block at one time step; all rows ``R``, features flattened.

    Attributes
    ----------
    index : int
        Place of the block in the forward pass.
    spk, mem, shift : Tensor
        Spikes, voltage, and voltage minus the threshold in force, ``(R, F)``.
    carry : dict of str to Tensor
        Running values of the rule's own, kept from step to step of a sequence.
    """

    index: int
    spk: Tensor
    mem: Tensor
    shift: Tensor
    carry: dict[str, Tensor]
    pseudo: Callable[[Tensor], Tensor] | None = None

    @property
    def psi(self) -> Tensor:
        """Pseudo-derivative of the spikes; the true one of what passes its voltage on."""
        assert self.pseudo is not None, "rules without a surrogate ask for none"
        return self.pseudo(self.shift)

    def follow(self, name: str, value: Tensor, decay: float, gain: float = 1.0) -> Tensor:
        """Return ``r_t = decay r_{t-1} + gain value_t``, kept in ``carry`` under ``name``."""
        before = self.carry.get(name)
        now = gain * value if before is None else decay * before + gain * value
        self.carry[name] = now
        return now


@dataclass
class Step:
    """One time step of the whole network.

    Attributes
    ----------
    t : int
        Its number, from 1.
    views : list of View
        The blocks in the order of the forward pass.
    labels : Tensor, optional
        ``(B,)``, or None if there is nothing to learn.
    tensors : dict of str to Tensor
        What the rule drew.
    transport : callable
        ``signal at the spikes of the last block (R, F) -> signals at the spikes of all blocks``,
        through the network as it is (``path="symmetric"``) or with fixed random weights in place of
        the synapses' (``path="random"``), within this time step.
    """

    t: int
    views: list[View]
    labels: Tensor | None
    tensors: dict[str, Tensor]
    transport: Callable[[Tensor], list[Tensor]]


class Lesson(NamedTuple):
    """What a rule says of a time step.

    Attributes
    ----------
    values : list of Tensor
        Loss that each block is judged by, ``()``.
    logits : list of Tensor
        Scores ``(B, C)`` that each block reports; those of the network where it has none.
    deltas : list of tuple of Tensor
        For each block one modulator ``(R, F)`` for each eligibility; empty without labels.
    gradients : dict of str to Tensor
        Gradients of the tensors that the rule learns; empty without labels.
    """

    values: list[Tensor]
    logits: list[Tensor]
    deltas: list[tuple[Tensor, ...]]
    gradients: dict[str, Tensor]


class ThreeFactorRule(Rule):
    """A rule that is asked once a time step, when all blocks have made it."""

    #: How signals travel through the network: "none", "symmetric" or "random".
    path: ClassVar[str] = "none"
    #: Whether biases learn, as synapses from a constant 1.
    biases: ClassVar[bool] = True
    surrogate: PseudoDerivative | None = None
    #: First time step that is learned from, from 1; eligibilities run from the start.
    first_step: int = 1

    @property
    @abstractmethod
    def eligibilities(self) -> tuple[Eligibility, ...]:
        """What modulators meet; empty for a rule that leaves the network as it is."""

    @abstractmethod
    def learn(self, step: Step) -> Lesson:
        """Say what is learned from a step, or with ``labels=None`` only what is predicted."""

    def current(self, tensors: dict[str, Tensor]) -> Tensor | None:
        """Return the current of signal rows ``(C, *features)`` in the first block, if any."""
        return None

    def combine(self, weight: Tensor, gradients: Sequence[Tensor]) -> Tensor:
        """Return the gradient for the optimiser from those of the eligibilities: their sum."""
        total = gradients[0]
        for gradient in gradients[1:]:
            total = total + gradient
        return total
