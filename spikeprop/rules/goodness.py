r"""Goodness of a row, and the contrasts of Forward-Forward that are drawn on it.

For the rectified evidence :math:`a = \max(v, 0)` of a row of F neurons,

.. math::

    g = \frac1F \sum_j a_j^2, \qquad \delta_j = \frac{\partial L}{\partial g}\, \frac{2 a_j}{F}

and two losses, with :math:`\sigma` the logistic function and :math:`\zeta(x) = \log(1 + e^x)`:

.. math::

    \text{threshold:}\quad & L = \zeta(-\alpha (g^+ - \theta)) + \zeta(\alpha (g^- - \theta)) \\
    \text{pair:}\quad & L = \zeta(-\alpha (g^+ - g^-))

The first is Hinton's, "The Forward-Forward Algorithm", arXiv 2212.13345, equation 1 (there a sum
over neurons in place of the mean); the second compares each recording with itself under another
label and needs no threshold (SymBa, Lee and Song, arXiv 2303.08418).
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor
from torch.nn.functional import softplus

from spikeprop import checks

__all__ = ["OBJECTIVES", "check_contrast", "contrast", "goodness"]

OBJECTIVES = ("threshold", "pair")


def goodness(evidence: Tensor) -> Tensor:
    """Return the goodness of each row, ``(R, F) -> (R,)``."""
    return evidence.clamp_min(0).square().mean(dim=1)


def check_contrast(rule: Any) -> None:
    """Raise for parameters of a contrast that are outside their range.

    Raises
    ------
    ValueError
        The message names the parameter, what was given and what is allowed.
    """
    checks.one_of("objective", rule.objective, OBJECTIVES)
    if not rule.alpha > 0.0:
        raise ValueError(f"alpha has to be above 0, got {rule.alpha}")
    if not rule.strength > 0.0:
        raise ValueError(f"strength has to be above 0, got {rule.strength}")


class Contrasting(Protocol):
    """What a contrast asks of a rule: "threshold" or "pair", slope and threshold."""

    @property
    def objective(self) -> str: ...
    @property
    def alpha(self) -> float: ...
    @property
    def theta(self) -> float: ...


def contrast(evidence: Tensor, signs: Tensor, rule: Contrasting) -> tuple[Tensor, Tensor, Tensor]:
    """Return a block's loss, the goodness ``(G, B)`` and the modulator of all rows ``(R, F)``."""
    alpha = rule.alpha
    g = goodness(evidence).reshape(signs.shape)
    signs = signs.to(g)
    if rule.objective == "threshold":
        pressure, used = -alpha * signs * (g - rule.theta), signs != 0
    else:
        own = (g * (signs > 0)).sum(dim=0)
        pressure, used = -alpha * (own - g), signs < 0
    n = used.sum().clamp_min(1)
    value = (softplus(pressure) * used).sum() / n
    slope = alpha * pressure.sigmoid() * used / n
    if rule.objective == "threshold":
        slope = -signs * slope
    else:
        slope = slope - slope.sum(dim=0) * (signs > 0)
    delta = evidence.clamp_min(0) * (2.0 / evidence.shape[1]) * slope.reshape(-1, 1)
    return value, g, delta
