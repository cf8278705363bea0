"""Checks of notebook 04, what is counted: pixels seen (4.1), parameters (4.2), results kept in memory (4.7).

The oracles are sums done by hand, sets of pixels, and layers dealt out one by one.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ddpm_edu.exercises.frame import CheckFailed, check
from ddpm_edu.exercises.unet_judge import Kind, Wrong, judge, ways, whole_numbers

Layers = list[tuple[int, int]]

# ---------------------------------------------------------------- how far a pixel sees

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
    causes = [("index out of range", "The last layer has no next one. A step is made by the layers before.")]
    got = whole_numbers(f, [([*layers],) for layers in _NETWORKS], causes)
    want = torch.tensor([_pixels_seen(layers) for layers in _NETWORKS]).double()
    judge(got, want, _wrong_fields(), lambda n: f"layers = {_NETWORKS[n]}")


def _pixels_seen(layers: Layers) -> int:
    """From one pixel of the result back to the set of pixels that it depends on."""
    seen = {0}
    for kernel, stride in reversed(layers):
        seen = {stride * pixel + i for pixel in seen for i in range(kernel)}
    return len(seen)


_BEFORE = "A layer adds (kernel - 1) * the product of the strides before it."
_MIXED = "The sum for the way back is (n - 1) * stride + kernel, and it begins at the last layer."
_WHOLE_FIELDS: list[tuple[Callable[[Layers], int], str]] = [
    (lambda n: sum(k for k, _ in n), f"That is the sum of the kernels. {_BEFORE}"),
    (lambda n: math.prod(k for k, _ in n), f"You multiply kernels. {_BEFORE}"),
    (lambda n: math.prod(k * s for k, s in n), f"You multiply kernels. {_BEFORE}"),
    (lambda n: max(k for k, _ in n), f"That is the largest kernel. Layers see further together: {_BEFORE}"),
    (lambda n: _first_to_last(n), _MIXED),
    (lambda n: _pixels_seen(n) ** 2, "That is the area. Asked for is the number of pixels a side."),
]
_STARTS: Kind = [(1, ""), (0, "Too small by 1: with no layer at all, a pixel sees itself. Start from 1.")]
_ADDED: Kind = [
    (lambda kernel: kernel - 1, ""),
    (lambda kernel: kernel, "A layer adds kernel - 1 steps, not kernel: the windows of neighbours overlap."),
    (lambda kernel: (kernel - 1) // 2, "That looks to one side only: kernel - 1 counts both."),
]
_STEPS: Kind = [  # of the strides before, and the layer's own
    (lambda before, own: math.prod(before), ""),
    (lambda before, own: 1, "Strides have no effect. After a stride of 2, one pixel is two of the input."),
    (
        lambda before, own: math.prod(before) * own,
        "A layer's own stride does not widen what it sees: take those before it.",
    ),
    (lambda before, own: own, "Only the layer's own stride is used. Take the product of those before it."),
    (lambda before, own: [1, *before][-1], "Only the stride just before is used. Take the product of all before."),
    (lambda before, own: 1 + sum(before), "Strides are added up. Two strides of 2 make a step of 4: multiply them."),
    (lambda before, own: sum(before), "Strides are added up. Two strides of 2 make a step of 4: multiply them."),
    (lambda before, own: sum(before) - len(before) + 1, "Strides are added up. Two strides of 2 make 4: multiply."),
]
_DIRECTIONS: Kind = [(1, ""), (-1, "The layers are in reverse order: the list begins at the input.")]


def _wrong_fields() -> Iterator[tuple[Tensor, str]]:
    for rule, words in _WHOLE_FIELDS:
        yield torch.tensor([rule(network) for network in _NETWORKS]), words
    for choice, words in ways(_STARTS, _ADDED, _STEPS, _DIRECTIONS):
        yield torch.tensor([_summed(network, *choice) for network in _NETWORKS]), words


def _summed(layers: Layers, start: int, added: Callable[..., int], step: Callable[..., int], direction: int) -> int:
    """start + the sum over layers of added(kernel) * step(strides before, own stride)."""
    layers = layers[::direction]
    strides = [stride for _, stride in layers]
    return start + sum(added(kernel) * step(strides[:i], own) for i, (kernel, own) in enumerate(layers))


def _first_to_last(layers: Layers) -> int:
    """What is seen by n * stride + kernel - 1, a mixture of both directions."""
    seen = 1
    for kernel, stride in layers:
        seen = seen * stride + kernel - 1
    return seen


# ---------------------------------------------------------------- the parameters of a block

_BLOCKS = {  # (c_in, c_out, e): norms + convolution + time + convolution + shortcut, by hand; 32 groups fit all
    (32, 64, 5): 192 + 18_496 + 384 + 36_928 + 2112,
    (64, 64, 3): 256 + 36_928 + 256 + 36_928,
    (96, 32, 4): 256 + 27_680 + 160 + 9248 + 3104,
    (128, 256, 512): 768 + 295_168 + 131_328 + 590_080 + 33_024,
}
_TWO = "A group norm has two numbers a channel, a scale and a shift."


@check("4.2 counting a block's parameters")
def block_parameters(f: Callable[..., Any]) -> None:
    """f(c_in, c_out, e) must be the number of parameters of DDPM's residual block."""
    blocks = list(_BLOCKS)
    got, want = whole_numbers(f, blocks), torch.tensor(list(_BLOCKS.values())).double()
    i, o, _ = torch.tensor(blocks).double().T
    norms = got - want + 2 * i + 2 * o
    if (norms == norms[0]).all() and norms[0] != 0:
        raise CheckFailed(f"Your group norms have {norms[0]:.0f} in every block. {_TWO} Groups do not count.")
    judge(got, want, _wrong_counts(), lambda n: "c_in = {}, c_out = {}, e = {}".format(*blocks[n]))


