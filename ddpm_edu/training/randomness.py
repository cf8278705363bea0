"""Randomness as a function of where one is: whoever knows (seed, step) can draw the same numbers again."""

import hashlib

import torch


def generator(*key: int) -> torch.Generator:
    """A CPU generator for this key of integers, such as (seed, step): equal keys, equal numbers."""
    return torch.Generator().manual_seed(seed_of(*key))


def seed_of(*key: int) -> int:
    """32 bits of a hash of the key: neighbouring keys have nothing in common.

    torch's CPU generator looks at the low 32 bits of a seed only, so that seed * 2^32 + step would give every seed the
    same numbers, and seed + step would give seed 1 those of seed 0, one step later.
    """
    return int.from_bytes(hashlib.sha256(repr(tuple(map(int, key))).encode()).digest()[:4], "big")
