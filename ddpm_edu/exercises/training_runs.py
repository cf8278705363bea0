"""Checks of notebook 07, what makes a run last: draws from (seed, step), and a whole checkpoint."""

import io
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ddpm_edu.exercises.frame import CheckFailed, call, check
from ddpm_edu.training.randomness import generator

# ---------------------------------------------------------------- the draws of a step

_BATCH, _SHAPE, _T = 6, (1, 2, 3), 1000
_COUSINS = [((0, 1), (1, 0)), ((0, 1000), (1, 0)), ((2, 3), (3, 2)), ((0, 2**32), (1, 0))]  # (seed, step)
Drawn = tuple[Tensor, Tensor]


@check("7.1 the draws of a step")
def draw(f: Callable[..., Any]) -> None:
    """f(seed, step, batch, shape, T, rank, world) -> (t, noise): rows rank, rank + world, .. of the step's batch."""
    whole = _drawn(f, 0, 5)
    before = torch.get_rng_state()
    torch.rand(3)
    again = _drawn(f, 0, 5)
    if not all(torch.equal(a, b) for a, b in zip(whole, again, strict=True)):
        raise CheckFailed(
            "The same seed and step gave other numbers: they come from torch's own generator, which has gone on "
            "meanwhile. Give randint and randn generator=."
        )
    torch.set_rng_state(before)
    _drawn(f, 0, 6)
    if not torch.equal(torch.get_rng_state(), before):
        raise CheckFailed(
            "torch's own generator was seeded or used. Whatever else draws from it, dropout for one, now depends on "
            "this function. Use a generator of your own."
        )
    _judge_ranges(f)
    for what, other in (("step", _drawn(f, 0, 6)), ("seed", _drawn(f, 1, 5))):
        if _share(whole, other):
            raise CheckFailed(f"Another {what} gave the same numbers: the {what} has no effect.")
    for a, b in _COUSINS:
        if _share(_drawn(f, *a), _drawn(f, *b)):
            raise CheckFailed(
                f"(seed, step) = {a} and {b} have the same numbers: the two were added up, or mixed so that they meet. "
                "generator(seed, step) hashes the pair."
            )
    _judge_rows(f)
    _judge_streams(whole, 0, 5)


def _drawn(f: Callable[..., Any], seed: int, step: int, rank: int = 0, world: int = 1, batch: int = _BATCH) -> Drawn:
    """An answer of the right kind and size."""
    result = call(f, seed, step, batch, _SHAPE, _T, rank, world)
    if not isinstance(result, tuple | list) or len(result) != 2 or not all(isinstance(x, Tensor) for x in result):
        raise CheckFailed(f"Two tensors are expected, t and noise, got {type(result).__name__}. return t, noise")
    t, noise = result
    if t.dtype != torch.int64:
        raise CheckFailed(f"t is {t.dtype}; times are int64: torch.randint gives them.")
    n = len(range(rank, batch, world))
    if tuple(t.shape) == (batch,) and n < batch:
        raise CheckFailed(
            f"Process {rank} of {world} got all {batch} rows: each does all the work. Slice [rank::world]."
        )
    for name, x, shape in (("t", t, (n,)), ("noise", noise, (n, *_SHAPE))):
        if tuple(x.shape) != shape:
            raise CheckFailed(
                f"{name} has shape {tuple(x.shape)} for process {rank} of {world} with a batch of {batch}: expected "
                f"{shape}, the rows {rank}, {rank + world}, ..."
            )
    return t, noise


def _share(a: Drawn, b: Drawn) -> bool:
    """Whether times or noise are the same."""
    return torch.equal(a[0], b[0]) or torch.equal(a[1], b[1])


def _judge_ranges(f: Callable[..., Any]) -> None:
    t, noise = _drawn(f, 3, 0, batch=20_000)
    if t.min() < 1 or t.max() > _T:
        raise CheckFailed(f"t spans {t.min()} to {t.max()}: times are 1 to {_T}. randint leaves its upper end out.")
    if t.unique().numel() < 2:
        raise CheckFailed("All samples have the same t: each has one of its own.")
    if t.min() > 1 or t.max() < _T:
        raise CheckFailed(
            f"t spans {t.min()} to {t.max()} in 20,000 draws: 1 and {_T} belong to it. Mind randint's ends."
        )
    if torch.equal(noise[0], noise[1]):
        raise CheckFailed("Samples share their noise: each has its own.")
    if abs(noise.mean()) > 0.02 or abs(noise.std() - 1) > 0.02:
        raise CheckFailed(
            f"The noise has mean {noise.mean():.2f}, deviation {noise.std():.2f}: torch.randn has 0 and 1."
        )


def _judge_rows(f: Callable[..., Any]) -> None:
    """What several processes have is what one has, dealt out."""
    for world, batch in ((2, 6), (3, 7)):
        whole = _drawn(f, 0, 5, batch=batch)
        for part, name in enumerate(("t", "noise")):
            rows = [_drawn(f, 0, 5, rank, world, batch)[part] for rank in range(world)]
            if all(torch.equal(row, whole[part][rank::world]) for rank, row in enumerate(rows)):
                continue
            if torch.equal(torch.cat(rows).flatten().sort()[0], whole[part].flatten().sort()[0]):
                raise CheckFailed(f"{name}: each process has a block of rows. It would do; asked for is [rank::world].")
            if torch.equal(rows[0], rows[1][: len(rows[0])]) or torch.equal(rows[1], rows[0][: len(rows[1])]):
                raise CheckFailed(f"{name}: all processes have the same rows. Each takes its own: [rank::world].")
            raise CheckFailed(
                f"{name}: {world} processes together do not have what one has. Usual cause: the rank is in the seed. "
                "Draw the whole batch from (seed, step), then slice [rank::world]."
            )


