r"""The Hebbian update of signal propagation, in continuous time: ``t_{i-1} (t_i - h_i)``.

Two streams run side by side through the same network of rate neurons. ``h`` sees the recording;
``t`` sees it too, and in the first layer the learning signal on top, which is the error of the
output at the time step before, through a fixed random projection ``S``:

.. math::

    h_1 = f(W_1 x), \quad t_1 = f(W_1 x + S\, (\text{onehot} - \operatorname{softmax}(y))), \quad
    h_i = f(W_i h_{i-1}), \quad t_i = f(W_i t_{i-1})

.. math::

    \Delta W_i \propto (t_i - h_i)\, 1[h_i > 0]\, \bar t_{i-1}^\top, \qquad y = V h_n + b

with ``f(u) = max(u, 0)`` and :math:`\bar t` the presynaptic activity through the neuron's own time
constant. Where the output errs, ``t`` is what ``h`` would be with more of the right class's
direction in it, and the weights move ``h`` there; where it does not, ``t = h``, and nothing moves.
The output layer learns by the delta rule from ``h_n`` alone. The gate ``1[h > 0]`` is there because
a rectified neuron that is silent can only be moved up: without it nearly all are active in the end.

Sources: "train continuous time neural networks with Hebbian updates" (abstract of Kohan, Rietman,
Siegelmann, arXiv 2204.01723) and ``t_{i-1} (t_i - h_i)`` on slide 23 of the authors' tutorial; the
error as the signal is that of Error Forward-Propagation (Kohan et al., arXiv 1808.03357). The
rectification, its gate, and the error of the time step before, are this project's choice.

Local in time: yes. Local in space: yes, but for the output's error, which reaches the first layer.
Surrogate needed: no. Symmetric weights, layer-wise schedule: none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from spikeprop.output_layer import draw_outputs, output_gradients, outputs
from spikeprop.rules.base import Constraints, LocalRule, Modulation

__all__ = ["Hebbian"]


@dataclass(frozen=True)
class Hebbian(LocalRule):
    """Hebbian updates by a second stream that carries the output's error on top of the input.

    Made for rate neurons, ``GradedLIF(threshold=0.0, reset_mechanism="none")``, and ReLU.

    Parameters
    ----------
    num_classes : int
        Number of classes C, at least 2.
    signal_scale : float
        Standard deviation of the entries of ``S``, above 0.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """

    constraints: ClassVar[Constraints | None] = Constraints(
        local_in_time=True,
        local_in_space=False,
        surrogate=False,
        feedback="random, to the first layer",
        layerwise=False,
        changes_network="readout",
        memory="2 B I",
        multiply_adds="2 B I F",
        source="Kohan, Rietman, Siegelmann, arXiv 2204.01723",
    )

    num_classes: int
    signal_scale: float = 0.1

    def __post_init__(self) -> None:
        if self.num_classes < 2:
            raise ValueError(f"num_classes has to be at least 2, got {self.num_classes}")
        if not self.signal_scale > 0.0:
            raise ValueError(f"signal_scale has to be above 0, got {self.signal_scale}")

    @property
    def unwindowed(self) -> str | None:
        """What only the reference engine does."""
        return "sends an error that the step before has made"

    @property
    def streams(self) -> bool:
        """Not by time steps alone: the second stream's rows are there for labels known before."""
        return False

    @property
    def enters_synapse(self) -> bool:
        """Whether the signal rows see the recording, too."""
        return True

    def draw(self, shapes: Sequence[torch.Size], generator: torch.Generator) -> dict[str, Tensor]:
        """Draw ``S`` ``(C, F)``; the output layers begin at zero."""
        drawn = torch.randn((self.num_classes, shapes[0].numel()), generator=generator)
        return {"S": drawn * self.signal_scale, **draw_outputs(self.num_classes, shapes, 1)}

    def learned(self, tensors: dict[str, Tensor]) -> list[str]:
        """Return the output layers: one a block, the last of which gives the error."""
        return [name for name in tensors if name.startswith("output.")]

    def begin(self, tensors: dict[str, Tensor], labels: Tensor | None) -> dict[str, Tensor]:
        """Begin without an error."""
        if labels is None:
            return dict(tensors)
        return {**tensors, "error": tensors["S"].new_zeros(len(labels), self.num_classes)}

    def inputs(self, x_t: Tensor, tensors: dict[str, Tensor], t: int) -> Tensor | None:
        """Return the recordings once more, where there are labels."""
        return x_t if "error" in tensors else None

    def current(self, tensors: dict[str, Tensor], t: int) -> Tensor | None:
        """Return ``S`` times the error of the step before."""
        return tensors["error"] @ tensors["S"] if "error" in tensors else None

    def modulate(
        self, block: int, evidence: Tensor, labels: Tensor, tensors: dict[str, Tensor]
    ) -> Modulation:
        """Return ``-(t - h) 1[h > 0] / B`` for the second stream, and nothing for the first."""
        h, t = evidence.clamp_min(0).chunk(2)
        difference = (t - h) * (h > 0)
        y = outputs(block, h, tensors)
        error = -torch.softmax(y, dim=1)
        error[torch.arange(len(labels), device=y.device), labels] += 1.0
        if f"output.{block + 1}.weight" not in tensors:
            tensors["error"] = error
        value = 0.5 * difference.square().sum(dim=1).mean()
        return Modulation(value, y, torch.cat([torch.zeros_like(h), -difference / len(labels)]))

    def own_gradients(
        self, block: int, evidence: Tensor, labels: Tensor, tensors: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the delta rule of the block's output layer."""
        return output_gradients(block, evidence[: len(labels)].clamp_min(0), labels, tensors)

    def logits(
        self, block: int, evidence: Tensor, n_recordings: int, tensors: dict[str, Tensor]
    ) -> Tensor:
        """Return the block's outputs."""
        return outputs(block, evidence[..., :n_recordings, :].clamp_min(0), tensors)

    def linear_readout(
        self, block: int, evidence: Tensor, n_recordings: int, tensors: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, bool]:
        """Return the output layer, on rectified evidence."""
        weight, bias = (tensors[f"output.{block}.{name}"].detach() for name in ("weight", "bias"))
        return weight, bias, True

    def config(self) -> dict[str, Any]:
        """Return the rule's name and hyper-parameters."""
        return {
            "rule": type(self).__name__,
            "num_classes": self.num_classes,
            "signal_scale": self.signal_scale,
        }
