"""Signal propagation on MNIST: the paper's convolutional network.

python -m spikeprop.experiments.reproductions.mnist_sigprop --data-dir DIR
"""

from spikeprop.experiments.reproductions.setting import Setting, main

SETTING = Setting(
    title="Signal propagation, spiking, on MNIST",
    source="Kohan, Rietman, Siegelmann, arXiv 2204.01723, section VI",
    dataset="mnist",
    published={
        "sp-voltage": "2.63 % test error (second-hand, from a report that quotes the paper)",
        "sp-surrogate": "1.01 % test error (second-hand)",
        "sigprop": "none: this project's tuned recipe on the same network",
    },
    network="20C3-MP2-40C3-MP2-128",
    steps=4,
    beta=1.0,
    threshold=0.5,
    norm=True,
    options={"sigprop": {"evidence": "running-mean"}},
    epochs=10,
    batch_size=100,
    lr=1e-3,
    cosine=True,
    differs=(
        "epochs, batch, optimiser and rate are not known to us; these are this project's",
        "classes by the nearest signal, where the paper trains a classifier",
        "a re-implementation by others of the paper's rule stayed at chance",
    ),
)

if __name__ == "__main__":
    main(SETTING)
