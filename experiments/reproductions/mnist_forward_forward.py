"""Forward-Forward with spikes on MNIST.

python -m spikeprop.experiments.reproductions.mnist_forward_forward --data-dir DIR
"""

from spikeprop.experiments.reproductions.setting import Setting, main

SETTING = Setting(
    title="Forward-Forward with spiking neurons on MNIST",
    source="Ghader and Kheradpisheh, arXiv 2502.20411",
    dataset="mnist",
    published={
        "forward-forward-rate": "98.34 % (their repository), 98.69 % (first version of the paper)"
    },
    network="500-500",
    steps=10,
    epochs=60,
    batch_size=100,
    lr=1e-3,
    differs=(
        "sizes, epochs, batch, optimiser and rate are not known to us; T = 10 is theirs",
        "images are currents here; the goodness is this project's, of each neuron's rate",
        "their gradient goes through the window of T steps by a surrogate; ours needs none",
    ),
)

if __name__ == "__main__":
    main(SETTING)
