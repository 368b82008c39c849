"""OTTT on DVS Gesture: VGG-11.

python -m spikeprop.experiments.reproductions.dvsgesture_ottt --data-dir DIR
"""

from spikeprop.datasets import Binning
from spikeprop.experiments.reproductions.setting import Setting, main

SETTING = Setting(
    title="Online training through time (OTTT) on DVS Gesture",
    source="Xiao et al., NeurIPS 2022; train_dvsgesture.py of its code",
    dataset="dvsgesture",
    published={"ottt": "96.88 % (second-hand; its code reports the best test epoch)"},
    network="64C3-128C3-AP2-256C3-256C3-AP2-512C3-512C3-AP2-512C3-512C3-AP2",
    norm=True,
    binning=Binning(None, 20),
    beta=0.5,
    epochs=300,
    batch_size=16,
    lr=1e-3,
    cosine=True,
    differs=(
        "eight convolutions in the order that VGG-11 usually has, then the classes",
        "20 frames of equal duration, where the authors' hold equal numbers of events",
        "batch norms, where the authors standardise weights; decay and schedule are this project's",
        "cross-entropy alone, without their small share of a squared error",
    ),
)

if __name__ == "__main__":
    main(SETTING)
