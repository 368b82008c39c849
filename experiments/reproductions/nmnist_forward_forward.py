"""Forward-Forward with integrate-and-fire neurons on N-MNIST.

python -m spikeprop.experiments.reproductions.nmnist_forward_forward --data-dir DIR
"""

from spikeprop.datasets import Binning
from spikeprop.experiments.reproductions.setting import Setting, main

SETTING = Setting(
    title="Forward-Forward with spiking neurons on N-MNIST",
    source="student project, JulienInWired/IC_IRP_2023_SpikingForwardForward (2023)",
    dataset="nmnist",
    published={"forward-forward-rate": "58.5 % (error 41.5 ± 2 %)"},
    network="1000-500",
    beta=1.0,
    binning=Binning(None, 15),
    epochs=1,
    batch_size=100,
    lr=1e-3,
    differs=("batch and rate are not known to us; its layers also collaborate, ours do not",),
)

if __name__ == "__main__":
    main(SETTING)
