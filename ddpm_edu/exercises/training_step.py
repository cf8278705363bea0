"""Check of notebook 07, a whole step: a batch in parts, a clipped gradient, one step, an average that warms up.

The oracle is three plain floats (two weights and a bias) that are moved by hand; so are those of each mistake. First it
is asked where the network went, then where the average did, then whether the average drags a graph behind it.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from ddpm_edu.exercises.frame import CheckFailed, call, check
from ddpm_edu.exercises.training_parts import (
    LR,
    ROWS,
    STALE,
    Counting,
    Numbers,
    Watched,
    added,
    clipped,
    gradient,
    gradients,
    near,
    times,
)

_CUTS = (4, 2, 1)
_START, _AVERAGE = [0.2, -0.1, 0.3], [-0.4, 0.6, 0.05]  # two weights and a bias; their average so far
Answers = Iterator[tuple[Numbers, str]]


class _Case(NamedTuple):
    """Settings of a step: the first has a gradient that is shorter than the limit, the others have longer ones."""

    limit: float
    decay: float
    n: int

    def __str__(self) -> str:
        return f"limit {self.limit}, decay {self.decay}, n = {self.n}"


_CASES = (_Case(50.0, 0.9999, 2), _Case(0.35, 0.9999, 5), _Case(0.8, 0.6, 40))


class _Found(NamedTuple):
    """What a step has left behind: numbers in the order of _START. ``left``: the gradient that is still in .grad."""

    net: Numbers
    average: Numbers
    left: Numbers
    steps: int


@check("7.7 one whole training step")
def whole_step(f: Callable[..., Any]) -> None:
    """f(run, loss_of, parts, limit, decay, n) must make one step of ``run`` = (net, optimiser, average), in place.

    Its gradient is that of the mean over the samples of all parts, clipped to the norm ``limit``; the average (a dict
    of tensors) then follows the new weights with d = min(decay, (1 + n) / (10 + n)).
    """
    for case in _CASES:
        net, optimiser, average = _new_run()
        loss_of = Watched(lambda part, net=net: net(part)[:, 0])  # type: ignore[misc]
        call(f, (net, optimiser, average), loss_of, list(_samples().split(list(_CUTS))), *case)
        loss_of.judge(_CUTS)
        found = _Found(_flat(net), _values(average), _flat(net, "grad"), optimiser.steps)
        _judge_steps(found, case)
        _judge_net(found, case)
        _judge_average(found, case)
        _judge_graph(net, average)


def _samples() -> torch.Tensor:
    return torch.tensor(ROWS)


def _new_run() -> tuple[nn.Linear, Counting, dict[str, torch.Tensor]]:
    """Three numbers in two tensors, with what an earlier step has left in .grad."""
    net = nn.Linear(2, 1)
    average = {}
    for (name, p), at in zip(net.named_parameters(), (slice(0, 2), slice(2, 3)), strict=True):
        p.data, p.grad = torch.tensor(_START[at]).view_as(p), torch.full_like(p, STALE)
        average[name] = torch.tensor(_AVERAGE[at]).view_as(p)
    return net, Counting(net.parameters(), lr=LR), average


def _flat(net: nn.Module, what: str = "data") -> Numbers:
    """Its weights, or their gradients (0 where there is none)."""
    tensors = [getattr(p, what) if getattr(p, what) is not None else torch.zeros_like(p) for p in net.parameters()]
    return [x for tensor in tensors for x in tensor.flatten().tolist()]


def _values(average: dict[str, Any]) -> Numbers:
    """The numbers of an average, in the order of the network's."""
    wanted = {"weight": (1, 2), "bias": (1,)}
    for name, shape in wanted.items():
        value = average.get(name)
        if not isinstance(value, torch.Tensor) or tuple(value.shape) != shape:
            raise CheckFailed(
                f"average[{name!r}] should be a tensor of shape {shape} after the step, got "
                f"{tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__}."
            )
    if len(average) > len(wanted):
        raise CheckFailed(f"The average has new names, {sorted(average.keys() - wanted.keys())}: those of the network.")
    return [x for name in wanted for x in average[name].detach().flatten().tolist()]


