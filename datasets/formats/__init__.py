r"""Event files of every common format, read by one function and written by another.

:func:`read_recording` tells the format by the first bytes (and by the name where there are none):

========================  ==========================  ============================================
format                    usual name                  first bytes
========================  ==========================  ============================================
AEDAT 2, 3.1, 4           ``.aedat``, ``.aedat4``     ``#!AER-DAT``
Prophesee RAW             ``.raw``                    ``%`` and a space (EVT 2.0, 2.1, 3.0)
Prophesee DAT             ``.dat``                    ``%`` and a space
ATIS (N-MNIST)            ``.bin``                    none: by name
Event Stream              ``.es``                     ``Event Stream``
NumPy                     ``.npy``, ``.npz``          as NumPy writes them
HDF5                      ``.h5``, ``.hdf5``          ``\x89HDF``
MATLAB                    ``.mat``                    ``MATLAB 5.0``, or HDF5
text                      ``.csv``, ``.txt``          none: numbers, or names of columns
ROS bag                   ``.bag``                    ``#ROSBAG V2.0``
========================  ==========================  ============================================

x grows to the right and y downwards, from 0; t is in microseconds; p is 0 (OFF) or 1 (ON).

Damage is never silent, and never more than an error: a file that is damaged before its first event
raises ``ValueError`` with the file and the byte; one that is damaged later gives the events before
that place with a :class:`DamageWarning`, or the error too where ``strict`` is given. No file takes
more memory than its events, up to ``max_events``, and reading never executes code.
"""

from spikeprop.datasets.formats.reading import (
    DamageWarning,
    Recording,
    format_of,
    open_recording,
    read_recording,
)
from spikeprop.datasets.formats.source import DamageError, Stream
from spikeprop.datasets.formats.writing import write_recording

__all__ = [
    "DamageError",
    "DamageWarning",
    "Recording",
    "Stream",
    "format_of",
    "open_recording",
    "read_recording",
    "write_recording",
]
