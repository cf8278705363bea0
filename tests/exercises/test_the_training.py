"""Checks of notebook 07: kind to a blank, content with any right answer, plain about a wrong one."""

import copy
import math

import torch

from ddpm_edu.exercises import fingerprint, the_training, training_answers
from ddpm_edu.training.randomness import generator
from tests.exercises import proof

# ---------------------------------------------------------------- 7.1


def drawn(g, batch, shape, T, rows):
    t = torch.randint(1, T + 1, (batch,), generator=g)
    return t[rows], torch.randn(batch, *shape, generator=g)[rows]


def noise_first(seed, step, batch, shape, T, rank, world):
    """Another order, another mixing of the key, a list in place of a tuple."""
    g = torch.Generator().manual_seed((seed * 2654435761 + step * 40503 + seed * step * 97 + 12345) % 2**32)
    noise = torch.randn((batch, *shape), generator=g)
    t = 1 + (torch.rand(batch, generator=g) * T).long()
    return [t[rank::world], noise[range(rank, batch, world)]]


def with_generator(make, rows=lambda batch, rank, world: slice(rank, None, world)):
    def draw(seed, step, batch, shape, T, rank, world):
        return drawn(make(seed, step, rank), batch, shape, T, rows(batch, rank, world))

    return draw


def seeds_the_global_one(seed, step, batch, shape, T, rank, world):
    torch.manual_seed(generator(seed, step).initial_seed())
    return drawn(None, batch, shape, T, slice(rank, None, world))


def a_share_each(seed, step, batch, shape, T, rank, world):
    return drawn(generator(seed, step), len(range(rank, batch, world)), shape, T, slice(None))


def changed(change):
    """The library's draws, with something done to them."""

    def draw(seed, step, batch, shape, T, rank, world):
        g, rows = generator(seed, step), slice(rank, None, world)
        t = torch.randint(1, T + 1, (batch,), generator=g)
        return change(g, t, torch.randn(batch, *shape, generator=g), T, rows)

    return draw


def block(batch, rank, world):
    sizes = [len(range(r, batch, world)) for r in range(world)]
    return slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))


DRAW = (
    [training_answers.draw, noise_first],
    {
        "no generator": (
            with_generator(lambda *_: None),
            "torch's own generator, which has gone on",
        ),
        "global seed": (seeds_the_global_one, "torch's own generator was seeded or used"),
        "seed + step": (with_generator(lambda a, b, r: torch.Generator().manual_seed(a + b)), "added up"),
        "1000 seed + step": (with_generator(lambda a, b, r: torch.Generator().manual_seed(1000 * a + b)), "added up"),
        "2^32 seed + step": (
            with_generator(lambda a, b, r: torch.Generator().manual_seed(2**32 * a + b)),
            "Another seed gave the same",
        ),
        "seed only": (with_generator(lambda a, b, r: generator(a)), "the step has no effect"),
        "step only": (with_generator(lambda a, b, r: generator(b)), "the seed has no effect"),
        "rank in the seed": (with_generator(lambda a, b, r: generator(a, b, r)), "the rank is in the seed"),
        "all rows": (with_generator(lambda a, b, r: generator(a, b), lambda *_: slice(None)), "each does all the work"),
        "the same rows": (
            with_generator(lambda a, b, r: generator(a, b), lambda n, r, w: slice(0, len(range(r, n, w)))),
            "all processes have the same rows",
        ),
        "blocks": (with_generator(lambda a, b, r: generator(a, b), block), "a block of rows"),
        "a share is drawn": (a_share_each, "all processes have the same rows"),
        "from 0": (changed(lambda g, t, e, T, rows: (t[rows] - 1, e[rows])), "times are 1 to 1000"),
        "never T": (changed(lambda g, t, e, T, rows: (t[rows].clamp(max=T - 1), e[rows])), "1 and 1000 belong to it"),
        "one t": (changed(lambda g, t, e, T, rows: (t[:1].expand_as(t)[rows], e[rows])), "All samples have the same t"),
        "one noise": (changed(lambda g, t, e, T, rows: (t[rows], e[:1].expand_as(e)[rows])), "share their noise"),
        "float t": (changed(lambda g, t, e, T, rows: (t[rows].float(), e[rows])), "times are int64"),
        "rand": (
            changed(lambda g, t, e, T, rows: (t[rows], torch.rand(e.shape, generator=g)[rows])),
            "torch.randn has 0 and 1",
        ),
        "t alone": (changed(lambda g, t, e, T, rows: t[rows]), "Two tensors are expected"),
        "flat": (changed(lambda g, t, e, T, rows: (t[rows], e[rows].flatten(1))), "noise has shape"),
        "t only sliced": (changed(lambda g, t, e, T, rows: (t[rows], e)), "noise has shape (6, 1, 2, 3) for process 0"),
    },
)

