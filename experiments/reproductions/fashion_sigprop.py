"""Signal propagation on Fashion-MNIST: the paper's convolutional network.

python -m spikeprop.experiments.reproductions.fashion_sigprop --data-dir DIR
"""

from dataclasses import replace

from spikeprop.experiments.reproductions import mnist_sigprop
from spikeprop.experiments.reproductions.setting import main

SETTING = replace(
    mnist_sigprop.SETTING,
    title="Signal propagation, spiking, on Fashion-MNIST",
    dataset="fashion-mnist",
    published={
        "sp-voltage": "10.68 % test error (second-hand, from a report that quotes the paper)",
        "sp-surrogate": "9.51 % test error (second-hand)",
        "sigprop": "none: this project's tuned recipe on the same network",
    },
)

if __name__ == "__main__":
    main(SETTING)
