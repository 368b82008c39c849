"""Nested state in one file: tensors by safetensors, everything else as JSON in its header.

Loading never executes code. A file appears whole or not at all.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from spikeprop.datasets.files import write_atomically

__all__ = ["load_state", "save_state"]

#: Marks the metadata entry, and its version.
_KEY, _VERSION = "spikeprop_state", 1


def save_state(path: str | Path, state: dict[str, Any]) -> None:
    """Write nested dictionaries, lists and tuples of tensors, numbers, strings and None.

    Parameters
    ----------
    path : str or Path
        File to write; an older file is replaced only once the new one is whole.
    state : dict
        Keys may be strings or integers.

    Raises
    ------
    TypeError
        If something in ``state`` cannot be stored without code.
    OSError
        If the file cannot be written.
    """
    tensors: dict[str, torch.Tensor] = {}
    tree = {"version": _VERSION, "tree": _pack(state, "", tensors)}
    header = {_KEY: json.dumps(tree)}
    write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata=header))


def load_state(path: str | Path) -> dict[str, Any]:
    """Read what :func:`save_state` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, was not written by :func:`save_state`, or by another version.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged or no safetensors file: {error}") from error
    if _KEY not in metadata:
        raise ValueError(f"{path} holds no spikeprop state (is it a file of weights alone?)")
    try:
        tree = json.loads(metadata[_KEY])
        if tree["version"] != _VERSION:
            raise ValueError(
                f"{path} has state version {tree['version']!r}, this spikeprop reads {_VERSION}"
            )
        state = _unpack(tree["tree"], tensors)
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} holds a damaged spikeprop state: {error!r}") from error
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds a damaged spikeprop state: no dictionary at its root")
    return state


def _pack(value: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        # A copy of its own: safetensors refuses tensors that share memory.
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {"tensor": name}
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, (str, int)):
                raise TypeError(f"state '{name}' has the key {key!r}; keys are strings or integers")
        return {
            "dict": [[k, _pack(v, f"{name}.{k}".lstrip("."), tensors)] for k, v in value.items()]
        }
    if isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_pack(v, f"{name}.{i}", tensors) for i, v in enumerate(value)]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(
        f"state '{name}' is a {type(value).__name__}; only tensors, numbers, strings, None, and "
        f"dictionaries, lists and tuples of them can be stored without code"
    )


def _unpack(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _unpack(item, tensors) for key, item in content}
    items = [_unpack(item, tensors) for item in content]
    return items if kind == "list" else tuple(items)