# ---------------------------------------------------------------- 7.2


def by_hand(step, net, optimiser, average):
    """With copies, and something more."""
    return {
        "average": {name: value.clone() for name, value in average.items()},
        "optimiser": copy.deepcopy(optimiser.state_dict()),
        "net": dict(net.state_dict()),
        "step": step,
        "about": "a run",
    }


def state(**other):
    """The right state, with parts replaced (None: left out)."""

    def f(step, net, optimiser, average):
        whole = training_answers.state_of(step, net, optimiser, average)
        whole |= {name: make and make(step, net, optimiser, average) for name, make in other.items()}
        return {name: part for name, part in whole.items() if part is not None}

    return f


def first_moments(step, net, optimiser, average):
    found = copy.deepcopy(optimiser.state_dict())
    for moments in found["state"].values():
        moments["exp_avg_sq"].zero_()
    return found


STATE = (
    [training_answers.state_of, by_hand],
    {
        "no optimiser": (state(optimiser=None), "Adam begins anew"),
        "no step": (state(step=None), "it begins at step 0 again"),
        "no average": (state(average=None), "the average begins anew"),
        "no net": (state(net=None), "from new, random weights"),
        "one step on": (state(step=lambda step, *_: step + 1), "one step would be left out"),
        "one step back": (state(step=lambda step, *_: step - 1), "done twice"),
        "average of now": (state(average=lambda _, net, *__: net.state_dict()), "the network's weights"),
        "net is the average": (state(net=lambda _, net, o, average: average), "weights that it never had"),
        "objects": (lambda step, net, o, a: {"step": step, "net": net, "optimiser": o, "average": a}, "run code"),
        "groups only": (state(optimiser=lambda s, n, o, a: {"param_groups": o.param_groups}), "has no moments"),
        "rates only": (state(optimiser=lambda s, n, o, a: {"lr": o.param_groups[0]["lr"]}), "has no moments"),
        "half precision": (
            state(net=lambda s, net, o, a: {k: v.half() for k, v in net.state_dict().items()}),
            "not the undisturbed one",
        ),
        "a moment lost": (state(optimiser=first_moments), "not the undisturbed one"),
        "parameters only": (state(net=lambda s, net, o, a: list(net.state_dict().values())), "cannot be loaded"),
        "None": (lambda *_: None, "return"),
    },
)

# ---------------------------------------------------------------- 7.3


def warm(n):
    return (1 + n) / (10 + n)


def averaged(shares):
    def f(average, weight, decay, n):
        kept, taken = shares(decay, n)
        return kept * average + taken * weight.float()

    return f


def by_difference(average, weight, decay, n):
    rate = max(1 - decay, 9 / (10 + n))
    return average + rate * (weight.float() - average)


def in_place(average, weight, decay, n):
    return average.mul_(decay).add_(weight, alpha=1 - decay)


def pair(d):
    return d, 1 - d


