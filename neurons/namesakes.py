"""The snnTorch classes whose tools (``snntorch.utils.reset``, NIR export) have to know our neurons.

Neurons that snnTorch has by another name or not at all are a ``Leaky`` to it. No code of these
classes runs in a step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # snnTorch is untyped: to the type checker it would turn every attribute of ours into Any.
    from torch.nn import Module as Alpha
    from torch.nn import Module as Lapicque
    from torch.nn import Module as Leaky
    from torch.nn import Module as RLeaky
    from torch.nn import Module as RSynaptic
    from torch.nn import Module as Synaptic
else:
    from snntorch import Alpha, Lapicque, Leaky, RLeaky, RSynaptic, Synaptic

__all__ = ["Alpha", "Lapicque", "Leaky", "RLeaky", "RSynaptic", "Synaptic"]
