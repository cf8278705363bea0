"""The check of notebook 06 in which an evaluation is to be mended. The oracle: the closed form in a plane."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ddpm_edu.errors import DDPMError
from ddpm_edu.exercises.evaluation_judge import Row, alike, in_a_byte, matrix, mean_and_products, nearest_level, number
from ddpm_edu.exercises.frame import CheckFailed, call, check

LOGIT = 3.0


class TwoPixels(nn.Module):
    """A network for the check: its features are an image's two pixels; in training mode the second one is lost.

    What it returns itself is not its features, as with a classifier, which returns the logits of classes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.in_training: list[bool] = []

    def embed(self, images: Tensor) -> Tensor:
        """(N, 1, 1, 2) -> (N, 2)."""
        self.in_training.append(self.training)
        kept = torch.tensor([1.0, 0.0 if self.training else 1.0], dtype=images.dtype)
        return images.flatten(1) * kept

    def forward(self, images: Tensor) -> Tensor:
        """(N, 1, 1, 2) -> (N, 2), the logits."""
        return LOGIT * self.embed(images)


def _in_the_plane(a: Sequence[Row], b: Sequence[Row]) -> float:
    """The Frechet distance in two dimensions: Tr (A B)^(1/2) = (Tr A B + 2 (det A det B)^(1/2))^(1/2)."""
    (ma, ca), (mb, cb) = (mean_and_products(rows, len(rows) - 1) for rows in (a, b))
    product = sum(ca[i][j] * cb[j][i] for i in range(2) for j in range(2))
    dets = [c[0][0] * c[1][1] - c[0][1] * c[1][0] for c in (ca, cb)]
    root = math.sqrt(product + 2 * math.sqrt(max(0.0, dets[0] * dets[1])))
    return math.dist(ma, mb) ** 2 + sum(c[i][i] for c in (ca, cb) for i in range(2)) - 2 * root


_Doors: dict[str, Callable[[float], float]] = {
    "": lambda v: 2 * nearest_level(v) / 255 - 1,
    "samples are truncated to 8 bits, which darkens them": lambda v: 2 * int(in_a_byte((v + 1) * 127.5)) / 255 - 1,
    "what lies outside [-1, 1] wraps around": lambda v: 2 * (round((v + 1) * 127.5) % 256) / 255 - 1,
    "samples are truncated to 8 bits, and what lies outside [-1, 1] wraps around": lambda v: (
        2 * (int((v + 1) * 127.5) % 256) / 255 - 1
    ),
    "samples do not go through 8 bits, as a file would have them": lambda v: v,
    "samples are clamped, and do not go through 8 bits": lambda v: min(max(v, -1.0), 1.0),
    "samples stay bytes, 0 to 255, and the network knows -1 to 1": nearest_level,
    "samples lie in 0 to 1 after the bytes, and the network knows -1 to 1": lambda v: nearest_level(v) / 255,
    "bytes are divided by 128: 255 must be 1 again, so by 127.5": lambda v: nearest_level(v) / 128 - 1,
}
_Turn = Callable[[list[Row], list[Row]], tuple[list[Row], list[Row]]]


def _mirrored(rows: list[Row]) -> list[Row]:
    return [row[::-1] for row in rows]


def _in_training(rows: list[Row]) -> list[Row]:
    """What TwoPixels makes of them in training mode."""
    return [[row[0], 0.0] for row in rows]


_References: dict[str, _Turn] = {
    "": lambda made, real: (made, real),
    "mirrored images are in the reference": lambda made, real: (made, real + _mirrored(real)),
    "the reference is mirrored": lambda made, real: (made, _mirrored(real)),
    "mirrored images are in both sets (that hides a model that draws them)": lambda made, real: (
        made + _mirrored(made),
        real + _mirrored(real),
    ),
}
_Modes: dict[str, _Turn] = {
    "": lambda made, real: (made, real),
    "the network is in training mode: net.eval()": lambda made, real: (_in_training(made), _in_training(real)),
    "the samples' features are from training mode: net.eval() before the first embed": lambda made, real: (
        _in_training(made),
        real,
    ),
    "the real images' features are from training mode: net.eval() before the first embed": lambda made, real: (
        made,
        _in_training(real),
    ),
}
_Results: dict[str, Callable[[float], float]] = {
    "": lambda d: d,
    "that is a root (this distance stays squared)": math.sqrt,
    "net(images) are a classifier's logits (features are net.embed(images))": lambda d: LOGIT**2 * d,
}


@check("6.7 find the bugs: an evaluation")
def honest_distance(f: Callable[..., Any]) -> None:
    """f(net, samples, real) must be the Frechet distance of net.embed of both, after the four bugs are mended."""
    net = TwoPixels().train()
    samples = (matrix(60, 2, 0) * torch.tensor([2.4, 1.9]) - torch.tensor([1.1, 0.7])).view(60, 1, 1, 2).float()
    samples[..., 1] += 0.4 * samples[..., 0]
    real = (matrix(50, 2, 1) * torch.tensor([200, 120])).round().view(50, 1, 1, 2).float() / 127.5 - 1
    try:
        got = number(call(f, net, samples, real), "the distance")
    except CheckFailed as refusal:
        if net.in_training or not isinstance(refusal.__cause__, DDPMError):
            raise
        raise CheckFailed(
            "Another network than `net`, the argument, was asked: features are net.embed(images)."
        ) from refusal
    if not net.in_training:
        raise CheckFailed("The network was never asked: features are net.embed(images).")
    made, truth = (images.double().flatten(1).tolist() for images in (samples, real))
    left = _with_faults(made, truth)
    for value, faults in left:
        if alike([got], [value]) or math.isclose(got, value, rel_tol=1e-4):
            if not faults:
                return
            raise CheckFailed(f"Still wrong: {'; '.join(faults)}.")
    want = left[0][0]
    mode = " The network was asked in training mode." if any(net.in_training) else ""
    raise CheckFailed(f"Expected {want:.4f}, got {got:.4f}.{mode} Use metrics.frechet_distance on net.embed of both.")


def _with_faults(made: list[Row], truth: list[Row]) -> list[tuple[float, list[str]]]:
    """The distance with each choice of faults, and their names; few faults first, none in the first place."""
    found: list[tuple[float, list[str]]] = []
    stored = {door: [[to(v) for v in row] for row in made] for door, to in _Doors.items()}
    for (door, rows), (turn, by), (mode, keep) in itertools.product(
        stored.items(), _References.items(), _Modes.items()
    ):
        value = _in_the_plane(*keep(*by(rows, truth)))
        faults = [fault for fault in (door, turn, mode) if fault]
        found += [(of(value), faults + [result] * bool(result)) for result, of in _Results.items()]
    return sorted(found, key=lambda each: len(each[1]))
