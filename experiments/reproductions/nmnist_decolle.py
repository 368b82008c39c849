"""DECOLLE on N-MNIST: three convolutions.

python -m spikeprop.experiments.reproductions.nmnist_decolle --data-dir DIR
"""

from spikeprop.datasets import Binning
from spikeprop.experiments.reproductions.setting import Setting, main

SETTING = Setting(
    title="DECOLLE on N-MNIST",
    source="Kaiser, Mostafa, Neftci, Front. Neurosci. 14, 424 (2020); parameters of its code",
    dataset="nmnist",
    published={"decolle": "about 99.0 % (error 0.96 ± 0.12 %; from memory, not read)"},
    network="64C7-MP2-128C7-128C7-MP2",
    binning=Binning(1_000),
    slice_us=300_000,
    test_us=300_000,
    optimizer="adamax",
    epochs=200,
    batch_size=72,
    lr=3.6e-4,
    options={"decolle": {"first_step": 60}},
    differs=(
        "34 x 34 pixels, the authors crop to 32 x 32; their layer of 512 behind is left out",
        "rate, batch and epochs are those of their DVS Gesture setting",
        "cross-entropy on fixed readouts; the authors take a smooth L1 loss, and pool voltages",
    ),
)

if __name__ == "__main__":
    main(SETTING)