# ---------------------------------------------------------------- the gradients that come into question


def _parts() -> list[list[Numbers]]:
    """The samples, with the 1 that the bias is multiplied by."""
    rows = [[*row, 1.0] for row in ROWS]
    return [rows[sum(_CUTS[:k]) : sum(_CUTS[: k + 1])] for k in range(len(_CUTS))]


def _shares(w: Sequence[float] = _START) -> list[Numbers]:
    """What each part adds to the gradient of the mean over all samples, at w."""
    return [times(1 / len(ROWS), gradient(part, w)) for part in _parts()]


def _stepped(step: Sequence[float], w: Sequence[float] = _START) -> Numbers:
    """The weights after a step of SGD along ``step``."""
    return [x - LR * g for x, g in zip(w, step, strict=True)]


def _right(case: _Case) -> Numbers:
    """The network after the step."""
    return _stepped(clipped(added(_shares()), case.limit))


def _in_turn(shares: Sequence[Numbers], limit: float) -> Numbers:
    """Clipped again after each part: what has been gathered so far."""
    gathered = [0.0 for _ in shares[0]]
    for share in shares:
        gathered = clipped(added([gathered, share]), limit)
    return gathered


def _wrong_steps(case: _Case) -> Answers:
    """The steps that mistakes make, and what to say of them: with the clipping, then with the parts."""
    shares, limit = _shares(), case.limit
    whole, each = added(shares), added([clipped(share, limit) for share in shares])
    part = "The gradient of each part was clipped. The limit is for that of the whole batch: clip once, after the loop."
    yield _in_turn(shares, limit), part
    yield each, part
    yield clipped(each, limit), part
    yield added([clipped(share, limit / len(shares)) for share in shares]), part
    yield clipped(whole[:2], limit) + clipped(whole[2:], limit), "Each tensor was clipped by itself: give all at once."
    yield (
        [max(-limit, min(x, limit)) for x in whole],
        "Each number was clipped by itself: clip_grad_norm_, not _value_.",
    )
    yield clipped(whole, 1), "The gradient was clipped to the norm 1, whatever `limit` is."
    yield from gradients(_parts(), _START)  # seen in the first case, where nothing is clipped


# ---------------------------------------------------------------- where the network went


def _judge_steps(found: _Found, case: _Case) -> None:
    whole = added(_shares())
    trained = [_stepped(g, _AVERAGE) for g in (whole, clipped(whole, case.limit))]
    if near(found.net, _START) and any(near(found.average, values) for values in trained):
        raise CheckFailed(
            "The average was trained, and the network stayed as it was. The optimiser steps the network; the average "
            "only follows."
        )
    if found.steps == 0:
        raise CheckFailed("The optimiser of the run made no step: optimiser.step() after the clipping.")
    if found.steps == len(_CUTS):
        raise CheckFailed(f"The optimiser made {found.steps} steps, one for each part: that is small batches.")
    if found.steps > 1:
        raise CheckFailed(
            f"The optimiser made {found.steps} steps. accumulated_step makes one itself, before you could clip: give "
            "it an optimiser that stands still, or write its loop once more without the step."
        )


def _judge_net(found: _Found, case: _Case) -> None:
    right, whole = _right(case), added(_shares())
    if near(found.net, right):
        return
    if near(found.net, _START):
        raise CheckFailed("The network did not move, although the optimiser stepped: no gradient, or weights put back.")
    loose = _stepped(whole)
    followed = [_mixed(_AVERAGE, w, _warm(case)) for w in (right, loose)]
    at_average = _stepped(clipped(added(_shares(_AVERAGE)), case.limit), _AVERAGE)
    if any(near(found.net, values) for values in (*followed, at_average, _AVERAGE)):
        raise CheckFailed(
            "The network was given the weights of the average, and trains on from those. The average only looks on: it "
            "follows the network, and nothing goes back."
        )
    if near(found.net, loose):
        raise CheckFailed(
            "The gradient was clipped after the step, when it had done its work. Clip between backward and step."
            if near(found.left, clipped(whole, case.limit))
            else "The gradient was not clipped: clip_grad_norm_ between the last backward and the step."
        )
    for g, words in _wrong_steps(case):
        if near(found.net, _stepped(g)):
            raise CheckFailed(words)
    raise CheckFailed(f"{case}: the network should be at {_row(right)} after the step, and is at {_row(found.net)}.")