def _judge_streams(whole: Drawn, seed: int, step: int) -> None:
    """Times and noise must not both be the first numbers of the same generator."""
    t = torch.randint(1, _T + 1, (_BATCH,), generator=generator(seed, step))
    noise = torch.randn(_BATCH, *_SHAPE, generator=generator(seed, step))
    if torch.equal(whole[0], t) and torch.equal(whole[1], noise):
        raise CheckFailed(
            "Two generators with the same key: times and noise are made from the same random numbers, so that a time "
            "always comes with the same noise. Make one g, and draw both from it, one after the other."
        )


# ---------------------------------------------------------------- what a checkpoint must hold

_AT, _END = 4, 9
_PARTS = {
    "step": "it begins at step 0 again: the rate of learning and all draws are those of the first steps.",
    "net": "it goes on from new, random weights.",
    "optimiser": "Adam begins anew, with empty moments: its next steps are far too large.",
    "average": "the average begins anew, from weights that were never averaged.",
}


class _Miniature:
    """A training of a few weights, with all that a large one has."""

    def __init__(self, seed: int) -> None:
        g = generator(seed)
        self.net = nn.Sequential(nn.Linear(2, 3), nn.SiLU(), nn.Linear(3, 1))
        with torch.no_grad():
            for p in self.net.parameters():
                p.copy_(torch.randn(p.shape, generator=g))
        self.optimiser = torch.optim.Adam(self.net.parameters(), 1e-2)
        self.average = {name: p.detach().clone() for name, p in self.net.named_parameters()}

    def go(self, first: int, last: int) -> "_Miniature":
        """The steps from ``first`` up to but not with ``last``."""
        for step in range(first, last):
            x = torch.randn(5, 2, generator=generator(11, step))
            self.optimiser.param_groups[0]["lr"] = 1e-2 / (1 + step)
            self.optimiser.zero_grad()
            (self.net(x)[:, 0] - x.prod(1)).square().mean().backward()
            self.optimiser.step()
            for name, p in self.net.named_parameters():
                self.average[name].lerp_(p.detach(), 0.2)
        return self

    def take(self, state: dict[str, Any]) -> None:
        """What the file holds."""
        self.net.load_state_dict(state["net"])
        self.optimiser.load_state_dict(state["optimiser"])
        for name, value in self.average.items():
            value.copy_(state["average"][name])

    def tensors(self) -> list[Tensor]:
        """All that must be the same bit for bit."""
        moments = [x for p in self.net.parameters() for x in self.optimiser.state[p].values()]
        return [*self.net.state_dict().values(), *self.average.values(), *moments]


@check("7.2 a checkpoint that lacks nothing")
def state_of(f: Callable[..., Any]) -> None:
    """f(step, net, optimiser, average) must be a dict from which the run goes on, bit for bit."""
    undisturbed, killed = _Miniature(0).go(0, _END), _Miniature(0).go(0, _AT)
    state = _through_a_file(call(f, _AT, killed.net, killed.optimiser, killed.average))
    missing = [part for part in _PARTS if part not in state]
    if missing:
        raise CheckFailed(f'"{missing[0]}" is missing. Without it, after a kill, {_PARTS[missing[0]]}')
    step = state["step"]
    if step != _AT or isinstance(step, bool):
        off = (
            "one step would be left out" if step == _AT + 1 else "steps would be done twice" if step == _AT - 1 else ""
        )
        raise CheckFailed(f'"step" is {step!r} after {_AT} steps{": " * bool(off) + off}. Store `step` as it is given.')
    _judge_contents(state, killed)
    resumed = _Miniature(1)  # another start: what is not loaded shows
    try:
        resumed.take(state)
    except Exception as error:
        raise CheckFailed(
            f"The state cannot be loaded: {type(error).__name__}: {str(error).splitlines()[0]}"
        ) from error
    resumed.go(step, _END)
    pairs = zip(undisturbed.tensors(), resumed.tensors(), strict=True)
    if not all(torch.equal(a, b) for a, b in pairs):
        raise CheckFailed(
            "The resumed run is not the undisturbed one, bit for bit: something in the state is not as it was."
        )


def _through_a_file(state: Any) -> dict[str, Any]:
    """Written and read, as a checkpoint is: with weights_only, so that nothing in a file can run."""
    if not isinstance(state, dict):
        raise CheckFailed(f"A dict is expected, got {type(state).__name__}. Did you forget `return`?")
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    try:
        loaded: dict[str, Any] = torch.load(buffer, weights_only=True)
    except Exception as error:  # of a kind that the safe reader refuses
        raise CheckFailed(
            "The state holds objects, not only tensors, numbers and strings. To read such a file one must let it "
            "run code. Use .state_dict() of the network and of the optimiser."
        ) from error
    return loaded


def _judge_contents(state: dict[str, Any], killed: _Miniature) -> None:
    net, average = killed.net.state_dict(), killed.average

    def holds(part: str, values: dict[str, Tensor]) -> bool:
        held = state[part]
        return (
            isinstance(held, dict)
            and held.keys() == values.keys()
            and all(isinstance(held[k], Tensor) and torch.equal(held[k], values[k]) for k in values)
        )

    if holds("net", average):
        raise CheckFailed('"net" holds the average. The run would go on from weights that it never had.')
    if holds("average", net):
        raise CheckFailed('"average" holds the network\'s weights: the average would begin anew.')
    if not isinstance(state["optimiser"], dict) or not state["optimiser"].get("state"):
        raise CheckFailed('"optimiser" has no moments: they are in optimiser.state_dict(), which has all of it.')
