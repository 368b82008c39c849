"""NeuroTrain's table on DVS Gesture: one network, many rules.

python -m spikeprop.experiments.reproductions.dvsgesture_neurotrain --data-dir DIR
"""

from spikeprop.datasets import Binning
from spikeprop.experiments.reproductions.setting import Setting, main

SETTING = Setting(
    title="NeuroTrain's like-for-like table on DVS Gesture",
    source="smilies-polito/neurotrain, arXiv 2605.15058 (2026)",
    dataset="dvsgesture",
    published={
        "ostl": "71.2 %",
        "osttp": "69.3 %",
        "ottt": "57.2 %",
        "decolle": "70.8 %",
        "etlp": "63.6 %",
        "stsf": "70.8 %",
        "traces-propagation": "68.6 %",
        "bptt": "68.9 %",
    },
    network="2048",
    binning=Binning(75_000),
    epochs=20,
    batch_size=16,
    lr=1e-3,
    differs=(
        "theirs is the best of ten Optuna trials by final test accuracy; here nothing is tuned",
        "their time steps, batch and decay are not known to us",
    ),
)

if __name__ == "__main__":
    main(SETTING)
