"""NeuroTrain's table on N-MNIST: one network, many rules.

python -m spikeprop.experiments.reproductions.nmnist_neurotrain --data-dir DIR
"""

from spikeprop.datasets import Binning
from spikeprop.experiments.reproductions.setting import Setting, main

SETTING = Setting(
    title="NeuroTrain's like-for-like table on N-MNIST",
    source="smilies-polito/neurotrain, arXiv 2605.15058 (2026)",
    dataset="nmnist",
    published={
        "ostl": "93.2 %",
        "osttp": "91.0 %",
        "ottt": "87.0 %",
        "decolle": "93.1 %",
        "etlp": "88.8 %",
        "stsf": "90.4 %",
        "traces-propagation": "96.3 %",
        "bptt": "96.8 %",
    },
    network="512",
    binning=Binning(10_000),
    epochs=20,
    batch_size=128,
    lr=1e-3,
    differs=(
        "theirs is the best of ten Optuna trials by final test accuracy; here nothing is tuned",
        "their time steps, batch and decay are not known to us",
    ),
)

if __name__ == "__main__":
    main(SETTING)
