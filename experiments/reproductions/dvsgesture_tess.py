"""TESS on DVS Gesture: VGG-9.

python -m spikeprop.experiments.reproductions.dvsgesture_tess --data-dir DIR
"""

from spikeprop.datasets import Binning
from spikeprop.experiments.reproductions.setting import Setting, main
from spikeprop.rules.base import ONCE

SETTING = Setting(
    title="TESS on DVS Gesture",
    source="Apolinario, Roy, Frenkel, arXiv 2502.01837; script.sh of its code",
    dataset="dvsgesture",
    published={"tess": "98.56 ± 0.31 %; an independent run of its code gave 91.67 %"},
    network="64C3-128C3-AP2-256C3-256C3-AP2-512C3-512C3-AP2-512C3-512C3-AP2",
    norm=True,
    binning=Binning(75_000, None, None, True, 4),
    slice_us=1_500_000,
    test_us=1_500_000,
    beta=0.5,
    epochs=200,
    batch_size=16,
    lr=1e-3,
    update_every=ONCE,
    options={"tess": {"alpha_post": 1.0}},
    differs=(
        "the layers are those that S-TLLR names for its VGG-9",
        "batch norms, where the authors standardise weights; T = 20 by the first 1.5 s in the test",
        "decay is this project's",
    ),
)

if __name__ == "__main__":
    main(SETTING)
