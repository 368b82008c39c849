"""SLTT on DVS Gesture: VGG-11.

python -m spikeprop.experiments.reproductions.dvsgesture_sltt --data-dir DIR
"""

from spikeprop.datasets import Binning
from spikeprop.experiments.reproductions.setting import Setting, main

SETTING = Setting(
    title="Spatial learning through time (SLTT) on DVS Gesture",
    source="Meng et al., ICCV 2023; README of its code",
    dataset="dvsgesture",
    published={"sltt": "97.92 % (from memory, not read)"},
    network="64C3-128C3-AP2-256C3-256C3-AP2-512C3-512C3-AP2-512C3-512C3-AP2",
    norm=True,
    binning=Binning(None, 20),
    optimizer="sgd",
    weight_decay=5e-4,
    beta=0.5,
    epochs=300,
    batch_size=16,
    lr=0.1,
    cosine=True,
    differs=(
        "eight convolutions in the order that VGG-11 usually has, then the classes",
        "20 frames of equal duration, where the authors' hold equal numbers of events",
        "no dropout (0.4 there), no momentum; decay and schedule are this project's",
    ),
)

if __name__ == "__main__":
    main(SETTING)