# Layers with weights are pairs: numbers that each output reads, and outputs.
_NORMS: Kind = [  # of c_in and c_out
    (lambda i, o: 2 * i + 2 * o, ""),
    (lambda i, o: 0, f"The group norms are missing. {_TWO}"),
    (lambda i, o: i + o, _TWO),
    (lambda i, o: 2 * o, "The group norm over c_in channels is missing."),
    (lambda i, o: 4 * i, "The second group norm follows a convolution: it has c_out channels."),
    (lambda i, o: 4 * o, "The first group norm stands before the first convolution: it has c_in channels."),
]
_CONVOLUTIONS: Kind = [
    (lambda i, o: [(9 * i, o), (9 * o, o)], ""),
    (lambda i, o: [(i, o), (o, o)], "The 9 is missing: a 3x3 kernel has nine numbers a pair of channels."),
    (lambda i, o: [(3 * i, o), (3 * o, o)], "3 in place of 9: a 3x3 kernel has nine numbers a pair of channels."),
    (lambda i, o: [(9 * i, o)] * 2, "The second convolution goes from c_out to c_out."),
    (lambda i, o: [(9 * i, i), (9 * i, o)], "The first convolution goes from c_in to c_out, the second stays there."),
    (lambda i, o: [(9 * i, o)], "The second 3x3 convolution is missing."),
]
_TOLD: Kind = [
    (lambda i, o, e: [(e, o)], ""),
    (lambda i, o, e: [], "The time's layer is missing: from e to c_out, with bias."),
    (lambda i, o, e: [(e, 2 * o)], "The time's layer gives 2 c_out numbers in AdaGN. In DDPM it gives c_out."),
    (lambda i, o, e: [(e, i)], "The time is added after the first convolution, to c_out channels: from e to c_out."),
    (lambda i, o, e: [(1, o)], "The time's layer has e weights for each of its c_out numbers: e * c_out."),
]
_SHORTCUTS: Kind = [
    (lambda i, o: [(i, o)] if i != o else [], ""),
    (lambda i, o: [], "Where c_in and c_out differ, the shortcut is a 1x1 convolution: it is missing."),
    (lambda i, o: [(i, o)], "Where c_in and c_out are equal, the shortcut is x itself: no parameters."),
    (lambda i, o: [(9 * i, o)] if i != o else [], "The shortcut is a 1x1 convolution: without the 9."),
]
_BIASES: Kind = [  # of the layers: convolutions, the time's, the shortcut
    (lambda convolutions, told, shortcut: _outputs(convolutions + told + shortcut), ""),
    (lambda *layers: 0, "All biases are missing: c_out for each convolution and for the time."),
    (
        lambda convolutions, told, shortcut: _outputs(told + shortcut),
        "2 c_out are missing: the biases of both 3x3 convolutions, or the second group norm.",
    ),
    (
        lambda convolutions, told, shortcut: _outputs(convolutions[1:] + told + shortcut),
        "c_out are missing: a bias. Both 3x3 convolutions and the time's layer have one.",
    ),
    (lambda convolutions, told, shortcut: _outputs(convolutions + told), "The shortcut's bias is missing: c_out."),
    (
        lambda convolutions, told, shortcut: sum(reads for reads, _ in told) + _outputs(convolutions + shortcut),
        "The time's layer has a bias for each number that it gives, c_out, not for each that it reads.",
    ),
    (
        lambda convolutions, told, shortcut: convolutions[0][0] // 9 + _outputs(convolutions[1:] + told + shortcut),
        "A convolution has a bias for each output channel: c_out, not c_in.",
    ),
]


