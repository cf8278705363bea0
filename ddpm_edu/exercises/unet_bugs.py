"""The check of notebook 04 in which bugs are to be found: a residual block (4.8).

The oracle is the block in plain floats, pixel by pixel. What mistakes give is made of the same layers in torch.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_edu.exercises.frame import CheckFailed, check
from ddpm_edu.exercises.unet_answers import Layers
from ddpm_edu.exercises.unet_judge import AXES_OF_A_CHANNEL, Causes, Kind, Wrong, as_tensor, asked, close, judge, ways
from ddpm_edu.models.initial import bias_of
from ddpm_edu.models.resblock import ResBlock

Image = list[list[list[float]]]  # channel, row, pixel

# ---------------------------------------------------------------- the block in plain floats


def _silu(v: float) -> float:
    return v / (1 + math.exp(-v))


def _of_each(rule: Callable[..., float], *images: Image) -> Image:
    """``rule`` of the pixels that stand in the same place."""
    return [
        [[rule(*pixels) for pixels in zip(*rows, strict=True)] for rows in zip(*channels, strict=True)]
        for channels in zip(*images, strict=True)
    ]


def _normal(image: Image, norm: Any) -> Image:
    """Each group of channels brought to mean 0 and variance 1, each channel then scaled and shifted."""
    size, result = len(image) // norm.num_groups, []
    for c, channel in enumerate(image):
        group = [v for other in image[c // size * size :][:size] for row in other for v in row]
        mean = sum(group) / len(group)
        spread = math.sqrt(sum((v - mean) ** 2 for v in group) / len(group) + norm.eps)
        scale, shift = norm.weight[c].item(), norm.bias[c].item()
        result.append([[scale * (v - mean) / spread + shift for v in row] for row in channel])
    return result


def _convolved(image: Image, convolution: Any) -> Image:
    """Each pixel of each output channel: the window around it, weighted; beyond the border are zeros."""
    weight, bias = convolution.weight.tolist(), convolution.bias.tolist()
    reach, high, wide = len(weight[0][0]) // 2, len(image[0]), len(image[0][0])

    def at(kernels: list[Any], y: int, x: int) -> float:
        window = [
            (y + dy, x + dx, dy + reach, dx + reach)
            for dy in range(-reach, reach + 1)
            for dx in range(-reach, reach + 1)
            if 0 <= y + dy < high and 0 <= x + dx < wide
        ]
        return sum(k[i][j] * channel[b][a] for channel, k in zip(image, kernels, strict=True) for b, a, i, j in window)

    return [
        [[b + at(kernels, y, x) for x in range(wide)] for y in range(high)]
        for kernels, b in zip(weight, bias, strict=True)
    ]


def _block(layers: Any, x: Image, told: Sequence[float]) -> Image:
    """DDPM's residual block of one sample."""
    h = _convolved(_of_each(_silu, _normal(x, layers.norm1)), layers.conv1)
    rows = zip(layers.time.weight.tolist(), layers.time.bias.tolist(), strict=True)
    shifts = [sum(w * _silu(v) for w, v in zip(row, told, strict=True)) + b for row, b in rows]
    h = [[[v + shift for v in row] for row in channel] for channel, shift in zip(h, shifts, strict=True)]
    h = _convolved(_of_each(_silu, _normal(h, layers.norm2)), layers.conv2)
    straight = x if isinstance(layers.shortcut, nn.Identity) else _convolved(x, layers.shortcut)
    return _of_each(lambda a, b: a + b, straight, h)


# ---------------------------------------------------------------- what mistakes give


def _as_is(h: Tensor) -> Tensor:
    return h


