"""One hash for all that a checkpoint holds, to see whether two runs are the same, bit for bit.

Not that of the file: torch writes equal contents as different bytes, by which of their parts are one object in memory.
"""

import hashlib
from typing import Any

import torch


def fingerprint(state: Any) -> str:
    """16 hexadecimal digits: a hash of every tensor, number and word in nested dicts and lists, and of their names."""
    content = hashlib.sha256()
    _add(content, state)
    return content.hexdigest()[:16]


def _add(content: Any, part: Any) -> None:
    if isinstance(part, dict):
        for key in sorted(part, key=str):
            _add(content, key)
            _add(content, part[key])
    elif isinstance(part, list | tuple):
        for each in part:
            _add(content, each)
    elif isinstance(part, torch.Tensor):
        content.update(f"{part.dtype} {tuple(part.shape)}".encode())
        content.update(part.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    else:
        content.update(repr(part).encode() + b";")
