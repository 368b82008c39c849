"""IDX files, the format of MNIST and its kin.

::

    bytes 0, 1     zero
    byte 2         type of the values: 8 is unsigned bytes, the only one read here
    byte 3         number of dimensions
    then           their sizes, uint32 big-endian each
    then           the values, last dimension fastest

Source: the description at http://yann.lecun.com/exdb/mnist.
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["read_idx"]

UNSIGNED_BYTES = 8
LIMIT = 1 << 32


def read_idx(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, compressed (``.gz``) or not.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is none of this type, or not as long as it says.
    """
    path = Path(path)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(4)
            if len(head) < 4 or head[:3] != bytes([0, 0, UNSIGNED_BYTES]) or head[3] == 0:
                raise ValueError(f"{path}: not an IDX file of unsigned bytes: begins {head!r}")
            sizes = file.read(4 * head[3])
            if len(sizes) < 4 * head[3]:
                raise ValueError(f"{path}: truncated at byte {4 + len(sizes)}, in its sizes")
            shape = tuple(int(v) for v in np.frombuffer(sizes, ">u4"))
            count = math.prod(shape)
            if count > LIMIT:
                raise ValueError(f"{path}: says that it holds {shape} values, more than {LIMIT}")
            data = file.read(count + 1)  # one more than there should be
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: damaged: {error}") from None
    if len(data) != count:
        found = f"{len(data)}" if len(data) < count else "more"
        raise ValueError(f"{path}: {shape} are {count} values, and it holds {found}")
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)
