"""Checks of notebook 04, the time: as a row of waves (4.3), and how a block is told it (4.4, 4.5).

The oracles are loops over plain floats; tensors are what mistakes are made of. Layouts are tried on data whose axes
have equal lengths: there a wrong one runs without an error.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ddpm_edu.exercises.frame import CheckFailed, check
from ddpm_edu.exercises.unet_judge import AXES_OF_A_CHANNEL, Kind, Wrong, as_tensor, asked, close, judge, ways

# ---------------------------------------------------------------- the time as a row of waves

_FAR = 2000  # radians; beyond, float32 does not know the sine to three digits
_ROUNDED = (
    "Frequencies were rounded to whole numbers, or their exponents: divide with /, not //, and take 10_000.0 to the "
    "power, as whole numbers have whole powers."
)
_WHOLE_EXPONENTS: list[Callable[[int, int], float]] = [
    lambda k, half: 10_000.0 ** -(k // (half - 1)),
    lambda k, half: 10_000.0 ** (-k // (half - 1)),
    lambda k, half: int(k < half - 1),
    lambda k, half: int(k == 0),
]
_FREQUENCIES: Kind = [  # of k and the number of frequencies
    (lambda k, half: 10_000 ** (-k / (half - 1)), ""),
    (
        lambda k, half: 10_000 ** (-k / half),
        "k is divided by dim/2 (or 2k by dim: the same). Here it is dim/2 - 1.",
    ),
    (lambda k, half: 10_000 ** (-k / (2 * half)), "k is divided by dim: the frequencies end near 1/100. dim/2 - 1."),
    (
        lambda k, half: 10_000 ** (k / (half - 1)),
        "The frequencies are upside down: they fall from 1 to 1/10000, so the exponent is negative.",
    ),
    (
        lambda k, half: math.exp(-k / (half - 1)),
        "The frequencies end at 1/e in place of 1/10000: log(10000) is missing.",
    ),
    (lambda k, half: 1000 ** (-k / (half - 1)), "The base is 1000. It is 10000: the frequencies end at 1/10000."),
    (lambda k, half: 10_000 ** (-(k + 1) / (half - 1)), "k begins at 1. It begins at 0, so that w_0 is 1."),
    (lambda k, half: 10_000 ** (-(k + 1) / half), "k begins at 1, and is divided by dim/2: from 0, and dim/2 - 1."),
    (
        lambda k, half: 1 + (1e-4 - 1) * k / (half - 1),
        "The frequencies fall from 1 to 1/10000 by equal steps. They fall by equal factors: k is in the exponent.",
    ),
    (lambda k, half: 10_000.0**-k / (half - 1), "The bracket: dim/2 - 1 divides the exponent, not the power."),
    (lambda k, half: 10_000.0**-k, "k is not divided by dim/2 - 1: the second frequency is the last one already."),
    *[(rule, _ROUNDED) for rule in _WHOLE_EXPONENTS],
]
_TIMES: Kind = [
    (lambda t: t, ""),
    (lambda t: 1, "The time has no effect: the angle is w_k t, not w_k."),
    (math.radians, "torch.sin takes radians: convert nothing."),
    (math.degrees, "torch.sin takes radians: convert nothing."),
    (lambda t: math.tau * t, "A factor 2 pi too many: the angle is w_k t as it is."),
    (lambda t: t / 1000, "t was divided by T. Embed the number itself."),
    (lambda t: t - 1, "t - 1 was embedded. Times are 1..T here: embed t itself."),
]
_ORDERS: Kind = [  # of the row's number and its pairs (sine, cosine)
    (lambda n, pairs: [s for s, _ in pairs] + [c for _, c in pairs], ""),
    (lambda n, pairs: [c for _, c in pairs] + [s for s, _ in pairs], "The cosines come first. DDPM has the sines."),
    (
        lambda n, pairs: [x for pair in pairs for x in pair],
        "Sines and cosines alternate. DDPM has all sines, then all cosines.",
    ),
    (lambda n, pairs: [s for s, _ in pairs] * 2, "The sines come twice: the second half is cosines."),
    (lambda n, pairs: [c for _, c in pairs] * 2, "The cosines come twice: the first half is sines."),
    (
        lambda n, pairs: [pair[n % 2] for pair in pairs] * 2,
        "Some rows have sines only, the others cosines: table[0::2] takes rows. Columns are table[:, 0::2].",
    ),
]


def _waves(times: Sequence[int], dim: int) -> Iterator[tuple[Tensor, str]]:
    """The embedding, number by number, in every way that one gets it; the right one first."""
    half = dim // 2
    for (frequency, time, order), words in ways(_FREQUENCIES, _TIMES, _ORDERS):
        rows = []
        for n, t in enumerate(times):
            angles = [time(t) * frequency(k, half) for k in range(half)]
            angles = [a if abs(a) < _FAR else math.nan for a in angles]
            rows.append(order(n, [(math.sin(a), math.cos(a)) for a in angles]))
        values = torch.tensor(rows, dtype=torch.float64)
        if values.isnan().double().mean() < 0.6:  # else too little is known to tell it by
            yield values, words


_WAVE_CAUSES = [
    ("must match", "Each t (N of them) meets each frequency (dim/2 of them): t[:, None] makes a column of the times."),
]
_SCRAMBLED = (
    "The right numbers, but some stand in another sample's row. reshape and view only cut one long sequence anew, "
    "wherever its numbers belong: join sines and cosines along axis 1."
)


@check("4.3 the time as a row of waves")
def time_embedding(f: Callable[..., Any]) -> None:
    """f(t, dim) must be sin(w_k t) for k = 0..dim/2 - 1, then cos(w_k t), w_k = 10000^(-k / (dim/2 - 1)); (N, dim)."""
    for times, dim in (((1, 37, 400, 3, 2, 11), 12), ((1000, 2, 517), 128), ((250,), 4)):
        what = f"the embedding of t = {list(times)}, dim = {dim}"
        result = asked(f, torch.tensor(times), dim, causes=_WAVE_CAUSES)
        if isinstance(result, Tensor):
            _look_at_layout(result, len(times), dim, what)
        got, (want, _) = as_tensor(result, (len(times), dim), what), next(_waves(times, dim))
        mistakes = itertools.chain(_waves(times, dim), _misplaced(got, want))  # worked out only where it is wrong
        judge(got, want, mistakes, lambda n, k, what=what: f"{what}, number {k} of sample {n}", 1e-3)


def _look_at_layout(result: Tensor, n: int, dim: int, what: str) -> None:
    """Raises CheckFailed where the shape, or the type, says what went wrong."""
    shape = tuple(result.shape)
    if result.ndim == 1:
        raise CheckFailed("One row for all times came back. Each t meets all frequencies: t[:, None] * w.")
    if not result.is_floating_point():
        raise CheckFailed(f"The result is {result.dtype}: whole numbers cannot hold sines. Start with t.float().")
    hints: dict[tuple[int, ...], str] = {
        (n, dim // 2): "That is one half: sines and cosines are joined, torch.cat([sines, cosines], 1).",
        (n, 2 * dim): "There are dim/2 frequencies, not dim: each has a sine and a cosine.",
        (dim, n): "A row for each time, t[:, None] * w, and the cosines beside the sines: join along axis 1.",
    }
    hint = "Sines and cosines were stacked, not joined: torch.cat, along axis 1." if result.ndim == 3 else ""
    if shape != (n, dim) and (hint := hint or hints.get(shape, "")):
        raise CheckFailed(f"{what}: expected shape {(n, dim)}, got {shape}. {hint}")


def _misplaced(got: Tensor, want: Tensor) -> Wrong:
    """What has the right numbers in the wrong places."""
    n, dim = want.shape
    if n == dim // 2:
        turned = torch.cat([half.T for half in want.chunk(2, 1)], 1)
        yield turned, "Times and frequencies are swapped: a row for each time, t[:, None] * w."
    if close(got.sort(1)[0], want.sort(1)[0], 1e-3):
        yield got, "Each row has the right numbers in another order. Sines first, k rising in both."
    if close(got.flatten().sort()[0], want.flatten().sort()[0], 1e-3):
        yield got, _SCRAMBLED
    if got.abs().max() > 1.1:
        yield got, "Sines are never above 1. t belongs inside: sin(w_k t), not t sin(w_k)."


# ---------------------------------------------------------------- how a block is told the time

_AXES = "Sample and channel of {} met other axes than those of the image. Its shape must become (N, C, 1, 1)."
_SWAPPED = "Sample and channel are swapped: w is (N, C) already, do not transpose it."
_FIRST = "All samples get the first one's numbers. Each sample has a time of its own, and a row of w."


@check("4.4 telling a block the time")
def tell_time(f: Callable[..., Any]) -> None:
    """f(h, w) must be h (N, C, H, W) with w[n, c] added to all pixels of channel c of sample n."""
    _examine_pixels(f, 1, lambda pixel, w: pixel + w, _wrong_shifts)


@check("4.5 scale and shift")
def scale_shift(f: Callable[..., Any]) -> None:
    """f(normal, w, b) must be normal * (1 + w) + b, w and b (N, C) with one number a channel of each sample."""
    _examine_pixels(f, 2, lambda pixel, w, b: pixel * (1 + w) + b, _wrong_scales)


def _examine_pixels(f: Callable[..., Any], told: int, rule: Callable[..., float], wrong: Callable[..., Wrong]) -> None:
    """f(h, and ``told`` tensors (N, C)) must be ``rule`` of each pixel and its sample's and channel's numbers."""
    g = torch.Generator().manual_seed(0)
    for shape in ((3, 3, 3, 3), (2, 5, 4, 3)):
        h, *rest = [torch.randn(size, generator=g) for size in (shape, *[shape[:2]] * told)]
        results = [asked(f, x, *rest, causes=[AXES_OF_A_CHANNEL]) for x in (h, 10 * h)]
        got, ten_times = (as_tensor(result, shape, "the result") for result in results)
        channels = zip(h.flatten(0, 1).tolist(), *(x.flatten().tolist() for x in rest), strict=True)
        want = [[[rule(pixel, *own) for pixel in row] for row in channel] for channel, *own in channels]
        mistakes = [*wrong(h.double(), *(x.double() for x in rest))] if shape[0] == shape[3] else []
        if close(ten_times, got, 1e-2):
            mistakes.append((got, "Ten times the first input changes nothing: it is missing, or normalised again."))
        judge(got, torch.tensor(want).double().view(shape), mistakes, "sample {}, channel {}, pixel ({}, {})".format)


def _wrong_shifts(h: Tensor, w: Tensor) -> Wrong:
    own = w[:, :, None, None]
    return [
        (h + w, "Plain h + w lines w up with the last two axes: each pixel was shifted. " + _AXES.format("w")),
        *[(h + w.reshape(s), _AXES.format("w")) for s in ((3, 3, 1), (3, 1, 1, 3), (3, 1, 3, 1), (3, 1, 3))],
        (h + w.T[:, :, None, None], _SWAPPED),
        (h + own[:1], _FIRST),
        (h - own, "w is taken away. It is added."),
        (h + own + own, "w is added twice."),
        (h + own.mean(0), "All samples get the batch's mean of w. Each sample has a time of its own."),
        (h + own.mean(1, keepdim=True), "All channels of a sample get their mean. w has one number a channel."),
        (h + own.sum(1, keepdim=True), "All channels of a sample get the sum of w. It has one number a channel."),
        (h + w.mean(), "One number for all, the mean of w. It has one for each sample and channel."),
        *[(x, "You multiply. DDPM adds w; a scale comes in the next exercise.") for x in (h * own, h + h * own)],
    ]


def _wrong_scales(h: Tensor, w: Tensor, b: Tensor) -> Wrong:
    scale, shift = w[:, :, None, None], b[:, :, None, None]
    dead = (
        "The 1 is missing. With w near zero at the start, as it is, the branch is all but dead: hardly any gradient "
        "reaches the second convolution, which starts at zero."
    )
    return [
        (h * scale + shift, dead),
        ((h + shift) * (1 + scale), "1 + w multiplies b too. Scale first, then shift."),
        (h + shift * (1 + scale), "1 + w multiplies b. It belongs to `normal`."),
        (h + scale + shift, "w is added. It scales: normal * (1 + w), with the brackets."),
        (h * scale + 1 + shift, "The 1 is added to the result. It belongs to the scale: (1 + w)."),
        (h * (1 + shift) + scale, "w and b are swapped: w scales, b shifts."),
        (h * (1 + scale), "The shift b is missing."),
        (h * (1 + scale) - shift, "b is taken away. It is added."),
        (h * (1 - scale) + shift, "w is taken from 1. The scale is 1 + w."),
        (h / (1 + scale) + shift, "You divide by 1 + w: multiply."),
        (h + h * (1 + scale) + shift, "`normal` comes twice, so that the scale is 2 + w. The 1 is that term already."),
        (h * scale.exp() + shift, "exp(w) is close to 1 + w for small w only. AdaGN has 1 + w."),
        (h * (1 + w) + b, _AXES.format("w and b")),
        (h * (1 + w[:, :, None]) + b[:, :, None], _AXES.format("w and b")),
        (h * (1 + scale) + b, _AXES.format("b")),
        (h * (1 + w) + shift, _AXES.format("w")),
        (h * (1 + w.T[:, :, None, None]) + b.T[:, :, None, None], _SWAPPED),
        (h * (1 + scale[:1]) + shift[:1], _FIRST),
        (h * (1 + scale[:1]) + shift, _FIRST),
    ]
