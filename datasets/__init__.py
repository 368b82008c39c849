"""Event data: recordings of event cameras, cut into time steps, in batches.

- :class:`NMNIST` and :class:`SaccadeDigits` are map-style data sets of ``(events, label)``;
  ``events`` is a structured array with the fields x, y, t (microseconds) and p.
  ``SaccadeDigits`` needs no download: it is made on first use and kept in a cache.
- :class:`SaccadeImages` is any set of images seen by the same simulated camera as
  ``SaccadeDigits``; :class:`SaccadeMNIST` is MNIST so, whole.
- :class:`SimulatedGestures` is eleven arm gestures of simulated people at 128 x 128 pixels, which
  differ in direction and order in time.
- :class:`Binning` says how a recording is cut into time steps (15 ms each by default), and
  :func:`bin_events` does it for a whole batch: float32, shape (T, B, P, H, W);
  :func:`bin_events_on` does it on the device that trains.
- :func:`make_loader` makes a loader of such batches from any of these sets, or from one of your own
  with the same attributes; ``NMNIST.loader(...)`` and ``SaccadeDigits.loader(...)`` do all of it at
  once. Order and augmentation depend on ``(seed, epoch)`` only.
- :class:`EventBatch` is the same batch as sparse events, never made dense:
  :func:`bin_events_sparse`, or ``sparse=True`` of the loaders.
- :mod:`augment` changes events at random, a batch at a time: ``make_loader(augment=[...])``.
- :class:`EventStore` is a whole split in one memory-mapped file, the fastest to read:
  :func:`stored` makes it of any set once, and opens it from then on.
- :func:`split_validation` and :func:`kfold` split a training set: stratified, seeded.
- Your own data: :class:`EventArrays` of arrays or of any ``Dataset`` of ``(events, label)``,
  :func:`sequence_loader` for tensors ``(T, ...)``, :class:`EventFolder` for files.
- Published sets are opened by name, :func:`open_set`, or by class; ``CATALOGUE`` lists them, and
  :class:`EventFolder` is any folder of ``class/recording``.
- :func:`read_recording` reads event files of every common format
  (:mod:`spikeprop.datasets.formats`), and :func:`write_recording` writes some.
- :func:`read_events` and :func:`write_events` read and write the event files of N-MNIST;
  :func:`first_saccade` and :func:`stabilize` do what tonic's options of these names do.
"""

from spikeprop.datasets import augment
from spikeprop.datasets.bin_format import read_events, write_events
from spikeprop.datasets.binning import Binning, bin_events, length_mask
from spikeprop.datasets.catalogue import CATALOGUE, open_set
from spikeprop.datasets.columns import EventColumns
from spikeprop.datasets.device_binning import bin_events_on
from spikeprop.datasets.dvs_gesture import DVSGesture
from spikeprop.datasets.events import (
    EVENT_DTYPE,
    EventDataset,
    Events,
    make_events,
    shift_events,
)
from spikeprop.datasets.formats import (
    DamageWarning,
    Recording,
    open_recording,
    read_recording,
    write_recording,
)
from spikeprop.datasets.heidelberg import SHD, SSC
from spikeprop.datasets.images import MNIST, SMNIST, FashionMNIST
from spikeprop.datasets.loader import EventLoader, make_loader
from spikeprop.datasets.nmnist import NMNIST
from spikeprop.datasets.own import EventArrays, sequence_loader
from spikeprop.datasets.published import ASLDVS, CIFAR10DVS, DVSLip, NCaltech101, PokerDVS
from spikeprop.datasets.recording_files import EventFolder
from spikeprop.datasets.saccade_digits import SaccadeDigits
from spikeprop.datasets.saccade_images import SaccadeImages, SaccadeMNIST
from spikeprop.datasets.saccades import SaccadeSet, first_saccade, stabilize
from spikeprop.datasets.simulated_gestures import SimulatedGestures
from spikeprop.datasets.slicing import EventSlices
from spikeprop.datasets.sparse import EventBatch
from spikeprop.datasets.sparse_binning import bin_events_sparse
from spikeprop.datasets.splits import hashed_split, hold_out, kfold, split_validation
from spikeprop.datasets.store import EventStore
from spikeprop.datasets.store_writer import stored, write_store
from spikeprop.datasets.time_order import TimeOrder

__all__ = [
    "ASLDVS",
    "CATALOGUE",
    "CIFAR10DVS",
    "EVENT_DTYPE",
    "MNIST",
    "NMNIST",
    "SHD",
    "SMNIST",
    "SSC",
    "Binning",
    "DVSGesture",
    "DVSLip",
    "DamageWarning",
    "EventArrays",
    "EventBatch",
    "EventColumns",
    "EventDataset",
    "EventFolder",
    "EventLoader",
    "EventSlices",
    "EventStore",
    "Events",
    "FashionMNIST",
    "NCaltech101",
    "PokerDVS",
    "Recording",
    "SaccadeDigits",
    "SaccadeImages",
    "SaccadeMNIST",
    "SaccadeSet",
    "SimulatedGestures",
    "TimeOrder",
    "augment",
    "bin_events",
    "bin_events_on",
    "bin_events_sparse",
    "first_saccade",
    "hashed_split",
    "hold_out",
    "kfold",
    "length_mask",
    "make_events",
    "make_loader",
    "open_recording",
    "open_set",
    "read_events",
    "read_recording",
    "sequence_loader",
    "shift_events",
    "split_validation",
    "stabilize",
    "stored",
    "write_events",
    "write_recording",
    "write_store",
]
