"""DECOLLE on DVS Gesture: three convolutions.

python -m spikeprop.experiments.reproductions.dvsgesture_decolle --data-dir DIR
"""

from spikeprop.datasets import Binning
from spikeprop.experiments.reproductions.setting import Setting, main

SETTING = Setting(
    title="DECOLLE on DVS Gesture",
    source="Kaiser, Mostafa, Neftci, Front. Neurosci. 14, 424 (2020); parameters of its code",
    dataset="dvsgesture",
    published={"decolle": "95.54 ± 0.16 % (from memory, not read)"},
    network="64C7-MP2-128C7-128C7-MP2",
    binning=Binning(1_000, None, None, True, 4),
    slice_us=500_000,
    test_us=1_800_000,
    optimizer="adamax",
    epochs=200,
    batch_size=72,
    lr=3.6e-4,
    options={"decolle": {"first_step": 100}},
    differs=(
        "cross-entropy on fixed readouts; the authors take a smooth L1 loss, and pool voltages",
        "slices that follow each other, where the authors draw windows; decay is this project's",
    ),
)

if __name__ == "__main__":
    main(SETTING)