_ORDER = "SiLU comes before the {} norm. DDPM normalises first: norm, SiLU, convolution."
_FIRST: Kind = [  # before the first convolution
    (lambda s: [s.norm1, F.silu], ""),
    (lambda s: [F.silu, s.norm1], _ORDER.format("first")),
    (lambda s: [s.norm1], "The first SiLU is missing."),
    (lambda s: [s.norm1, F.relu], "ReLU stands in the first half. DDPM has SiLU."),
    (lambda s: [F.silu], "The first norm is missing."),
    (lambda s: [], "Norm and SiLU before the first convolution are missing."),
]
_SECOND: Kind = [  # before the second one
    (lambda s: (s.norm2, F.silu), ""),
    (lambda s: (F.silu, s.norm2), _ORDER.format("second")),
    (lambda s: (s.norm2, _as_is), "The second SiLU is missing."),
    (lambda s: (s.norm2, F.relu), "ReLU stands in the second half. DDPM has SiLU."),
    (lambda s: (_as_is, F.silu), "The second norm is missing."),
    (lambda s: (_as_is, _as_is), "Norm and SiLU before the second convolution are missing."),
]
_FIRST_NORM_TWICE: Kind = [(lambda s: (s.norm1, F.silu), "norm1 stands in both places. The second one is norm2.")]
_READS: Kind = [(F.silu, ""), (_as_is, "The told vector goes into its layer as it is: SiLU first.")]
_SHIFTS: Kind = [  # how often the time is added: before the second norm, after it, after SiLU, after the convolution
    ((1, 0, 0, 0), ""),
    ((0, 1, 0, 0), "The time is added after the second norm. In DDPM it is added before, to what conv1 gives."),
    ((0, 0, 1, 0), "The time is added after the second SiLU. In DDPM it is added to what conv1 gives."),
    (
        (0, 0, 0, 1),
        "The time is added after the second convolution, where it only shifts channels. It belongs between the two.",
    ),
    ((0, 0, 0, 0), "The block is not told the time."),
    ((1, 0, 0, 1), "The time is added twice."),
]
_BEHIND = "The skip carries x {}. It carries x itself, so that a new block returns its input."
_TWICE = [(lambda s, x: x, lambda s, x: x), (None, lambda s, x: 2 * x)]
_SKIPS: Kind = [  # what is added before the second norm, and at the end
    ((None, lambda s, x: x), ""),
    ((None, None), "The skip is left out: shortcut(x) is added at the end."),
    ((None, lambda s, x: s.norm1(x)), _BEHIND.format("after the norm")),
    ((None, lambda s, x: F.silu(s.norm1(x))), _BEHIND.format("after norm and SiLU")),
    ((lambda s, x: x, None), "The skip is added before the second norm. It goes round both: add it at the end."),
    *[(twice, "The skip is added twice. Once, at the end.") for twice in _TWICE],
]


def _assembled(s: Layers, x: Tensor, told: Tensor, choice: Sequence[Any]) -> Tensor:
    """The block, put together in one of the ways above."""
    first, second, reads, times, (middle, end) = choice
    shift, h = s.time(reads(told))[:, :, None, None], x
    for layer in first(s):
        h = layer(h)
    h = s.conv1(h)
    if middle:
        h = h + s.shortcut(middle(s, x))
    for layer, often in zip((*second(s), s.conv2), times, strict=False):
        h = layer(h + often * shift)
    h = h + times[-1] * shift
    return h + s.shortcut(end(s, x)) if end else h


def _wrong_blocks(s: Layers, x: Tensor, told: Tensor) -> Wrong:
    same_width = s.norm1.num_channels == s.norm2.num_channels
    second = [*_SECOND, *_FIRST_NORM_TWICE] if same_width else _SECOND
    for choice, words in ways(_FIRST, second, _READS, _SHIFTS, _SKIPS, most=3):
        yield _assembled(s, x, told, choice), words
    yield (
        F.silu(_assembled(s, x, told, next(ways(_FIRST, second, _READS, _SHIFTS, _SKIPS))[0])),
        ("A SiLU comes after the sum. Nothing does: what a block returns may have any sign."),
    )
    if same_width:
        yield from _halves(s, x, s.time(F.silu(told))[:, :, None, None])


