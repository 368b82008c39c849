"""NIR: networks as files that other simulators and chips read, and theirs here.

`NIR <https://neuroir.org>`_ (Pedersen et al., Nat. Commun. 15, 2024) describes a network as a graph
of differential equations. :func:`to_nir` writes a network of this library (or a learner's
``export(readout="spikes")``) as such a graph, :func:`from_nir` reads one. Needs the optional
package ``nir`` (``pip install nir``). What NIR cannot say is refused by name:

- Its neurons reset *to a value, within the step of the spike*. ``reset_mechanism="zero"`` has the
  very same spikes, delayed or not. ``"subtract"`` and a reset to nothing have no place in NIR; they
  are kept in the node's metadata, which this library reads and others ignore, with a warning.
- There is no max pooling, dropout, batch norm, transposed convolution or padding other than zeros.
  Dropout and identities vanish, batch norms are folded into the synapse before them, the others are
  errors.
- A voltage is no output of a spiking neuron: a readout goes by spikes (``readout="spikes"``).
- Time constants are continuous; ``dt`` of both functions says how long a step is. The decay of a
  step is taken as in forward Euler, ``beta = 1 - dt / tau``, which makes it exact.

Readers differ in what they make of a graph, and ``dialect=`` of :func:`to_nir` writes what one of
them needs (:mod:`spikeprop.nir.dialects`).
"""

from __future__ import annotations

from spikeprop.nir.dialects import DIALECTS, Dialect
from spikeprop.nir.network import NIRNetwork
from spikeprop.nir.neurons import PLAIN
from spikeprop.nir.reading import from_nir, read
from spikeprop.nir.writing import to_nir, write

__all__ = ["DIALECTS", "PLAIN", "Dialect", "NIRNetwork", "from_nir", "read", "to_nir", "write"]
