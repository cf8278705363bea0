"""Checks of notebook 04: the time as a row of waves, how a block is told it, attention, and what a network costs.

The oracles are loops over plain floats, sums done by hand, and sets of pixels; tensors are what mistakes are made of.
Layouts are tried on data whose axes have equal lengths: there a wrong one runs without an error.
"""

import math
import numbers
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ddpm_edu.exercises.frame import CheckFailed, call, check, tensor_like

Wrong = list[tuple[Tensor, str]]  # what a mistake gives (NaN: may be anything), and what to say about it
Layers = list[tuple[int, int]]

# ---------------------------------------------------------------- the time as a row of waves

FAR = 2000  # radians; beyond, float32 does not know the sine to three digits


def _angles(t: int, k: int, half: int) -> list[tuple[float, str]]:
    """The angle w_k t, then what it becomes by mistake."""
    w = 10_000 ** (-k / (half - 1))
    return [
        (w * t, ""),
        (t * 10_000 ** (-k / half), "k is divided by dim/2 (or 2k by dim: the same). Here it is dim/2 - 1."),
        (t / w, "The frequencies are upside down: they fall from 1 to 1/10000, so the exponent is negative."),
        (t * math.exp(-k / (half - 1)), "The frequencies end at 1/e in place of 1/10000: log(10000) is missing."),
        (w, "The time has no effect: the angle is w_k t, not w_k."),
        (math.radians(w * t), "torch.sin takes radians: convert nothing."),
        (math.degrees(w * t), "torch.sin takes radians: convert nothing."),
        (math.tau * w * t, "A factor 2 pi too many: the angle is w_k t as it is."),
        (w * t / 1000, "t was divided by T. Embed the number itself."),
    ]


_ORDERS: list[tuple[Callable[[list[tuple[float, float]]], list[float]], str]] = [
    (lambda pairs: [s for s, _ in pairs] + [c for _, c in pairs], ""),
    (lambda pairs: [c for _, c in pairs] + [s for s, _ in pairs], "The cosines come first. DDPM has the sines first."),
    (lambda pairs: [x for pair in pairs for x in pair], "Sines and cosines alternate. DDPM has the sines first."),
]


