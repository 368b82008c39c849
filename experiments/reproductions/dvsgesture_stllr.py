"""S-TLLR on DVS Gesture: VGG-9.

python -m spikeprop.experiments.reproductions.dvsgesture_stllr --data-dir DIR
"""

from spikeprop.datasets import Binning
from spikeprop.experiments.reproductions.setting import Setting, main

SETTING = Setting(
    title="S-TLLR on DVS Gesture",
    source="Apolinario and Roy, TMLR (2025)",
    dataset="dvsgesture",
    published={"s-tllr": "97.72 ± 0.38 % (second-hand); BPTT on the same network 95.58 ± 1.08 %"},
    network="64C3-128C3-AP2-256C3-256C3-AP2-512C3-512C3-AP2-512C3-512C3-AP2",
    norm=True,
    binning=Binning(75_000, None, None, True, 4),
    slice_us=1_500_000,
    test_us=1_500_000,
    beta=0.5,
    epochs=300,
    batch_size=16,
    lr=1e-3,
    options={"s-tllr": {"first_step": 15}},
    differs=(
        "batch norms; optimiser, rate and decay are not known to us",
        "the first learning signal comes at step 15, as theirs",
    ),
)

if __name__ == "__main__":
    main(SETTING)