def _outputs(layers: Layers) -> int:
    return sum(gives for _, gives in layers)


def _wrong_counts() -> Iterator[tuple[Tensor, str]]:
    for (norms, convolutions, told, shortcut, biases), words in ways(
        _NORMS, _CONVOLUTIONS, _TOLD, _SHORTCUTS, _BIASES, most=3
    ):
        counts = []
        for i, o, e in _BLOCKS:
            layers = convolutions(i, o), told(i, o, e), shortcut(i, o)
            weights = sum(reads * gives for some in layers for reads, gives in some)
            counts.append(norms(i, o) + weights + biases(*layers))
        yield torch.tensor(counts), words


# ---------------------------------------------------------------- checkpoints


@check("4.7 how many checkpoints")
def best_checkpoints(f: Callable[..., Any]) -> None:
    """f(n) must be a k in 1..n with the least k + ceil(n / k). Often several k tie: each of them is right."""
    many = (16, 10, 30, 100, 1000)  # on fewer layers, mistakes look alike
    numbers_of_layers = [*many, *range(1, 61)]
    causes = [
        ("empty", "For n = 1 nothing is left to choose from: k runs from 1 to n, range(1, n + 1)."),
        ("by zero", "k begins at 1: range(1, n + 1)."),
    ]
    got = whole_numbers(f, [(n,) for n in numbers_of_layers], causes)
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
    """For each k: boundaries, and the first of k segments when n layers are dealt out among them one by one."""
    return {k: k + len(range(0, n, k)) for k in range(1, n + 1)}


def _wrong_segments(n: Tensor) -> Wrong:
    few = "That grows as log2(n). With so few segments each is long, and a whole one is in memory at once."
    rounded_down = [min((k + m // k, k) for k in range(1, m + 1))[1] for m in n.long().tolist()]
    return [
        (n // 2, "n // 2 segments keep n // 2 boundaries: far fewer do."),
        (n, "With n segments every layer is a boundary, and all are kept: nothing is saved."),
        (n**0, "One segment is the whole network: computed again, all of it is in memory at once."),
        *[(logs, few) for logs in (n.log2().floor(), n.log2().ceil())],
        ((2 * n.sqrt()).ceil(), "That is the least memory. Asked for is the k that reaches it."),
        (
            torch.tensor(rounded_down).double(),
            "n / k is rounded down, and the layers that are left over are forgotten: -(-n // k) rounds up.",
        ),
    ]
