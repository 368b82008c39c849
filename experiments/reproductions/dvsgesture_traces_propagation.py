"""Traces Propagation on DVS Gesture: VGG-9.

python -m spikeprop.experiments.reproductions.dvsgesture_traces_propagation --data-dir DIR
"""

from spikeprop.datasets import Binning
from spikeprop.experiments.reproductions.setting import Setting, main

SETTING = Setting(
    title="Traces Propagation on DVS Gesture",
    source="Pes et al., Neuromorph. Comput. Eng. 6, 014002 (2026), experiments/dvsgesture.sh",
    dataset="dvsgesture",
    published={
        "traces-propagation": "98.18 ± 0.15 % (top five of ten seeds, best test epoch); in the "
        "same logs, all ten seeds, final epoch: 95.61 ± 1.02 %",
        "bptt": "98.07 ± 0.55 % (best test epoch), 95.64 ± 1.19 % (final), by the same code",
    },
    network="64C3-128C3-AP2-256C3-256C3-AP2-512C3-512C3-AP2-512C3-512C3-AP2",
    norm=True,
    binning=Binning(75_000, None, None, True, 4),
    slice_us=1_575_000,
    beta=0.5,
    epochs=200,
    batch_size=64,
    lr=1e-3,
    differs=(
        "rate and decay are this project's; the layers are those that S-TLLR names for its VGG-9",
        "frames hold a spike or none, not counts",
    ),
)

if __name__ == "__main__":
    main(SETTING)
