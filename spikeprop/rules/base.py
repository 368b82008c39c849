"""What a rule is, and the kind that most rules are: from what a block saw to its modulator.

A rule never knows how the network is run; an engine does, and never knows which rule it runs. An
engine serves a *kind* of rule, a base class such as :class:`LocalRule` here: what such a rule is
asked for, and when. :func:`spikeprop.engines.stepwise` says which engine serves which kind.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from spikeprop.evidence import Evidence, Instantaneous, as_filters
from spikeprop.homeostasis import Homeostasis
from spikeprop.losses import Comparison

__all__ = ["ONCE", "Constraints", "LocalRule", "Modulation", "Rule"]

#: More time steps than any sequence has.
ONCE = 2**31 - 1


class Modulation(NamedTuple):
    """What a rule says of one block at one time step.

    Attributes
    ----------
    value : Tensor
        Local loss, shape ``()``.
    logits : Tensor
        Score of each class for each recording, ``(B, C)``.
    delta : Tensor
        The modulator: gradient of ``value`` with respect to the evidence of all rows, ``(R, F)``.

    All of them with a leading dimension of time steps where a rule modulates a window.
    """

    value: Tensor
    logits: Tensor
    delta: Tensor


class Constraints(NamedTuple):
    """What a rule asks of the network and of the hardware; ``spikeprop rules`` prints the table.

    Attributes
    ----------
    local_in_time, local_in_space : bool
        Whether an update needs nothing of later or stored time steps; of other blocks.
    surrogate : bool
        Whether a spike is differentiated by a stand-in.
    feedback : str
        Path that carries the learning signal back: "none", "random", "symmetric", ...
    layerwise : bool
        Whether blocks have to be trained one after another.
    changes_network : str
        What the rule adds to the network in training or inference: "nothing", "readout", ...
    memory, multiply_adds : str
        Per block and time step, in B recordings, C classes, I inputs and F neurons.
    source : str
        Where the equations are from.
    phases : str
        Passes that learning needs, and whether one has to wait for another.
    """

    local_in_time: bool
    local_in_space: bool
    surrogate: bool
    feedback: str
    layerwise: bool
    changes_network: str
    memory: str
    multiply_adds: str
    source: str
    phases: str = "one"


class Rule(ABC):
    """A learning rule, put to work by :class:`spikeprop.ForwardLearner`.

    A rule is a frozen set of hyper-parameters. What it draws at random for a network (class
    signals, say) is a dictionary of tensors that the learner keeps and hands back at each call.

    To write one's own, derive from a kind of rule: :class:`LocalRule`, if a block learns from what
    it saw itself.
    """

    num_classes: int
    evidence: Evidence | tuple[Evidence, ...] = Instantaneous()
    stream_evidence: Evidence | tuple[Evidence, ...] = Instantaneous()
    homeostasis: Homeostasis | None = None
    stream_homeostasis: Homeostasis | None = None
    predict_from: str = "last"
    #: What the evidence is made of: the "membrane" voltage, the "free" potential (see
    #: :mod:`spikeprop.potentials`), or the neuron's own "spikes", for which the voltage's trace
    #: then stands in (an approximation: the step from voltage to spike is taken for a constant).
    potential: str = "membrane"
    #: Time steps between two updates that the rule is meant for; :data:`ONCE` is once a sequence.
    update_every: ClassVar[int] = 1
    #: Whether blocks learn at all, and not just what reads them.
    trains_blocks: ClassVar[bool] = True
    #: What the rule demands; None if its author does not say.
    constraints: ClassVar[Constraints | None] = None
    #: What a search may choose from, default first: ``lr`` of Adam, ``dropout`` between blocks, and
    #: hyper-parameters of the rule.
    search: ClassVar[Mapping[str, Sequence[Any]]] = {
        "lr": (4e-4, 1e-4, 2e-4, 8e-4, 1.6e-3, 3.2e-3),
        "dropout": (0.0, 0.2),
    }

    @abstractmethod
    def draw(self, shapes: Sequence[torch.Size], generator: torch.Generator) -> dict[str, Tensor]:
        """Draw the rule's tensors for blocks whose voltages are shaped as ``shapes``."""

    @property
    def regression(self) -> bool:
        """Whether labels are vectors ``(B, num_classes)``, and predictions, too."""
        return False

    @property
    def streams(self) -> bool:
        """Whether the rule can follow a stream, where labels come as time goes on."""
        return True

    @property
    def undivided(self) -> str | None:
        """What keeps a batch from being split among processes, in words; None where nothing does.

        Nothing does where the loss is a mean over the recordings, each of which is judged by itself
        (and by the signals): the processes' gradients then add up to that of one.
        """
        return None

    def filters(self, steps: int) -> tuple[Evidence, ...]:
        """Return the filters of the evidence for recordings of so many time steps."""
        return as_filters(self.evidence)

    def draw_input(
        self, shape: torch.Size, shapes: Sequence[torch.Size], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Draw what depends on the input's ``shape``, too, after :meth:`draw`."""
        return {}

    def with_class(
        self, tensors: dict[str, Tensor], generator: torch.Generator
    ) -> tuple[Rule, dict[str, Tensor]]:
        """Return the rule for one class more, and those of its tensors that grow.

        Raises
        ------
        TypeError
            If the rule's number of classes is fixed.
        """
        raise TypeError(f"{type(self).__name__} takes no further class")

    def learned(self, tensors: dict[str, Tensor]) -> list[str]:
        """Return the names of those tensors that are trained: an optimiser of their own steps."""
        return []

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Return the hyper-parameters as JSON can write them, the rule's name among them."""


class LocalRule(Rule):
    """A rule by which each block learns from its own evidence: a function to the modulator.

    It never computes a weight's gradient; engines do. Every engine runs it.
    """

    @property
    def needs_context(self) -> bool:
        """Whether a modulator depends on the signals as they enter the block.

        ``tensors["context"]`` then holds them at each call of :meth:`modulate`, ``(C, D)``: what
        the synapse sees of the signal rows (in the first block the current that they are), through
        the last of the evidence filters. The reference engine alone gives it.
        """
        return False

    @property
    def unwindowed(self) -> str | None:
        """What keeps faster engines from this rule, in words; None where nothing does.

        All that follows here, up to :meth:`current`, is asked by the reference engine alone.
        """
        if self.needs_context:
            return "looks at the signals at a block's input"
        return "looks at spikes" if self.potential == "spikes" else None

    @property
    def enters_synapse(self) -> bool:
        """Whether signal rows pass the first synapse, and :meth:`current` adds to its current."""
        return False

    @property
    def stands_still(self) -> bool:
        """Whether :meth:`current` is the same at all time steps, so that engines ask but once."""
        return False

    def begin(self, tensors: dict[str, Tensor], labels: Tensor | None) -> dict[str, Tensor]:
        """Return the tensors for one batch: those of :meth:`draw`, and what depends on labels."""
        return tensors

    def arrange(self, x: Tensor, tensors: dict[str, Tensor]) -> Tensor:
        """Return recordings ``(T, B, ...)`` with the time steps that the signal needs."""
        return x

    def inputs(self, x_t: Tensor, tensors: dict[str, Tensor], t: int) -> Tensor | None:
        """Return the inputs of the signal rows; None for no rows. Zeros unless overridden."""
        signal = self.current(tensors, t)
        return None if signal is None else x_t.new_zeros(len(signal), *x_t.shape[1:])

    def own_current(self, tensors: dict[str, Tensor], t: int) -> Tensor | None:
        """Return what a signal adds to the recordings' own current in the first block."""
        return None

    def code(self, tensors: dict[str, Tensor], t: int) -> Tensor | None:
        """Return the codes that ``tensors["projection"]`` projects, if that is learned."""
        return None

    def own_gradients(
        self, block: int, evidence: Tensor, labels: Tensor, tensors: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return gradients of the learned tensors that a block's evidence alone gives, by name."""
        return {}

    def current(self, tensors: dict[str, Tensor], t: int) -> Tensor | None:
        """Return the current of the signal rows in the first block at step ``t`` (from 1).

        Shape ``(C, *features)``; None for a rule that sends no signal through the network.
        """
        return None

    @abstractmethod
    def modulate(
        self, block: int, evidence: Tensor, labels: Tensor, tensors: dict[str, Tensor]
    ) -> Modulation:
        """Return the modulator of a block.

        Parameters
        ----------
        block : int
            Index of the block.
        evidence : Tensor
            ``(R, F)``: B recordings, then the signal rows; features flattened, filters side by
            side.
        labels : Tensor
            ``(B,)``, int64.
        tensors : dict of str to Tensor
            What :meth:`draw` gave.
        """

    @abstractmethod
    def logits(
        self, block: int, evidence: Tensor, n_recordings: int, tensors: dict[str, Tensor]
    ) -> Tensor:
        """Return the scores ``(B, C)`` of a block without a label."""

    def modulate_window(
        self, block: int, evidence: Tensor, labels: Tensor, tensors: dict[str, Tensor]
    ) -> Modulation:
        """Return the modulators of several time steps at once.

        As :meth:`modulate`, with ``evidence`` of shape ``(L, R, F)``, and a leading ``L`` in all
        that comes back. ``evidence`` is used up: the modulators may be written in its place, and
        come back as it. A rule whose steps are independent, given the evidence, overrides this with
        a batched form; as it stands it calls :meth:`modulate` step by step.
        """
        steps = [self.modulate(block, item, labels, tensors) for item in evidence]
        values, logits, deltas = zip(*steps, strict=True)
        return Modulation(torch.stack(values), torch.stack(logits), torch.stack(deltas))

    def logits_window(
        self, block: int, evidence: Tensor, n_recordings: int, tensors: dict[str, Tensor]
    ) -> Tensor:
        """Return the scores ``(L, B, C)`` of several time steps, ``evidence`` ``(L, R, F)``."""
        return torch.stack([self.logits(block, item, n_recordings, tensors) for item in evidence])

    def comparison(self, block: int, size: int, tensors: dict[str, Tensor]) -> Comparison | None:
        """Return the block's loss on ``size`` features in numbers, for compiled loops.

        None, as here, if there is no such form: :meth:`modulate` is called at each step then.
        """
        return None

    def linear_readout(
        self, block: int, evidence: Tensor, n_recordings: int, tensors: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, bool]:
        """Return weight ``(C, F)``, bias ``(C,)`` and "rectify first" of an equivalent readout.

        Raises
        ------
        TypeError
            If the rule has none.
        """
        raise TypeError(f"{type(self).__name__} has no linear readout")
