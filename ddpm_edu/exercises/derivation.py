"""Derivations that check themselves: after each line of algebra, both sides are computed and compared."""

import torch
from torch import Tensor

from ddpm_edu.exercises.frame import CheckFailed


def same(left: str, a: Tensor | float, right: str, b: Tensor | float, tolerance: float = 1e-10) -> None:
    """Prints that both sides are equal, exactly or to within ``tolerance``; raises CheckFailed where they differ.

    ``left`` and ``right`` name the two sides. Shapes must be equal; the comparison is in float64 and relative to the
    largest magnitude on either side. ``tolerance=0`` claims bitwise equality and prints "exact". Otherwise the line
    says within what, not by how much: the last digits are another processor's business.
    """
    x, y = (torch.as_tensor(v, dtype=torch.float64) for v in (a, b))
    if x.shape != y.shape:
        raise CheckFailed(f"{left} has shape {tuple(x.shape)}, {right} has {tuple(y.shape)}: they cannot be the same.")
    scale = max(x.abs().max().item(), y.abs().max().item(), 1e-300)
    difference = (x - y).abs().max().item()
    if not difference <= tolerance * scale:  # also catches NaN
        raise CheckFailed(f"{left} and {right} differ: by {difference:.3g} at most, where their size is {scale:.3g}.")
    print(f"{left}  =  {right}   [{'exact' if tolerance == 0 else f'close: within {tolerance:.0e}'}]")
