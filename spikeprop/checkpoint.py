"""Nested state in one file: tensors by safetensors, everything else as JSON in its header.

Loading never executes code. A file appears whole or not at all, and carries a SHA-256 of all that
it holds, so that a bit that flips on its way is found.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from spikeprop.datasets.files import write_atomically

__all__ = ["load_state", "save_state", "write_tensors"]

#: Mark the metadata entries; version 1 had no digest.
_KEY, _DIGEST, _VERSION = "spikeprop_state", "spikeprop_sha256", 2


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
    text = json.dumps({"version": _VERSION, "tree": _pack(state, "", tensors)})
    header = {_KEY: text, _DIGEST: _digest(text, tensors)}
    write_tensors(path, tensors, header)


def write_tensors(
    path: str | Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write tensors alone to a safetensors file, whole or not at all.

    Parameters
    ----------
    path : str or Path
        File to write; an older file is replaced only once the new one is whole.
    tensors : dict of str to Tensor
        On the CPU, contiguous.
    metadata : dict of str to str, optional
        Goes into the file's header.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    # Not save_file: it has a temporary file of its own, which only its owner may read, and which
    # stays behind when the process is killed.
    content = save(tensors, metadata=metadata)
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


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
        version = tree["version"]
        if version not in (1, _VERSION):
            raise ValueError(
                f"{path} has state version {version!r}, this spikeprop reads {_VERSION}"
            )
        unsealed = version == 1 and _DIGEST not in metadata
        if not unsealed and metadata[_DIGEST] != _digest(metadata[_KEY], tensors):
            raise ValueError(f"{path} is damaged: its content has another SHA-256 than it had")
        state = _unpack(tree["tree"], tensors)
    except (KeyError, TypeError, AttributeError, RecursionError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} holds a damaged spikeprop state: {error!r:.200}") from error
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds a damaged spikeprop state: no dictionary at its root")
    return state


def _digest(text: str, tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {list(value.shape)} ".encode())
        content: Any = value.reshape(-1).view(torch.uint8).numpy()
        digest.update(content)
    return digest.hexdigest()


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