FOLLOWED = (
    [training_answers.followed, by_difference, averaged(lambda d, n: pair(min(d, warm(n))))],
    {
        "no warm-up": (averaged(lambda d, n: pair(d)), "no warm-up"),
        "swapped": (averaged(lambda d, n: pair(1 - min(d, warm(n)))), "swapped"),
        "max": (averaged(lambda d, n: pair(max(d, warm(n)))), "larger of the two"),
        "no decay": (averaged(lambda d, n: pair(warm(n))), "`decay` has no effect"),
        "product": (averaged(lambda d, n: pair(d * warm(n))), "multiply the two"),
        "n from 0": (averaged(lambda d, n: pair(min(d, warm(n - 1)))), "the first update has n = 1"),
        "n + 1": (averaged(lambda d, n: pair(min(d, warm(n + 1)))), "counts this update already"),
        "two decays": (averaged(lambda d, n: (min(d, warm(n)), 1 - d)), "do not add up to 1"),
        "the new one whole": (averaged(lambda d, n: (min(d, warm(n)), 1)), "comes in whole"),
        "unchanged": (lambda average, weight, decay, n: average, "came back as it was"),
        "the weight": (lambda average, weight, decay, n: weight.float(), "that is no average"),
        "in place": (in_place, "in place"),
        "in bfloat16": (
            lambda a, w, d, n: a.bfloat16().lerp(w, 1 - min(d, warm(n))),
            "The average is bfloat16",
        ),
        "upside down": (averaged(lambda d, n: pair(min(d, (10 + n) / (1 + n) / 20))), "expected"),
        "a number": (lambda average, weight, decay, n: 0.5, "expected a tensor"),
    },
)

# ---------------------------------------------------------------- 7.4


def rate(rising=lambda s, n, w: min(1, (s + 1) / w) if w else 1, falling=lambda s, n, w: math.cos(math.pi * s / n)):
    return lambda step, steps, warmup, peak: (
        peak * rising(step, steps, warmup) * 0.5 * (1 + falling(step, steps, warmup))
    )


def with_branches(step, steps, warmup, peak):
    """As a tensor, and without dividing by a warm-up of 0."""
    cosine = torch.tensor(math.pi * step / steps, dtype=torch.float64).cos()
    return (peak / 2 + peak / 2 * cosine) * (1 if step >= warmup else (step + 1) / warmup)


LR = (
    [training_answers.lr_at, rate(), with_branches],
    {
        "from 0": (rate(lambda s, n, w: min(1, s / w) if w else 1), "At step 0 the rate is 0"),
        "no warm-up": (rate(lambda s, n, w: 1), "There is no warm-up"),
        "no fall": (rate(falling=lambda s, n, w: 1), "It does not fall"),
        "after the warm-up": (
            rate(falling=lambda s, n, w: math.cos(math.pi * max(0, s - w) / (n - w))),
            "begins at the end of the warm-up",
        ),
        "step + 1": (rate(falling=lambda s, n, w: math.cos(math.pi * (s + 1) / n)), "the last step has the rate 0"),
        "not halved": (lambda *a: 2 * rate()(*a), "Twice too much"),
        "a whole wave": (rate(falling=lambda s, n, w: math.cos(2 * math.pi * s / n)), "up again at the end"),
        "negative": (rate(falling=lambda s, n, w: 2 * math.cos(math.pi * s / n) - 1), "falls to -1"),
        "quarter": (rate(falling=lambda s, n, w: 2 * math.cos(math.pi / 2 * s / n) - 1), "a quarter of a wave"),
        "line": (rate(falling=lambda s, n, w: 1 - 2 * s / n), "along a line"),
        "degrees": (rate(falling=lambda s, n, w: math.cos(math.radians(math.pi * s / n))), "radians"),
        "rises on": (rate(lambda s, n, w: (s + 1) / w if w else 1), "goes on rising"),
        "no peak": (lambda s, n, w, p: rate()(s, n, w, 1), "`peak` has no effect"),
        "zero": (rate(lambda s, n, w: min(1, (s + 1) / w)), "ZeroDivisionError"),
        "nothing": (lambda *_: None, "return"),
    },
)

