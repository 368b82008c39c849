"""Traces Propagation on N-MNIST: one hidden layer, the first saccade.

python -m spikeprop.experiments.reproductions.nmnist_traces_propagation --data-dir DIR
"""

from spikeprop.datasets import Binning
from spikeprop.experiments.reproductions.setting import Setting, main

SETTING = Setting(
    title="Traces Propagation on N-MNIST",
    source="Pes et al., Neuromorph. Comput. Eng. (2026), experiments/nmnist.sh of its code",
    dataset="nmnist",
    published={
        "traces-propagation": "97.33 ± 0.06 % (top five of ten seeds, best test epoch); in the "
        "same logs, all ten seeds, final epoch: 96.53 ± 0.14 %",
        "bptt": "98.39 ± 0.06 % (best test epoch), 98.31 ± 0.08 % (final), by the same code",
    },
    network="200",
    binning=Binning(1_000),
    first_saccade_only=True,
    epochs=100,
    batch_size=128,
    lr=1e-3,
    differs=(
        "rate, decay and surrogate slope are this project's",
        "recordings are binned to the same length, where the authors pad",
    ),
)

if __name__ == "__main__":
    main(SETTING)
