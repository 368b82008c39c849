"""e-prop on N-MNIST: recurrent neurons.

python -m spikeprop.experiments.reproductions.nmnist_eprop --data-dir DIR
"""

from spikeprop.datasets import Binning
from spikeprop.experiments.reproductions.setting import Setting, main

SETTING = Setting(
    title="e-prop on N-MNIST",
    source="Bellec et al. (2020), as listed in Table 1 of the Traces Propagation paper",
    dataset="nmnist",
    published={
        "e-prop": "97.90 % (second-hand)",
        "e-prop-random": "none found with random feedback",
    },
    network="200R",
    binning=Binning(1_000),
    first_saccade_only=True,
    epochs=100,
    batch_size=128,
    lr=1e-3,
    differs=(
        "200 recurrent LIF neurons are all we know of the setting; the rest is that of "
        "nmnist_traces_propagation",
    ),
)

if __name__ == "__main__":
    main(SETTING)