# ---------------------------------------------------------------- 7.5


def accumulated(share, first=True, inside="", last="step"):
    """A step in parts, with ``share(losses, parts, n)`` to go backwards from."""

    def f(loss_of, parts, optimiser):
        n = sum(map(len, parts))
        if first:
            optimiser.zero_grad()
        for part in parts:
            if inside == "zero":
                optimiser.zero_grad()
            share(loss_of(part), parts, n).backward()
            if inside == "step":
                optimiser.step()
        if last == "step":
            optimiser.step()

    return f


def weighted_means(loss_of, parts, optimiser):
    """Each part's mean, weighted by its share; with the gradients cleared by hand."""
    for p in optimiser.param_groups[0]["params"]:
        p.grad = None
    total = len(torch.cat(list(parts)))
    for part in parts:
        loss = loss_of(part).mean() * (len(part) / total)
        loss.backward()
    optimiser.step()


def all_forward_first(loss_of, parts, optimiser):
    optimiser.zero_grad()
    torch.cat([loss_of(part) for part in parts]).mean().backward()
    optimiser.step()


def backward_of_the_last(loss_of, parts, optimiser):
    optimiser.zero_grad()
    for part in parts:
        loss = loss_of(part).mean()
    loss.backward()
    optimiser.step()


def right_share(losses, parts, n):
    return losses.sum() / n


ACCUMULATED = (
    [training_answers.accumulated_step, weighted_means, accumulated(right_share)],
    {
        "mean of means": (accumulated(lambda x, parts, n: x.mean() / len(parts)), "mean of the parts' means"),
        "means added": (accumulated(lambda x, parts, n: x.mean()), "added up"),
        "sum": (accumulated(lambda x, parts, n: x.sum()), "the sum over all samples"),
        "sum over parts": (accumulated(lambda x, parts, n: x.sum() / len(parts)), "the sum over all samples"),
        "no zero_grad": (accumulated(right_share, first=False), "The old gradients are still in it"),
        "zero_grad inside": (accumulated(right_share, inside="zero"), "zero_grad in the loop"),
        "step inside": (accumulated(right_share, inside="step", last=""), "made 3 steps"),
        "two steps": (accumulated(right_share, inside="step"), "made 2 steps"),
        "no step": (accumulated(right_share, last=""), "made no step"),
        "no backward": (lambda loss_of, parts, optimiser: optimiser.step(), "No backward pass"),
        "all forward first": (all_forward_first, "All parts went forwards"),
        "the last part only": (backward_of_the_last, "All parts went forwards"),
        "half": (accumulated(lambda x, parts, n: x.sum() / (2 * n)), "the step went along"),
    },
)

# ---------------------------------------------------------------- 7.6


def scaled(*actions):
    do = {
        "zero": lambda loss, ps, o, s, limit: o.zero_grad(),
        "backward": lambda loss, ps, o, s, limit: s.scale(loss).backward(),
        "scale": lambda loss, ps, o, s, limit: s.scale(loss),
        "plain backward": lambda loss, ps, o, s, limit: loss.backward(),
        "unscale": lambda loss, ps, o, s, limit: s.unscale_(o),
        "clip": lambda loss, ps, o, s, limit: torch.nn.utils.clip_grad_norm_(ps, limit),
        "clip values": lambda loss, ps, o, s, limit: torch.nn.utils.clip_grad_value_(ps, limit),
        "step": lambda loss, ps, o, s, limit: s.step(o),
        "plain step": lambda loss, ps, o, s, limit: o.step(),
        "update": lambda loss, ps, o, s, limit: s.update(),
    }

    def f(*given):
        for action in actions:
            do[action](*given)

    return f


