"""Small tensors gain nothing from threads, and one thread keeps sums in one order."""

from __future__ import annotations

import os

import pytest
import torch
from browser import axe, chromium, page
from hypothesis import settings

__all__ = ["axe", "chromium", "page"]  # fixtures, for every test

# The same examples in every run; HYPOTHESIS_PROFILE=default looks for new ones.
settings.register_profile("same", derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

torch.set_num_threads(1)
if not torch.cuda.is_available():  # CUDA kernels then run in Triton's interpreter; read at import
    os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="no CUDA device")
    for item in items:
        if "cuda" in item.keywords:
            item.add_marker(skip)