# ---------------------------------------------------------------- where the average went


def _warm(case: _Case) -> float:
    """d of this update."""
    return min(case.decay, (1 + case.n) / (10 + case.n))


def _mixed(old: Sequence[float], new: Sequence[float], d: float) -> Numbers:
    return added([times(d, old), times(1 - d, new)])


def _updated_often(case: _Case, points: Sequence[Numbers], counting: bool) -> Numbers:
    """An update for each of ``points``; ``counting``: n goes on meanwhile."""
    average = _AVERAGE
    for k, w in enumerate(points):
        average = _mixed(average, w, _warm(case._replace(n=case.n + counting * k)))
    return average


def _wrong_averages(found: _Found, case: _Case) -> Answers:
    """The averages that mistakes make, when the step was right."""
    old, new, d, k = _START, _right(case), _warm(case), len(_CUTS)
    long = added(_shares())
    short = clipped(long, case.limit)
    often = "The average was updated for each part. It follows the steps: once, after optimiser.step()."
    yield _mixed(_AVERAGE, old, d), "The average was updated before the step, with the weights of before: after it."
    for counting in (False, True):
        for points in ([old] * k, [new] * k, [old] * (k - 1) + [new], [old] * k + [new]):
            yield _updated_often(case, points, counting), often
    for g in (short, long, found.left):
        yield _mixed(_AVERAGE, g, d), "That is an average of the gradients (p.grad). Averaged are the weights, p."
    yield _mixed(_AVERAGE, new, case.decay), "There is no warm-up: d = min(decay, (1 + n) / (10 + n)), as in 7.4."
    yield _mixed(new, _AVERAGE, d), "Average and weight are exchanged: followed(average, weight, decay, n)."
    swapped = min(case.n, (1 + case.decay) / (10 + case.decay))
    yield _mixed(_AVERAGE, new, swapped), "`decay` and `n` are exchanged: followed(average, weight, decay, n)."
    for off in (-1, 1):
        other = _warm(case._replace(n=case.n + off))
        yield _mixed(_AVERAGE, new, other), "One off: n is the number of this update already."
    yield _AVERAGE, "The average is as it was. Write into the dict: average[name] = followed(average[name], ...)."
    yield new, "The average is the network now, and forgets what was before: followed(average[name], ...)."
    yield _stepped(short, _AVERAGE), "The average was trained as well: it only follows the network."


def _judge_average(found: _Found, case: _Case) -> None:
    want = _mixed(_AVERAGE, _right(case), _warm(case))
    if near(found.average, want):
        return
    for values, words in _wrong_averages(found, case):
        if near(found.average, values):
            raise CheckFailed(words)
    if any(near([a], [b]) for a, b in zip(found.average, want, strict=True)):
        raise CheckFailed("Only some of the weights are averaged right: for name, p in net.named_parameters(), all.")
    raise CheckFailed(f"{case}: the average should be {_row(want)}, and is {_row(found.average)}.")


def _judge_graph(net: nn.Module, average: dict[str, torch.Tensor]) -> None:
    if any(value.requires_grad for value in average.values()):
        raise CheckFailed(
            "The numbers are right, but the average has grown into the graph: it remembers every step, and the memory "
            "fills up. followed(average[name], p.detach(), ...), or all of it under torch.no_grad()."
        )


def _row(values: Sequence[float]) -> str:
    return "[" + ", ".join(f"{v:.5f}" for v in values) + "]"
