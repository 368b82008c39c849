"""Published settings, one file and one command each: docs/reproductions.md lists them.

    python -m spikeprop.experiments.reproductions.nmnist_etlp --data-dir DIR

A file only says what the setting is (:mod:`.setting`); training and report are shared.
"""
