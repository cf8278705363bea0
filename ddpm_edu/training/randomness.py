"""Randomness as a function of where one is: whoever knows (seed, step) can draw the same numbers again."""

import numpy as np
import torch


def generator(*key: int) -> torch.Generator:
    """A CPU generator for this key of integers >= 0, such as (seed, step): equal keys, equal numbers.

    The key is hashed: torch's CPU generator looks at the low 32 bits of a seed only, so that seed * 2^32 + step would
    be the same for every seed, and neighbouring seeds without a hash start alike.
    """
    (word,) = np.random.SeedSequence(key).generate_state(1)
    return torch.Generator().manual_seed(int(word))
