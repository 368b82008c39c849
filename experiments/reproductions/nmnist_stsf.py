"""STSF on N-MNIST.

python -m spikeprop.experiments.reproductions.nmnist_stsf --data-dir DIR
"""

from spikeprop.datasets import Binning
from spikeprop.experiments.reproductions.setting import Setting, main

SETTING = Setting(
    title="Spike-train-level sparse feedback (STSF) on N-MNIST",
    source="He et al., IEEE TNNLS (2025); recipe of NeuroTrain's tests",
    dataset="nmnist",
    published={"stsf": "accuracy not found; NeuroTrain reports 90.4 % for 2312-512-10"},
    network="500",
    binning=Binning(None, 30),
    epochs=20,
    batch_size=128,
    lr=1e-3,
    differs=("batch, rate and decay are not known to us",),
)

if __name__ == "__main__":
    main(SETTING)
