r"""Signal propagation on voltage: the class travels through the network beside the recording.

Per block and time step, rows ``h`` (B recordings) and ``s`` (C class signals) of the evidence
``v = F(u)``, with ``u`` the voltage or the free potential, ``F`` a linear filter over time and
:math:`a = \max(v^h, 0)` if rectified:

.. math::

    L_t = \text{loss}(a_t, v^s_t, \text{labels}), \quad
    \delta^h_t = \frac{\partial L_t}{\partial a_t}\, 1[v^h_t > 0], \quad
    \delta^s_t = \frac{\partial L_t}{\partial v^s_t}, \quad
    \Delta W_t \propto -\delta_t^\top e_t, \quad e_t = F(\text{trace})_t

Sources: the framework, the shared weights and the loss on voltage ("SP Voltage") are Kohan, Rietman
and Siegelmann, "Signal Propagation", arXiv 2204.01723, and the authors' tutorial (section 3). The
free potential, the evidence filter, its rectification and the homeostasis are this project's.

Local in time: yes. Local in space: yes. Surrogate needed: no. Feedback path, symmetric weights,
layer-wise schedule, change of the network: none needed. Memory per block: one trace and one
filtered trace per row and input; multiply-adds per step: those of the forward pass once more (the
outer product).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from spikeprop import kernels
from spikeprop.contrast import BatchContrast
from spikeprop.evidence import Evidence, Instantaneous, Leaky, as_filters
from spikeprop.homeostasis import Homeostasis
from spikeprop.losses import Comparison, Cosine, Dot, LocalLoss, LossValue
from spikeprop.names import meant
from spikeprop.output_layer import output_gradients, outputs
from spikeprop.placements import PLACEMENTS
from spikeprop.rules.base import Constraints, Modulation, Rule
from spikeprop.rules.describing import describe
from spikeprop.rules.sending import SendingRule
from spikeprop.signal_path import SIGNALS
from spikeprop.signals import class_codes
from spikeprop.smooth import ATan, Smooth
from spikeprop.time_codes import Constant, TimeCode

__all__ = ["SPSurrogate", "SPVoltage", "SigProp"]

#: Options that are names, and what they may be.
NAMED = {
    "signal": tuple(SIGNALS),
    "placement": PLACEMENTS,
    "labels": ("all", "batch", "vectors"),
    "readout": ("nearest", "trained"),
    "predict_from": ("last", "vote"),
    "potential": ("free", "membrane", "spikes"),
}


@dataclass(frozen=True)
class SigProp(SendingRule):
    """Signal propagation with a loss on (rectified, filtered) voltage.

    The defaults are the recipe that was measured best: a leaky average of the free potential over
    one or two time steps as evidence, rectified for the recordings, cosine similarities, class
    signals through the shared weights, homeostasis. It goes with neurons that forget as soon,
    ``beta`` of 0.5, and with inputs of which some arrive later (:class:`~spikeprop.neurons.Delay`).

    Parameters
    ----------
    num_classes : int
        Number of classes C, at least 2; for ``labels="vectors"`` their size, at least 1.
    loss : LocalLoss
        :class:`~spikeprop.losses.Cosine`, :class:`~spikeprop.losses.Dot`,
        :class:`~spikeprop.losses.SquaredDistance`, :class:`~spikeprop.contrast.BatchContrast`, or
        an object with the same methods.
    evidence : Evidence or tuple of Evidence
        Filter of the voltage over time in ``update``; several are set side by side.
    rectify : bool
        Whether recordings are compared by ``max(evidence, 0)``.
    smooth : Smooth, optional
        Compare ``f(evidence)`` of recordings and signals instead, by a smooth function such as
        :class:`~spikeprop.smooth.ATan` ("SP Surrogate"); then without ``rectify``.
    potential : {"free", "membrane", "spikes"}
        What the evidence is made of: the voltage as it would be without resets
        (:mod:`spikeprop.potentials`), the voltage itself, or the neuron's spikes (their trace, by
        the evidence filter; then without ``rectify``). For spikes the update is an approximation:
        the voltage's trace stands in for that of the spikes.
    signal : str
        How the signal enters: ``"propagated"``, ``"learned"``, ``"synapse"``, ``"drawn"``,
        ``"context-input"``, ``"concatenated"``, ``"overlaid"`` or ``"projection"``; see
        :mod:`spikeprop.signal_path`. Those with a row a recording need a loss of pairs
        (``BatchContrast``, ``SquaredDistance``) and ``readout="trained"``.
    signal_scale : float
        Standard deviation of the random projection, above 0.
    codes : Tensor, optional
        Class codes ``(C, D)``; one-hot if not given.
    coding : TimeCode
        The code along the time axis (:mod:`spikeprop.time_codes`); constant unless given.
    placement : {"parallel", "interleaved", "leading", "trailing"}
        Where along the time axis the signal stands (:mod:`spikeprop.placements`); all but the
        first need ``signal="propagated"``, a loss of pairs and a single evidence filter.
    signal_steps : int
        Time steps of a leading or trailing signal, at least 1.
    labels : {"all", "batch", "vectors"}
        Signals of all classes, of those in the batch alone, or regression: a label is a vector,
        and the code of its recording's own signal row.
    readout : {"nearest", "trained"}
        Predict the nearest class signal, or by an output layer trained on the block's evidence.
    homeostasis : Homeostasis, optional
        Control of the thresholds after each sequence; None for none.
    predict_from : {"last", "vote"}
        Whether predictions come from the last block or from the sum over all blocks' logits.
    stream_evidence, stream_homeostasis
        The same for :meth:`~spikeprop.ForwardLearner.step`, where sequences have no end and the
        thresholds move a little at each time step.

    Raises
    ------
    ValueError
        If a parameter is outside its range, or does not go with another.
    """

    constraints: ClassVar[Constraints | None] = Constraints(
        local_in_time=True,
        local_in_space=True,
        surrogate=False,
        feedback="none",
        layerwise=False,
        changes_network="nothing",
        memory="2 (B + C) I",
        multiply_adds="2 (B + C) I F",
        source="Kohan, Rietman, Siegelmann, arXiv 2204.01723",
    )

    search: ClassVar[Mapping[str, Sequence[Any]]] = {
        "lr": (4e-4, 1e-4, 2e-4, 8e-4),
        "tau": (0.07, 0.05, 0.1),
        "dropout": (0.0, 0.2),
    }

    num_classes: int
    loss: LocalLoss = Cosine()  # noqa: RUF009 - frozen
    evidence: Evidence | tuple[Evidence, ...] = Leaky(0.7)  # noqa: RUF009 - frozen
    rectify: bool = True
    smooth: Smooth | None = None
    signal: str = "propagated"
    signal_scale: float = 0.3
    codes: Tensor | None = None
    coding: TimeCode = Constant()  # noqa: RUF009 - frozen
    placement: str = "parallel"
    signal_steps: int = 5
    labels: str = "all"
    readout: str = "nearest"
    homeostasis: Homeostasis | None = Homeostasis()  # noqa: RUF009 - frozen
    predict_from: str = "last"
    potential: str = "free"
    stream_evidence: Evidence | tuple[Evidence, ...] = Leaky(0.1)  # noqa: RUF009 - frozen
    stream_homeostasis: Homeostasis | None = Homeostasis(gain=0.005)  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        least = 1 if self.regression else 2
        if self.num_classes < least:
            raise ValueError(f"num_classes has to be at least {least}, got {self.num_classes}")
        for name, allowed in NAMED.items():
            given = getattr(self, name)
            if given not in allowed:
                near = meant(given, allowed)
                raise ValueError(f"{name} has to be one of {allowed}, got {given!r}{near}")
        if not self.signal_scale > 0.0:
            raise ValueError(f"signal_scale has to be above 0, got {self.signal_scale}")
        if self.signal_steps < 1:
            raise ValueError(f"signal_steps has to be at least 1, got {self.signal_steps}")
        if self.rectify and self.smooth is not None:
            raise ValueError("rectify and smooth are two views of the voltage: set rectify=False")
        if self.rectify and self.potential == "spikes":
            raise ValueError(
                "potential='spikes' needs rectify=False: a neuron that has not fired would never "
                "learn"
            )
        as_filters(self.stream_evidence)
        class_codes(self.num_classes, self.codes)
        self.check_pairs(len(as_filters(self.evidence)))

    # ----------------------------------------------------------------------------------- comparing

    def modulate(
        self, block: int, evidence: Tensor, labels: Tensor, tensors: dict[str, Tensor]
    ) -> Modulation:
        """Return the closed-form gradient of the local loss with respect to the evidence."""
        n = len(labels)
        h, s, slope_h, slope_s = self._seen(block, evidence, n, tensors)
        value, logits, delta_h, delta_s = self._compare(h, s, labels, tensors)
        if self.readout == "trained" or self.placement != "parallel":
            logits = self.logits(block, evidence, n, tensors)
        elif "classes" in tensors:
            whole = logits.new_full((n, self.num_classes), -torch.inf)
            logits = whole.index_copy_(1, tensors["classes"], logits)
        delta_h = delta_h if slope_h is None else delta_h * slope_h
        if self.signal == "projection":
            return Modulation(value, logits, delta_h)
        delta_s = delta_s if slope_s is None else delta_s * slope_s
        if self.placement == "parallel":
            return Modulation(value, logits, torch.cat([delta_h, delta_s], -2))
        # Filters side by side; the class rows are there to be compared with, and teach nothing.
        delta = torch.cat([delta_h, delta_s], -1)
        return Modulation(value, logits, torch.cat([delta, torch.zeros_like(evidence[n:])]))

    def _compare(
        self, h: Tensor, s: Tensor, labels: Tensor, tensors: dict[str, Tensor]
    ) -> LossValue:
        """Return the loss, each recording with the signal of its class or its own."""
        own = labels
        if self.placement != "parallel" or self.path.way.rows == "recordings":
            own = torch.arange(len(h), device=h.device)
        elif "classes" in tensors:
            own = torch.searchsorted(tensors["classes"], labels)
        if self.placement != "parallel" and not (bool(h.any()) and bool(s.any())):
            # Before both have been seen there is nothing to compare.
            nothing = torch.zeros_like(h)
            return LossValue(h.new_zeros(()), h.new_zeros(()), nothing, torch.zeros_like(s))
        if not isinstance(self.loss, BatchContrast):
            return self.loss(h, s, own)
        context = tensors.get("context")
        if self.placement != "parallel":
            context = (
                tensors["codes"][0] if "codes" in tensors else tensors["signal.0"].flatten(1)
            )[labels]
        return self.loss(h, s, own, context)

    def modulate_window(
        self, block: int, evidence: Tensor, labels: Tensor, tensors: dict[str, Tensor]
    ) -> Modulation:
        """Return the modulators of several steps: :meth:`modulate` with a leading dimension."""
        overwrite = getattr(self.loss, "overwrite", None)
        in_place = kernels.can_run_on(evidence) or (
            kernels.triton_runs_on(evidence.device) and evidence.is_contiguous()
        )
        if overwrite is not None and in_place and self.smooth is None:
            vectors = None
            if self.signal == "projection":
                vectors = self._vectors(block, evidence.shape[-1], tensors)
            value, logits = overwrite(evidence, labels, vectors, rectify=self.rectify)
            return Modulation(value, logits, evidence)
        if getattr(self.loss, "batched", False):
            return self.modulate(block, evidence, labels, tensors)
        return super().modulate_window(block, evidence, labels, tensors)

    def comparison(self, block: int, size: int, tensors: dict[str, Tensor]) -> Comparison | None:
        """Return the loss in numbers, where it has such a form."""
        in_numbers = getattr(self.loss, "in_numbers", None)
        if in_numbers is None or self.smooth is not None or self.readout == "trained":
            return None
        vectors = self._vectors(block, size, tensors) if self.signal == "projection" else None
        found: Comparison = in_numbers(vectors, rectify=self.rectify)
        return found

    def logits_window(
        self, block: int, evidence: Tensor, n_recordings: int, tensors: dict[str, Tensor]
    ) -> Tensor:
        """Return the scores of several steps: :meth:`logits` with a leading dimension."""
        if getattr(self.loss, "batched", False):
            return self.logits(block, evidence, n_recordings, tensors)
        return super().logits_window(block, evidence, n_recordings, tensors)

    def logits(
        self, block: int, evidence: Tensor, n_recordings: int, tensors: dict[str, Tensor]
    ) -> Tensor:
        """Return the similarity of each recording with each class signal, or the output layer's."""
        h, s, *_ = self._seen(block, evidence, n_recordings, tensors)
        if self.readout == "trained":
            return outputs(block, h, tensors)
        if self.placement != "parallel":
            s = evidence[n_recordings:, evidence.shape[1] // 2 :]
            s = s if self.smooth is None else self.smooth(s)[0]
        return self.loss.logits(h, s)

    def own_gradients(
        self, block: int, evidence: Tensor, labels: Tensor, tensors: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the delta rule of the block's output layer."""
        if self.readout == "nearest":
            return {}
        h = self._seen(block, evidence, len(labels), tensors)[0]
        return output_gradients(block, h, labels, tensors)

    def linear_readout(
        self, block: int, evidence: Tensor, n_recordings: int, tensors: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, bool]:
        """Return the class evidence as a linear layer on the recording's evidence."""
        if self.smooth is not None or self.potential == "spikes":
            raise ValueError(
                "classes are no linear layer on the voltage where the loss looks at a function of "
                f"it or at spikes (smooth={self.smooth}, potential={self.potential!r})"
            )
        if self.placement != "parallel":
            raise ValueError(f"placement={self.placement!r} has no class signal beside a recording")
        if self.readout == "trained":
            return (
                tensors[f"output.{block}.weight"].detach(),
                tensors[f"output.{block}.bias"].detach(),
                self.rectify,
            )
        s = self._seen(block, evidence, n_recordings, tensors)[1]
        return *self.loss.linear_readout(s), self.rectify

    def _seen(
        self, block: int, evidence: Tensor, n_recordings: int, tensors: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Return what is compared, recordings and signals, and its slope in the evidence of each.

        A slope of None is 1.
        """
        h, s = evidence[..., :n_recordings, :], evidence[..., n_recordings:, :]
        if self.placement != "parallel":
            h, s = h.chunk(2, dim=-1)
        slope_h = slope_s = None
        if self.rectify:
            h = h.clamp_min(0)
            slope_h = h > 0
        elif self.smooth is not None:
            (h, slope_h), (s, slope_s) = self.smooth(h), self.smooth(s)
        if self.signal == "projection":
            vectors = self._vectors(block, evidence.shape[-1], tensors)
            s = vectors.expand(*evidence.shape[:-2], *vectors.shape)
        return h, s, slope_h, slope_s

    def _vectors(self, block: int, size: int, tensors: dict[str, Tensor]) -> Tensor:
        """Return the block's fixed class vectors ``(C, size)``, once for each filter."""
        vectors = tensors[f"signal.{block}"].flatten(1)
        times = size // vectors.shape[1]
        return vectors if times == 1 else vectors.repeat(1, times)

    def config(self) -> dict[str, Any]:
        """Return the rule's name and hyper-parameters; codes as their shape."""
        return {
            "rule": type(self).__name__,
            "num_classes": self.num_classes,
            "loss": describe(self.loss),
            "evidence": [describe(item) for item in as_filters(self.evidence)],
            "rectify": self.rectify,
            "smooth": None if self.smooth is None else describe(self.smooth),
            "signal": self.signal,
            "signal_scale": self.signal_scale,
            "codes": None if self.codes is None else list(self.codes.shape),
            "coding": describe(self.coding),
            "placement": self.placement,
            "signal_steps": self.signal_steps,
            "labels": self.labels,
            "readout": self.readout,
            "homeostasis": None if self.homeostasis is None else describe(self.homeostasis),
            "predict_from": self.predict_from,
            "potential": self.potential,
            "stream_evidence": [describe(item) for item in as_filters(self.stream_evidence)],
            "stream_homeostasis": None
            if self.stream_homeostasis is None
            else describe(self.stream_homeostasis),
        }


@dataclass(frozen=True)
class SPVoltage(SigProp):
    """The plain rule of the paper: the loss on the voltage of the present time step.

    "SP Voltage" with the label-direct cross-entropy over dot products: resets included, no filter,
    no rectification, no homeostasis. The paper's other named loss is
    ``SPVoltage(..., loss=SquaredDistance(), signal="projection")``. Parameters as :class:`SigProp`.
    """

    search: ClassVar[Mapping[str, Sequence[Any]]] = Rule.search
    loss: LocalLoss = Dot()  # noqa: RUF009 - frozen
    evidence: Evidence | tuple[Evidence, ...] = Instantaneous()  # noqa: RUF009 - frozen
    rectify: bool = False
    homeostasis: Homeostasis | None = None
    potential: str = "membrane"
    stream_evidence: Evidence | tuple[Evidence, ...] = Instantaneous()  # noqa: RUF009 - frozen
    stream_homeostasis: Homeostasis | None = None


@dataclass(frozen=True)
class SPSurrogate(SPVoltage):
    """The paper's variant with the loss on a smooth function of the voltage, ``f(mem)``.

    Nothing is differentiated through a spike: ``f`` stands where the loss looks, while the network
    passes spikes on. The arctangent is that of the re-implementation in the literature, with the
    threshold of 1 as its centre. Parameters as :class:`SigProp`.
    """

    smooth: Smooth | None = ATan()  # noqa: RUF009 - frozen
