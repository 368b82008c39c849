r"""A readout on a block's evidence, trained where it stands by the delta rule.

With :math:`\hat a = a / \sqrt{\text{mean}(a^2)}` of a row's rectified evidence, so that its length
does not matter,

.. math::

    y = \kappa (R \hat a + r), \quad e = \text{softmax}(y) - \text{onehot}(c), \quad
    \Delta R \propto -\kappa e \hat a^\top, \quad \Delta r \propto -\kappa e

Nothing of it reaches the network's synapses. It is the linear softmax layer on the hidden
activities of Hinton, "The Forward-Forward Algorithm", arXiv 2212.13345, section 3.3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spikeprop.losses import cross_entropy

__all__ = ["draw_readouts", "readout_gradients", "readout_logits"]

SMALLEST = 1e-8
#: Gain kappa of the scores: by so much a readout learns faster than the synapses beside it.
GAIN = 5.0


def draw_readouts(shapes: list[int], num_classes: int) -> dict[str, Tensor]:
    """Return weights and biases of one readout a block, all zero, for blocks of so many neurons."""
    tensors = {}
    for block, size in enumerate(shapes):
        tensors[f"readout.{block}.weight"] = torch.zeros(num_classes, size)
        tensors[f"readout.{block}.bias"] = torch.zeros(num_classes)
    return tensors


def readout_logits(block: int, evidence: Tensor, tensors: dict[str, Tensor]) -> Tensor:
    """Return the scores ``(B, C)`` of rows of evidence ``(B, F)``."""
    weight, bias = tensors[f"readout.{block}.weight"], tensors[f"readout.{block}.bias"]
    return GAIN * (normalised(evidence) @ weight.detach().T + bias.detach())


def readout_gradients(
    block: int, evidence: Tensor, labels: Tensor, tensors: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Return the gradients of weight and bias of the mean cross-entropy."""
    error = GAIN * cross_entropy(readout_logits(block, evidence, tensors), labels)[1]
    return {
        f"readout.{block}.weight": error.T @ normalised(evidence),
        f"readout.{block}.bias": error.sum(dim=0),
    }


def normalised(evidence: Tensor) -> Tensor:
    """Return rectified rows divided by their root mean square."""
    a = evidence.clamp_min(0)
    return a / (a.square().mean(dim=1, keepdim=True).sqrt() + SMALLEST)