def by_hand_scaled(loss, parameters, optimiser, scaler, limit):
    """Clipping written out."""
    for p in parameters:
        p.grad = None
    scaler.scale(loss).backward()
    scaler.unscale_(optimiser)
    norm = math.sqrt(sum(p.grad.square().sum().item() for p in parameters))
    for p in parameters:
        p.grad.mul_(min(1.0, limit / norm))
    scaler.step(optimiser)
    scaler.update()


SCALED = (
    [
        training_answers.scaled_step,
        by_hand_scaled,
        scaled("zero", "backward", "unscale", "clip", "step", "update"),
    ],
    {
        "clipped while scaled": (scaled("zero", "backward", "clip", "unscale", "step", "update"), "unscale_ first"),
        "no unscale": (scaled("zero", "backward", "clip", "step", "update"), "unscale_ first"),
        "no clip": (scaled("zero", "backward", "unscale", "step", "update"), "not clipped"),
        "clip last": (scaled("zero", "backward", "unscale", "step", "clip", "update"), "not clipped"),
        "no scale": (scaled("zero", "plain backward", "unscale", "clip", "step", "update"), ".scale(loss or outputs)"),
        "scale thrown away": (
            scaled("zero", "scale", "plain backward", "unscale", "clip", "step", "update"),
            "1024 times too small",
        ),
        "plain step": (scaled("zero", "backward", "unscale", "clip", "plain step", "update"), "went into the weights"),
        "plain step, scaled": (scaled("zero", "backward", "plain step"), "The scaled gradient went"),
        "clip, plain step": (scaled("zero", "backward", "clip", "plain step"), "has norm 1"),
        "no scaler in the step": (scaled("zero", "backward", "plain step", "update"), "No inf checks were recorded"),
        "no step": (scaled("zero", "backward", "unscale", "clip", "update"), "did not move"),
        "no update": (scaled("zero", "backward", "unscale", "clip", "step"), "scaler.update() halves it"),
        "no zero_grad": (scaled("backward", "unscale", "clip", "step", "update"), "zero_grad first"),
        "unscaled twice": (scaled("zero", "backward", "unscale", "unscale", "clip", "step", "update"), "RuntimeError"),
        "values clipped": (
            scaled("zero", "backward", "unscale", "clip values", "step", "update"),
            "the step should be",
        ),
    },
)

# ---------------------------------------------------------------- all of them

# check: (right answers, {wrong answer: (function, words of the message)})
e = the_training
EXERCISES = {
    e.draw: DRAW,
    e.state_of: STATE,
    e.followed: FOLLOWED,
    e.lr_at: LR,
    e.accumulated_step: ACCUMULATED,
    e.scaled_step: SCALED,
}
(
    test_a_blank_is_told_kindly_and_raises_nothing,
    test_the_librarys_answer_and_others_pass,
    test_a_wrong_answer_is_refused_with_the_likely_mistake,
    test_every_check_is_listed_here,
) = proof.of(the_training, EXERCISES)


# ---------------------------------------------------------------- the hash of a state


def test_a_fingerprint_is_of_contents_and_of_all_of_them():
    weights = torch.randn(2, 3)
    state = {"step": 3, "net": {"a": weights, "b": torch.tensor(1.0)}, "words": ["x", "y"]}
    turned = {"words": ("x", "y"), "net": {"b": torch.tensor(1.0), "a": weights.T.contiguous().T}, "step": 3}
    assert fingerprint(state) == fingerprint(turned)
    bit = weights.clone()
    bit.view(torch.int32)[0, 0] ^= 1
    others = [
        {"step": 4},
        {"net": {"a": bit, "b": torch.tensor(1.0)}},
        {"net": {"a": weights.view(3, 2), "b": torch.tensor(1.0)}},
        {"net": {"a": weights, "c": torch.tensor(1.0)}},
        {"net": {"a": weights.double(), "b": torch.tensor(1.0)}},
        {"words": ["xy"]},
    ]
    assert fingerprint(state) not in {fingerprint(state | other) for other in others}