def _waves(times: Sequence[int], dim: int) -> Iterator[tuple[Tensor, str]]:
    """The embedding with every angle in every order, number by number; the right one first."""
    cells = [[_angles(t, k, dim // 2) for k in range(dim // 2)] for t in times]
    for i, (_, about_angle) in enumerate(cells[0][0]):
        angles = [[cell[i][0] if abs(cell[i][0]) < FAR else math.nan for cell in row] for row in cells]
        for order, about_order in _ORDERS:
            rows = [order([(math.sin(a), math.cos(a)) for a in row]) for row in angles]
            yield torch.tensor(rows, dtype=torch.float64), f"{about_angle} {about_order}".strip()


@check("4.3 the time as a row of waves")
def time_embedding(f: Callable[..., Any]) -> None:
    """f(t, dim) must be sin(w_k t) for k = 0..dim/2 - 1, then cos(w_k t), w_k = 10000^(-k / (dim/2 - 1)); (N, dim)."""
    scrambled = (
        "The right numbers, but some stand in another sample's row. reshape and view only cut one long sequence anew, "
        "wherever its numbers belong: join sines and cosines along axis 1."
    )
    for times, dim in (((1, 37, 400, 3), 8), ((1000, 2, 517), 128), ((250,), 4)):
        result, what = call(f, torch.tensor(times), dim), f"the embedding of t = {list(times)}, dim = {dim}"
        if isinstance(result, Tensor) and result.ndim == 1:
            raise CheckFailed("One row for all times came back. Each t meets all frequencies: t[:, None] * w.")
        if isinstance(result, Tensor) and not result.is_floating_point():
            raise CheckFailed(f"The result is {result.dtype}: whole numbers cannot hold sines. Start with t.float().")
        got = _tensor(result, (len(times), dim), what)
        (want, _), *wrong = _waves(times, dim)
        if len(times) == dim // 2:
            turned = torch.cat([half.T for half in want.chunk(2, 1)], 1)
            wrong.append((turned, "Times and frequencies are swapped: a row for each time, t[:, None] * w."))
        if _close(got.sort(1)[0], want.sort(1)[0], 1e-3):
            wrong.append((got, "Each row has the right numbers in another order. Sines first, k rising in both."))
        elif _close(got.flatten().sort()[0], want.flatten().sort()[0], 1e-3):
            wrong.append((got, scrambled))
        _judge(got, want, wrong, lambda n, k, what=what: f"{what}, number {k} of sample {n}", 1e-3)


# ---------------------------------------------------------------- how a block is told the time

AXES = "Sample and channel of {} met other axes than those of the image. Its shape must become (N, C, 1, 1)."
SWAPPED = "Sample and channel are swapped: w is (N, C) already, do not transpose it."
FIRST = "All samples get the first one's numbers. Each sample has a time of its own, and a row of w."


def _normal(*shapes: tuple[int, ...]) -> list[Tensor]:
    """Random numbers in float32, as a network sees them."""
    g = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=g) for shape in shapes]


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
    for shape in ((3, 3, 3, 3), (2, 5, 4, 3)):
        h, *rest = _normal(shape, *[shape[:2]] * told)
        got, ten_times = (_tensor(call(f, x, *rest), shape, "the result") for x in (h, 10 * h))
        channels = zip(h.flatten(0, 1).tolist(), *(x.flatten().tolist() for x in rest), strict=True)
        want = [[[rule(pixel, *own) for pixel in row] for row in channel] for channel, *own in channels]
        mistakes = wrong(h.double(), *(x.double() for x in rest)) if shape[0] == shape[3] else []
        if _close(ten_times, got, 1e-2):
            mistakes.append((got, "Ten times the first input changes nothing: it is missing, or normalised again."))
        _judge(got, torch.tensor(want).double().view(shape), mistakes, "sample {}, channel {}, pixel ({}, {})".format)


def _wrong_shifts(h: Tensor, w: Tensor) -> Wrong:
    own = w[:, :, None, None]
    return [
        (h + w, "Plain h + w lines w up with the last two axes: each pixel was shifted. " + AXES.format("w")),
        *[(h + w.reshape(s), AXES.format("w")) for s in ((3, 3, 1), (3, 1, 1, 3), (3, 1, 3, 1), (3, 1, 3))],
        (h + w.T[:, :, None, None], SWAPPED),
        (h + own[:1], FIRST),
        (h + own.mean(0), "All samples get the batch's mean of w. Each sample has a time of its own."),
        (h + own.mean(1, keepdim=True), "All channels of a sample get their mean. w has one number a channel."),
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
        (h * scale.exp() + shift, "exp(w) is close to 1 + w for small w only. AdaGN has 1 + w."),
        (h * (1 + w) + b, AXES.format("w and b")),
        (h * (1 + w[:, :, None]) + b[:, :, None], AXES.format("w and b")),
        (h * (1 + scale) + b, AXES.format("b")),
        (h * (1 + w.T[:, :, None, None]) + b.T[:, :, None, None], SWAPPED),
        (h * (1 + scale[:1]) + shift[:1], FIRST),
        (h * (1 + scale[:1]) + shift, FIRST),
    ]


# ---------------------------------------------------------------- attention


def _attend(queries: list[list[float]], keys: list[list[float]], values: list[list[float]]) -> list[list[float]]:
    """One sample, query by query: the average of the values, weighted by exp(q . k / sqrt(d))."""
    rows = []
    for q in queries:
        scores = [sum(a * b for a, b in zip(q, k, strict=True)) / math.sqrt(len(q)) for k in keys]
        weights = [math.exp(score - max(scores)) for score in scores]
        columns = [[w * x for w, x in zip(weights, column, strict=True)] for column in zip(*values, strict=True)]
        rows.append([sum(column) / sum(weights) for column in columns])
    return rows


@check("4.6 attention")
def attention(f: Callable[..., Any]) -> None:
    """f(q, k, v) must be softmax(q k^T / sqrt(d)) v: q (N, X, d), k (N, M, d), v (N, M, e) -> (N, X, e)."""
    threes, (q, k, v) = _normal(*[(3, 3, 3)] * 3), _normal((2, 3, 4), (2, 5, 4), (2, 5, 6))
    overflow = " Large scores overflow exp. torch.softmax copes: it takes the largest away first."
    for tensors, if_nan in ((threes, ""), ([q, k, v], ""), ([100 * q, 100 * k, v], overflow)):
        want = torch.tensor([_attend(*sample) for sample in zip(*(x.tolist() for x in tensors), strict=True)]).double()
        got = _tensor(call(f, *tensors), tuple(want.shape), "the result", if_nan)
        _judge(got, want, _wrong_scores(*(x.double() for x in tensors)), "sample {}, query {}, number {}".format)


def _wrong_scores(q: Tensor, k: Tensor, v: Tensor) -> Wrong:
    (m, d), e, scores = k.shape[1:], v.shape[2], q @ k.mT

    def by(scores: Tensor, axis: int = -1) -> Tensor:
        return torch.softmax(scores, axis) @ v

    right, root = by(scores / math.sqrt(d)), math.sqrt(d)
    wrong = [
        (by(scores), "The scores are not scaled: divide q k^T by sqrt(d)."),
        (by(scores / d), "You divide by d. A sum of d products is about sqrt(d) in size: divide by the root."),
        (by(scores * root), "You multiply by sqrt(d): divide by it."),
        (by(scores / math.sqrt(e)), "You divide by the root of e, a value's length. Take d, the length of a query."),
        (by(scores / math.sqrt(m)), "You divide by the root of M, the number of keys. Take d, the length of a query."),
        (by(scores) / root, "You scale after the softmax. Scale the scores, before it."),
        (by(scores / root, 1), "The softmax runs over the queries. It runs over the keys, the last axis."),
        (by(scores / root, 0), "The softmax runs over the batch. It runs over the keys, the last axis."),
        (scores / root @ v, "The softmax is missing: the weights of a query are positive and sum to 1."),
        ((scores / root).exp() @ v, "The weights of a query are not divided by their sum."),
        (right.mean(0).expand_as(right), "All samples get the batch's mean. Samples never mix."),
    ]
    if q.shape == k.shape == v.shape:  # elsewhere these stop with an error, or have another shape
        wrong += [
            (by(q @ k / root), "k is not transposed. q . k sums over d: q @ k.transpose(1, 2)."),
            (by(q @ k.permute(2, 1, 0) / root), "k.T turns all three axes round. Use k.transpose(1, 2)."),
            (by(k @ q.mT / root), "q and k are swapped. Each query has a row of weights over the keys: q k^T."),
            (torch.softmax(scores / root, -1).mT @ v, "The weights meet v transposed. Each query's row sums to 1."),
        ]
    return wrong


# ---------------------------------------------------------------- what it costs

_BLOCKS = {  # (c_in, c_out, e): norms + convolution + time + convolution + shortcut, by hand; 32 groups fit all
    (32, 64, 5): 192 + 18_496 + 384 + 36_928 + 2112,
    (64, 64, 3): 256 + 36_928 + 256 + 36_928,
    (96, 32, 4): 256 + 27_680 + 160 + 9248 + 3104,
    (128, 256, 512): 768 + 295_168 + 131_328 + 590_080 + 33_024,
}
TWO = "A group norm has two numbers a channel, a scale and a shift."


@check("4.2 counting a block's parameters")
def block_parameters(f: Callable[..., Any]) -> None:
    """f(c_in, c_out, e) must be the number of parameters of DDPM's residual block."""
    blocks = list(_BLOCKS)
    got, want = _whole_numbers(f, blocks), torch.tensor(list(_BLOCKS.values())).double()
    i, o, e = torch.tensor(blocks).double().T
    norms = got - want + 2 * i + 2 * o
    if (norms == norms[0]).all() and norms[0] != 0:
        raise CheckFailed(f"Your group norms have {norms[0]:.0f} in every block. {TWO} Groups do not count.")
    wrong = [(want - missing, message) for missing, message in _left_out(i, o, e)]
    _judge(got, want, wrong, lambda n: "c_in = {}, c_out = {}, e = {}".format(*blocks[n]))


def _left_out(i: Tensor, o: Tensor, e: Tensor) -> Wrong:
    differ = (i != o).double()
    return [
        (3 * o + o * differ, "All biases are missing: c_out for each convolution and for the time."),
        (2 * o + o * differ, "The biases of the convolutions are missing: c_out each."),
        (o, "c_out are missing: a bias. Both 3x3 convolutions and the time's layer have one."),
        (o * differ, "The shortcut's bias is missing: c_out."),
        ((i * o + o) * differ, "Where c_in and c_out differ, the shortcut is a 1x1 convolution: it is missing."),
        ((i * o + o) * (differ - 1), "Where c_in and c_out are equal, the shortcut is x itself: no parameters."),
        (e * o + o, "The time's layer is missing: from e to c_out, with bias."),
        (-(e * o + o), "The time's layer gives 2 c_out numbers in AdaGN. In DDPM it gives c_out."),
        (2 * i + 2 * o, "The group norms are missing. " + TWO),
        (i + o, TWO),
        (2 * i, "The group norm over c_in channels is missing."),
        (2 * o, "2 c_out are missing: the second group norm, or the biases of both 3x3 convolutions."),
        (2 * o - 2 * i, "The second group norm follows a convolution: it has c_out channels."),
        (8 * o * (i + o), "The 9 is missing: a 3x3 kernel has nine numbers a pair of channels."),
        (6 * o * (i + o), "3 in place of 9: a 3x3 kernel has nine numbers a pair of channels."),
        (9 * o * (o - i), "The second convolution goes from c_out to c_out."),
        (9 * o * o + o, "The second 3x3 convolution is missing."),
    ]


_NETWORKS: tuple[Layers, ...] = (
    [(3, 1)],
    [(3, 1), (3, 1)],
    [(3, 2), (3, 1)],
    [(3, 1), (3, 2)],
    [(5, 1), (4, 2), (1, 1), (3, 2), (2, 2), (3, 1)],
)


@check("4.1 how far a pixel sees")
def receptive_field(f: Callable[..., Any]) -> None:
    """f(layers), (kernel, stride) from first to last, must be how many input pixels a side one output pixel sees."""
    got = _whole_numbers(f, [([*layers],) for layers in _NETWORKS])
    want = torch.tensor([_pixels_seen(layers) for layers in _NETWORKS]).double()
    wrong = [(torch.tensor([rule(n) for n in _NETWORKS]), message) for rule, message in _WRONG_FIELDS]
    _judge(got, want, wrong, lambda n: f"layers = {_NETWORKS[n]}")


def _pixels_seen(layers: Layers) -> int:
    """From one pixel of the result back to the set of pixels that it depends on."""
    seen = {0}
    for kernel, stride in reversed(layers):
        seen = {stride * pixel + i for pixel in seen for i in range(kernel)}
    return len(seen)


def _summed(layers: Layers, first: int, last: int) -> int:
    """1 + sum of (kernel - 1) times the strides of layers i + ``first`` to i + ``last``, the latter left out."""
    strides = [math.prod(s for _, s in layers[max(0, i + first) : i + last]) for i in range(len(layers))]
    return 1 + sum((kernel - 1) * product for (kernel, _), product in zip(layers, strides, strict=True))


_WRONG_FIELDS: list[tuple[Callable[[Layers], int], str]] = [
    (lambda n: sum(k for k, _ in n), "That is the sum of the kernels. A layer adds (kernel - 1) * strides before it."),
    (lambda n: math.prod(k for k, _ in n), "You multiply kernels. A layer adds (kernel - 1) * strides before it."),
    (lambda n: _summed(n, 0, 0), "Strides have no effect. After a stride of 2, one pixel is two of the input."),
    (lambda n: _summed(n, -99, 1), "A layer's own stride does not widen what it sees: take those before it."),
    (lambda n: _summed(n, -1, 0), "Only the stride just before is used. Take the product of all before."),
    (lambda n: _pixels_seen(n) - 1, "Too small by 1: with no layer at all, a pixel sees itself. Start from 1."),
    (lambda n: _pixels_seen(n[::-1]), "The layers are in reverse order: the list begins at the input."),
    (lambda n: _pixels_seen(n) ** 2, "That is the area. Asked for is the number of pixels a side."),
]


@check("4.7 how many checkpoints")
def best_checkpoints(f: Callable[..., Any]) -> None:
    """f(n) must be a k in 1..n with the least k + ceil(n / k). Often several k tie: each of them is right."""
    many = (16, 10, 30, 100, 1000)  # on fewer layers, mistakes look alike
    numbers_of_layers = [*many, *range(1, 61)]
    got = _whole_numbers(f, [(n,) for n in numbers_of_layers])
    for n, k in zip(numbers_of_layers, got.long().tolist(), strict=True):
        memory = _memory(n)
        best = min(memory, key=memory.__getitem__)
        if memory.get(k) == memory[best]:
            continue
        for values, message in _wrong_segments(torch.tensor(many).double()):
            if torch.equal(values, got[: len(many)]):
                raise CheckFailed(message)
        if k not in memory:
            raise CheckFailed(f"n = {n}: {k} segments. There is at least one, and there are no more than layers.")
        raise CheckFailed(f"n = {n}: k = {k} keeps {memory[k]} units in memory, k = {best} only {memory[best]}.")


def _memory(n: int) -> dict[int, int]:
    """For each k: boundaries, and the longest of k segments when n layers are dealt out among them one by one."""
    return {k: k + max(len(range(i, n, k)) for i in range(k)) for k in range(1, n + 1)}


def _wrong_segments(n: Tensor) -> Wrong:
    few = "That grows as log2(n). With so few segments each is long, and a whole one is in memory at once."
    return [
        (n // 2, "n // 2 segments keep n // 2 boundaries: far fewer do."),
        (n, "With n segments every layer is a boundary, and all are kept: nothing is saved."),
        (n**0, "One segment is the whole network: computed again, all of it is in memory at once."),
        *[(logs, few) for logs in (n.log2().floor(), n.log2().ceil())],
        ((2 * n.sqrt()).ceil(), "That is the least memory. Asked for is the k that reaches it."),
    ]


# ---------------------------------------------------------------- judging


def _tensor(result: Any, shape: tuple[int, ...], what: str, if_nan: str = "") -> Tensor:
    """``result`` as float64; refused where its shape is another or it has NaN, without the hints of other pages."""
    if isinstance(result, Tensor) and tuple(result.shape) != shape:
        raise CheckFailed(f"{what}: expected shape {shape}, got {tuple(result.shape)}.")
    if isinstance(result, Tensor) and not result.isfinite().all():
        raise CheckFailed(f"{what}: {int((~result.isfinite()).sum())} values are NaN or infinite.{if_nan}")
    return tensor_like(result, shape, what)


def _whole_numbers(f: Callable[..., Any], cases: Sequence[tuple[Any, ...]]) -> Tensor:
    """f of each case as float64; refused where it is no whole number, of whatever type."""
    found = []
    for case in cases:
        result = call(f, *case)
        if result is None:
            raise CheckFailed("Your function returned None where a number was expected. Did you forget `return`?")
        number = result.item() if isinstance(result, Tensor) and result.numel() == 1 else result
        if not isinstance(number, numbers.Real) or not float(number).is_integer():
            raise CheckFailed(f"f({', '.join(map(str, case))}): expected a whole number, got {number}.")
        found.append(float(number))
    return torch.tensor(found, dtype=torch.float64)


def _close(got: Tensor, want: Tensor, tolerance: float = 1e-4) -> bool:
    return bool((((got - want).abs() < tolerance) | want.isnan()).all())


def _judge(got: Tensor, want: Tensor, wrong: Wrong, where: Callable[..., str], tolerance: float = 1e-4) -> None:
    """Raises CheckFailed unless got is want: with the message of the mistake that gives got, or with a place."""
    if _close(got, want, tolerance):
        return
    for values, message in wrong:
        if _close(got, values, tolerance):
            raise CheckFailed(message)
    place = tuple(((got - want).abs() >= tolerance).nonzero()[0].tolist())
    expected, came = (f"{x[place].item():,.4f}".rstrip("0").rstrip(".") for x in (want, got))
    raise CheckFailed(f"{where(*place)}: expected {expected}, got {came}.")