def _halves(s: Layers, x: Tensor, shift: Tensor) -> Wrong:
    """What comes of a half that is left out, or done by the other's convolution. They run where no width changes."""
    h = s.conv1(F.silu(s.norm1(x))) + shift
    yield x + s.conv1(F.silu(s.norm2(h))), "conv1 stands in both places. The second one is conv2."
    for told in (0 * shift, shift):
        yield x + s.conv2(F.silu(s.norm2(x + told))), "The first half is left out: norm2 reads what conv1 gives."
        yield x + s.conv1(F.silu(s.norm1(x))) + told, "The second half is left out: norm2, SiLU, conv2."


# ---------------------------------------------------------------- the check

_WIDER = "The number of channels changes here: add layers.shortcut(x), which is a 1 x 1 convolution then."
_ELSEWHERE = "Each layer has the channels of its place: norm1 and conv1 read x, norm2 and conv2 what conv1 gives."
_CAUSES: Causes = [
    ("(4) must match the size of tensor b (6)", _WIDER),
    ("(6) must match the size of tensor b (4)", _WIDER),
    AXES_OF_A_CHANNEL,
    ("weight of size", _ELSEWHERE),
    ("to have 4 channels", _ELSEWHERE),
    ("Expected weight to be a vector", _ELSEWHERE),
]


@check("4.8 find the bugs: a residual block")
def mended_block(f: Callable[..., Any]) -> None:
    """f(layers, x, told) must be DDPM's residual block, put together of ``layers``."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for width in (4, 6):
            layers, x, told = _example(width)
            _examine_at_rest(f, layers, x, told)
        _examine_in_training(f, layers, x, told)


def _example(width: int) -> tuple[Layers, Tensor, Tensor]:
    """A block from 4 channels to ``width`` with no weight at 0 or 1, and what it reads: two samples."""
    g = torch.Generator().manual_seed(width)
    layers = Layers(ResBlock(4, width, 5, "add", 2, 1e-6, 0.5)).double().eval()
    for p in layers.parameters():
        p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64) * 0.5 + (p.ndim == 1))
    return layers, torch.randn(2, 4, 3, 5, generator=g).double(), torch.randn(2, 5, generator=g).double()


def _examine_at_rest(f: Callable[..., Any], layers: Layers, x: Tensor, told: Tensor) -> None:
    """Without dropout there is one right result."""
    want = torch.tensor([_block(layers, *sample) for sample in zip(x.tolist(), told.tolist(), strict=True)]).double()
    got, again = (as_tensor(asked(f, layers, x, told, causes=_CAUSES), tuple(want.shape), "the result") for _ in "ab")
    if not torch.equal(got, again):
        raise CheckFailed(
            "Asked twice the same, the block gives two answers, after layers.eval(). F.dropout drops whenever it is "
            "called; layers.dropout does so in training only."
        )
    judge(got, want, _wrong_blocks(layers, x, told), "sample {}, channel {}, pixel ({}, {})".format, 1e-6)


def _examine_in_training(f: Callable[..., Any], layers: Layers, x: Tensor, told: Tensor) -> None:
    """With a dropout that drops all, only the shortcut and the bias of the last convolution are left."""
    straight = layers.shortcut(x)
    at_rest = asked(f, layers, x, told)
    layers.train()
    layers.dropout.p = 1.0
    want = straight + bias_of(layers.conv2)[:, None, None]
    got = as_tensor(asked(f, layers, x, told, causes=_CAUSES), tuple(want.shape), "the result in training")
    if close(got, want, 1e-6):
        return
    if close(got, at_rest, 1e-6):
        raise CheckFailed("In training nothing is dropped: layers.dropout comes just before the second convolution.")
    if close(got, straight, 1e-6):
        raise CheckFailed("Dropout comes after the second convolution. It comes just before it.")
    if not got.any():
        raise CheckFailed("Dropout drops the skip as well. It comes just before the second convolution.")
    raise CheckFailed("Dropout is in another place: it comes just before the second convolution, after norm and SiLU.")
