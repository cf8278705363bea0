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


def twice_the_same_key(seed, step, batch, shape, T, rank, world):
    t = torch.randint(1, T + 1, (batch,), generator=generator(seed, step))
    return t[rank::world], torch.randn(batch, *shape, generator=generator(seed, step))[rank::world]


def block(batch, rank, world):
    sizes = [len(range(r, batch, world)) for r in range(world)]
    return slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))


DRAW = (
    [training_answers.draw, noise_first],
    {
        "drawn from torch's own generator": (
            with_generator(lambda *_: None),
            "torch's own generator, which has gone on",
        ),
        "torch's own generator is seeded": (seeds_the_global_one, "torch's own generator was seeded or used"),
        "seed and step are added up": (
            with_generator(lambda a, b, r: torch.Generator().manual_seed(a + b)),
            "added up",
        ),
        "the key is 1000 seed + step": (
            with_generator(lambda a, b, r: torch.Generator().manual_seed(1000 * a + b)),
            "added up",
        ),
        "the key is 2^32 seed + step": (
            with_generator(lambda a, b, r: torch.Generator().manual_seed(2**32 * a + b)),
            "Another seed gave the same",
        ),
        "the step is not in the key": (with_generator(lambda a, b, r: generator(a)), "the step has no effect"),
        "the seed is not in the key": (with_generator(lambda a, b, r: generator(b)), "the seed has no effect"),
        "two generators with the same key": (twice_the_same_key, "the same random numbers"),
        "the rank is in the key": (with_generator(lambda a, b, r: generator(a, b, r)), "the rank is in the seed"),
        "each process takes all rows": (
            with_generator(lambda a, b, r: generator(a, b), lambda *_: slice(None)),
            "each does all the work",
        ),
        "each process takes the first rows": (
            with_generator(lambda a, b, r: generator(a, b), lambda n, r, w: slice(0, len(range(r, n, w)))),
            "all processes have the same rows",
        ),
        "each process takes a block of rows": (
            with_generator(lambda a, b, r: generator(a, b), block),
            "a block of rows",
        ),
        "each process draws its share only": (a_share_each, "all processes have the same rows"),
        "times from 0 to T - 1": (changed(lambda g, t, e, T, rows: (t[rows] - 1, e[rows])), "times are 1 to 1000"),
        "the last time never comes": (
            changed(lambda g, t, e, T, rows: (t[rows].clamp(max=T - 1), e[rows])),
            "1 and 1000 belong to it",
        ),
        "one time for the whole batch": (
            changed(lambda g, t, e, T, rows: (t[:1].expand_as(t)[rows], e[rows])),
            "All samples have the same t",
        ),
        "one noise for the whole batch": (
            changed(lambda g, t, e, T, rows: (t[rows], e[:1].expand_as(e)[rows])),
            "share their noise",
        ),
        "times are floats": (changed(lambda g, t, e, T, rows: (t[rows].float(), e[rows])), "times are int64"),
        "uniform noise in place of normal": (
            changed(lambda g, t, e, T, rows: (t[rows], torch.rand(e.shape, generator=g)[rows])),
            "torch.randn has 0 and 1",
        ),
        "only the times are returned": (changed(lambda g, t, e, T, rows: t[rows]), "Two tensors are expected"),
        "the noise is flattened": (changed(lambda g, t, e, T, rows: (t[rows], e[rows].flatten(1))), "noise has shape"),
        "only the times are sliced": (
            changed(lambda g, t, e, T, rows: (t[rows], e)),
            "noise has shape (6, 1, 2, 3) for process 0",
        ),
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
        "the optimiser is left out": (state(optimiser=None), "Adam begins anew"),
        "the step is left out": (state(step=None), "it begins at step 0 again"),
        "the average is left out": (state(average=None), "the average begins anew"),
        "the network is left out": (state(net=None), "from new, random weights"),
        "the step is one too large": (state(step=lambda step, *_: step + 1), "one step would be left out"),
        "the step is one too small": (state(step=lambda step, *_: step - 1), "done twice"),
        "the network's weights as the average": (
            state(average=lambda _, net, *__: net.state_dict()),
            "the network's weights",
        ),
        "the average as the network's weights": (
            state(net=lambda _, net, o, average: average),
            "weights that it never had",
        ),
        "network and optimiser as objects": (
            lambda step, net, o, a: {"step": step, "net": net, "optimiser": o, "average": a},
            "run code",
        ),
        "the optimiser's settings, no moments": (
            state(optimiser=lambda s, n, o, a: {"param_groups": o.param_groups}),
            "has no moments",
        ),
        "only the rate of learning is kept": (
            state(optimiser=lambda s, n, o, a: {"lr": o.param_groups[0]["lr"]}),
            "has no moments",
        ),
        "the weights are stored in half precision": (
            state(net=lambda s, net, o, a: {k: v.half() for k, v in net.state_dict().items()}),
            "not the undisturbed one",
        ),
        "Adam's second moments are lost": (state(optimiser=first_moments), "not the undisturbed one"),
        "the weights without their names": (
            state(net=lambda s, net, o, a: list(net.state_dict().values())),
            "cannot be loaded",
        ),
        "nothing is returned": (lambda *_: None, "return"),
    },
)

# ---------------------------------------------------------------- 7.4


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


def rounded(average, weight, decay, n):
    d = min(decay, warm(n))
    return d * average + (1 - d) * weight


FOLLOWED = (
    [training_answers.followed, by_difference, averaged(lambda d, n: pair(min(d, warm(n))))],
    {
        "the decay does not warm up": (averaged(lambda d, n: pair(d)), "no warm-up"),
        "the two shares are swapped": (averaged(lambda d, n: pair(1 - min(d, warm(n)))), "swapped"),
        "the larger of the two decays": (averaged(lambda d, n: pair(max(d, warm(n)))), "larger of the two"),
        "the limit of the warm-up is missing": (averaged(lambda d, n: pair(warm(n))), "`decay` has no effect"),
        "the two decays are multiplied": (averaged(lambda d, n: pair(d * warm(n))), "multiply the two"),
        "the updates are counted from 0": (
            averaged(lambda d, n: pair(min(d, warm(n - 1)))),
            "the first update has n = 1",
        ),
        "this update is counted twice": (
            averaged(lambda d, n: pair(min(d, warm(n + 1)))),
            "counts this update already",
        ),
        "the decay warms up in one share only": (averaged(lambda d, n: (min(d, warm(n)), 1 - d)), "do not add up to 1"),
        "the new weight comes in whole": (averaged(lambda d, n: (min(d, warm(n)), 1)), "comes in whole"),
        "the old average is returned": (lambda average, weight, decay, n: average, "came back as it was"),
        "the new weight is returned": (lambda average, weight, decay, n: weight.float(), "that is no average"),
        "the average is changed in place": (in_place, "in place"),
        "the average is kept in bfloat16": (
            lambda a, w, d, n: a.bfloat16().lerp(w, 1 - min(d, warm(n))),
            "The average is bfloat16",
        ),
        "the new weight is rounded to bfloat16": (rounded, "was computed in bfloat16"),
        "the weight is subtracted, not the difference": (
            averaged(lambda d, n: (1, min(d, warm(n)) - 1)),
            "the difference",
        ),
        "the fraction is upside down": (averaged(lambda d, n: pair(min(d, (10 + n) / (1 + n) / 20))), "expected"),
        "a plain number is returned": (lambda average, weight, decay, n: 0.5, "expected a tensor"),
    },
)

# ---------------------------------------------------------------- 7.3


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
        "the first step has the rate 0": (rate(lambda s, n, w: min(1, s / w) if w else 1), "At step 0 the rate is 0"),
        "the warm-up is missing": (rate(lambda s, n, w: 1), "There is no warm-up"),
        "the cosine is missing": (rate(falling=lambda s, n, w: 1), "It does not fall"),
        "the cosine begins after the warm-up": (
            rate(falling=lambda s, n, w: math.cos(math.pi * max(0, s - w) / (n - w))),
            "begins at the end of the warm-up",
        ),
        "step + 1 in the cosine": (
            rate(falling=lambda s, n, w: math.cos(math.pi * (s + 1) / n)),
            "the last step has the rate 0",
        ),
        "the 1 + cosine is not halved": (lambda *a: 2 * rate()(*a), "Twice too much"),
        "a whole wave of the cosine": (
            rate(falling=lambda s, n, w: math.cos(2 * math.pi * s / n)),
            "up again at the end",
        ),
        "the cosine without the 1": (rate(falling=lambda s, n, w: 2 * math.cos(math.pi * s / n) - 1), "falls to -1"),
        "a quarter of a wave": (
            rate(falling=lambda s, n, w: 2 * math.cos(math.pi / 2 * s / n) - 1),
            "a quarter of a wave",
        ),
        "a straight line in place of the cosine": (rate(falling=lambda s, n, w: 1 - 2 * s / n), "along a line"),
        "radians are converted to radians once more": (
            rate(falling=lambda s, n, w: math.cos(math.radians(math.pi * s / n))),
            "radians",
        ),
        "degrees in place of radians": (rate(falling=lambda s, n, w: math.cos(180 * s / n)), "not 180"),
        "the cosine spans steps - 1": (
            rate(falling=lambda s, n, w: math.cos(math.pi * s / (n - 1))),
            "divide by steps",
        ),
        "the brackets around step + 1 are missing": (
            rate(lambda s, n, w: min(1, s + 1 / w) if w else 1),
            "Write (step + 1) / warmup",
        ),
        "max in place of min": (rate(lambda s, n, w: max(1, (s + 1) / w) if w else 1), "max in place of min"),
        "the warm-up takes one step more": (rate(lambda s, n, w: min(1, (s + 1) / (w + 1))), "over warmup + 1 steps"),
        "either the warm-up or the cosine": (
            lambda s, n, w, p: p * (s + 1) / w if s < w else rate()(s, n, 0, p),
            "both factors are there at every step",
        ),
        "the warm-up has no end": (rate(lambda s, n, w: (s + 1) / w if w else 1), "goes on rising"),
        "the peak is left out": (lambda s, n, w, p: rate()(s, n, w, 1), "`peak` has no effect"),
        "a division by a warm-up of 0": (rate(lambda s, n, w: min(1, (s + 1) / w)), "ZeroDivisionError"),
        "nothing is returned": (lambda *_: None, "return"),
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


def put_together(loss_of, parts, optimiser):
    optimiser.zero_grad()
    loss_of(torch.cat(list(parts))).mean().backward()
    optimiser.step()


def divided_at_the_end(loss_of, parts, optimiser):
    """Sums go backwards; their gradients are divided afterwards."""
    optimiser.zero_grad()
    for part in parts:
        loss_of(part).sum().backward()
    for p in optimiser.param_groups[0]["params"]:
        p.grad /= sum(map(len, parts))
    optimiser.step()


ACCUMULATED = (
    [divided_at_the_end, training_answers.accumulated_step, weighted_means, accumulated(right_share)],
    {
        "the mean of the parts' means": (
            accumulated(lambda x, parts, n: x.mean() / len(parts)),
            "mean of the parts' means",
        ),
        "the parts' means are added up": (accumulated(lambda x, parts, n: x.mean()), "added up"),
        "a sum in place of the mean": (accumulated(lambda x, parts, n: x.sum()), "the sum over all samples"),
        "divided by the number of parts": (
            accumulated(lambda x, parts, n: x.sum() / len(parts)),
            "the sum over all samples",
        ),
        "zero_grad is missing": (accumulated(right_share, first=False), "The old gradients are still in it"),
        "zero_grad within the loop": (accumulated(right_share, inside="zero"), "zero_grad in the loop"),
        "a step for each part": (accumulated(right_share, inside="step", last=""), "made 3 steps"),
        "a step in the loop and after it": (accumulated(right_share, inside="step"), "made 2 steps"),
        "the optimiser's step is missing": (accumulated(right_share, last=""), "The optimiser made no step"),
        "the backward pass is missing": (lambda loss_of, parts, optimiser: optimiser.step(), "No backward pass"),
        "all parts forwards, then all backwards": (all_forward_first, "All parts went forwards"),
        "backward after the loop": (backward_of_the_last, "All parts went forwards"),
        "divided by the number of pixels": (
            accumulated(lambda x, parts, n: x.sum() / (2 * n)),
            "Every number of a sample",
        ),
        "divided by the first part's size": (
            accumulated(lambda x, parts, n: x.sum() / (len(parts[0]) if len(parts) > 1 else n)),
            "the size of the first part",
        ),
        "uphill in place of down": (accumulated(lambda x, parts, n: -x.sum() / n), "the step went along"),
        "the parts are put together again": (put_together, "put together again"),
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
        "clip each": lambda loss, ps, o, s, limit: [torch.nn.utils.clip_grad_norm_([p], limit) for p in ps],
        "clip too short": lambda loss, ps, o, s, limit: torch.nn.utils.clip_grad_norm_(ps, limit / s.get_scale()),
        "clip scaled": lambda loss, ps, o, s, limit: torch.nn.utils.clip_grad_norm_(ps, limit * s.get_scale()),
        "backward twice": lambda loss, ps, o, s, limit: s.scale(2 * loss).backward(),
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
        scaled("zero", "backward", "clip scaled", "step", "update"),  # the other way round: the limit is scaled as well
    ],
    {
        "clipped while the gradient is scaled": (
            scaled("zero", "backward", "clip", "unscale", "step", "update"),
            "unscale_ first",
        ),
        "unscale_ is missing": (scaled("zero", "backward", "clip", "step", "update"), "unscale_ first"),
        "the clipping is missing": (scaled("zero", "backward", "unscale", "step", "update"), "not clipped"),
        "clipped after the step": (scaled("zero", "backward", "unscale", "step", "clip", "update"), "not clipped"),
        "the loss is not scaled": (
            scaled("zero", "plain backward", "unscale", "clip", "step", "update"),
            ".scale(loss or outputs)",
        ),
        "the scaled loss is thrown away": (
            scaled("zero", "scale", "plain backward", "unscale", "clip", "step", "update"),
            "1024 times too small",
        ),
        "stepped without the scaler": (
            scaled("zero", "backward", "unscale", "clip", "plain step", "update"),
            "went into the weights",
        ),
        "a plain step along the scaled gradient": (
            scaled("zero", "backward", "plain step"),
            "The scaled gradient went",
        ),
        "clipped while scaled, then a plain step": (scaled("zero", "backward", "clip", "plain step"), "has norm 1"),
        "scaled, then a plain step and update": (
            scaled("zero", "backward", "plain step", "update"),
            "No inf checks were recorded",
        ),
        "the step is missing": (scaled("zero", "backward", "unscale", "clip", "update"), "did not move"),
        "the scale is never updated": (
            scaled("zero", "backward", "unscale", "clip", "step"),
            "scaler.update() halves it",
        ),
        "zero_grad is missing": (scaled("backward", "unscale", "clip", "step", "update"), "zero_grad first"),
        "unscaled twice": (scaled("zero", "backward", "unscale", "unscale", "clip", "step", "update"), "RuntimeError"),
        "each number is clipped by itself": (
            scaled("zero", "backward", "unscale", "clip values", "step", "update"),
            "Each number was clipped by itself",
        ),
        "each tensor is clipped by itself": (
            scaled("zero", "backward", "unscale", "clip each", "step", "update"),
            "Each tensor was clipped by itself",
        ),
        "the limit is divided by the scale": (
            scaled("zero", "backward", "unscale", "clip too short", "step", "update"),
            "(or to the limit / scale)",
        ),
        "doubled by a second backward pass": (
            scaled("zero", "backward twice", "unscale", "clip", "step", "update"),
            "the step should be",
        ),
    },
)

# ---------------------------------------------------------------- 7.7


def clip(net, limit):
    torch.nn.utils.clip_grad_norm_(net.parameters(), limit)


def follow(net, average, decay, n, d=lambda decay, n: min(decay, warm(n)), what=lambda p: p.detach()):
    """The average after an update with the decay ``d``."""
    for name, p in net.named_parameters():
        kept = d(decay, n)
        average[name] = kept * average[name] + (1 - kept) * what(p)


def whole(*actions, **following):
    """A step of such actions; those whose names begin with "each " are done for each part, after its backward pass."""

    def f(run, loss_of, parts, limit, decay, n):
        net, optimiser, average = run
        do = {
            "zero": optimiser.zero_grad,
            "clip": lambda: clip(net, limit),
            "clip to 1": lambda: clip(net, 1.0),
            "clip tensors": lambda: [torch.nn.utils.clip_grad_norm_([p], limit) for p in net.parameters()],
            "clip values": lambda: torch.nn.utils.clip_grad_value_(net.parameters(), limit),
            "step": optimiser.step,
            "follow": lambda: follow(net, average, decay, n, **following),
            "take over": lambda: net.load_state_dict(average),
            "nothing": lambda: None,
        }
        before, each = actions[: actions.index("parts")], [a for a in actions if a.startswith("each ")]
        for action in before:
            do[action]()
        for part in parts:
            (loss_of(part).sum() / sum(map(len, parts))).backward()
            for action in each:
                do[action.removeprefix("each ")]()
        for action in actions[len(before) + 1 + len(each) :]:
            do[action]()

    return f


def standing_still(run, loss_of, parts, limit, decay, n):
    """As the page's solution: an optimiser that makes no step gathers the gradient."""
    net, optimiser, average = run
    training_answers.accumulated_step(loss_of, parts, torch.optim.SGD(net.parameters(), lr=0.0))
    clip(net, limit)
    optimiser.step()
    for name, p in net.named_parameters():
        average[name] = training_answers.followed(average[name], p.detach(), decay, n)


def with_a_hook(run, loss_of, parts, limit, decay, n):
    """Clipping just before the optimiser's step; the average in place."""
    net, optimiser, average = run
    hook = optimiser.register_step_pre_hook(lambda *_: clip(net, limit))
    training_answers.accumulated_step(loss_of, parts, optimiser)
    hook.remove()
    with torch.no_grad():
        for name, p in net.named_parameters():
            average[name].lerp_(p, max(1 - decay, 9 / (10 + n)))


def two_steps(run, loss_of, parts, limit, decay, n):
    net, optimiser, average = run
    training_answers.accumulated_step(loss_of, parts, optimiser)
    clip(net, limit)
    optimiser.step()
    follow(net, average, decay, n)


def clips_each_share(share_of_the_limit, again=False):
    """Each part's own gradient is clipped, then they are added up: as DDPM's code does it for each replica."""

    def f(run, loss_of, parts, limit, decay, n):
        net, optimiser, average = run
        gathered = [torch.zeros_like(p) for p in net.parameters()]
        for part in parts:
            optimiser.zero_grad()
            (loss_of(part).sum() / sum(map(len, parts))).backward()
            clip(net, limit * share_of_the_limit(len(parts)))
            gathered = [g + p.grad for g, p in zip(gathered, net.parameters(), strict=True)]
        for p, g in zip(net.parameters(), gathered, strict=True):
            p.grad = g
        if again:
            clip(net, limit)
        optimiser.step()
        follow(net, average, decay, n)

    return f


def mean_of_means(run, loss_of, parts, limit, decay, n):
    net, optimiser, average = run
    optimiser.zero_grad()
    for part in parts:
        (loss_of(part).mean() / len(parts)).backward()
    clip(net, limit)
    optimiser.step()
    follow(net, average, decay, n)


def trains_the_average(run, loss_of, parts, limit, decay, n):
    net, _, average = run
    training_answers.accumulated_step(loss_of, parts, torch.optim.SGD(net.parameters(), lr=0.0))
    clip(net, limit)
    for name, p in net.named_parameters():
        average[name] = average[name] - 0.1 * p.grad


def from_the_average(run, *rest):
    """The network takes over the average before its step, and the average follows from where it was."""
    net, _, average = run
    net.load_state_dict(average)
    standing_still(run, *rest)


def trains_both(run, *rest):
    old = {name: value.clone() for name, value in run[2].items()}
    standing_still(run, *rest)
    run[2].update({name: old[name] - 0.1 * p.grad for name, p in run[0].named_parameters()})


def only_the_weight(run, *rest):
    old = run[2]["bias"]
    standing_still(run, *rest)
    run[2]["bias"] = old


def rebinds(run, loss_of, parts, limit, decay, n):
    standing_still((*run[:2], dict(run[2])), loss_of, parts, limit, decay, n)


def of_another_name(run, *rest):
    standing_still(run, *rest)
    run[2]["average.weight"] = run[2]["weight"]


def of_another_shape(run, *rest):
    standing_still(run, *rest)
    run[2]["weight"] = run[2]["weight"].flatten()


USUAL = ("zero", "parts", "clip", "step", "follow")
WHOLE = (
    [training_answers.whole_step, standing_still, with_a_hook, whole(*USUAL)],
    {
        "the average is updated before the step": (whole("zero", "parts", "clip", "follow", "step"), "before the step"),
        "the average is updated for each part": (
            whole("zero", "parts", "each follow", "clip", "step"),
            "updated for each part",
        ),
        "the average is updated for each part and after": (
            whole("zero", "parts", "each follow", "clip", "step", "follow"),
            "updated for each part",
        ),
        "the average is updated three times": (whole(*USUAL, "follow", "follow"), "updated for each part"),
        "each part's gradient is clipped": (clips_each_share(lambda k: 1), "The gradient of each part was clipped"),
        "each part gets its share of the limit": (
            clips_each_share(lambda k: 1 / k),
            "The gradient of each part was clipped",
        ),
        "each part is clipped, then all of it": (
            clips_each_share(lambda k: 1, again=True),
            "The gradient of each part was clipped",
        ),
        "clipped again after each part": (
            whole("zero", "parts", "each clip", "step", "follow"),
            "The gradient of each part was clipped",
        ),
        "clipped after the step": (whole("zero", "parts", "step", "clip", "follow"), "clipped after the step"),
        "the clipping is missing": (whole("zero", "parts", "step", "follow"), "The gradient was not clipped"),
        "each tensor is clipped by itself": (
            whole("zero", "parts", "clip tensors", "step", "follow"),
            "Each tensor was clipped by itself",
        ),
        "each number is clipped by itself": (
            whole("zero", "parts", "clip values", "step", "follow"),
            "Each number was clipped by itself",
        ),
        "the limit is always 1": (whole("zero", "parts", "clip to 1", "step", "follow"), "whatever `limit` is"),
        "zero_grad is missing": (whole(*USUAL[1:]), "The old gradients are still in it"),
        "zero_grad comes at the end": (whole(*USUAL[1:], "zero"), "The old gradients are still in it"),
        "zero_grad after each part": (whole("zero", "parts", "each zero", "clip", "step", "follow"), "did not move"),
        "a step for each part": (whole("zero", "parts", "each step", "clip", "follow"), "one for each part"),
        "accumulated_step steps, and then another step": (two_steps, "accumulated_step makes one itself"),
        "the step is missing": (whole("zero", "parts", "clip", "follow"), "The optimiser of the run made no step"),
        "the mean of the parts' means": (mean_of_means, "the mean of the parts' means"),
        "the network takes over the average": (whole(*USUAL, "take over"), "was given the weights of the average"),
        "the step starts from the average": (from_the_average, "was given the weights of the average"),
        "the average is trained, the network is not": (
            trains_the_average,
            "The average was trained, and the network stayed",
        ),
        "the average is trained as well": (trains_both, "The average was trained as well"),
        "the gradients are averaged": (whole(*USUAL, what=lambda p: p.grad), "an average of the gradients"),
        "the average does not warm up": (whole(*USUAL, d=lambda decay, n: decay), "There is no warm-up"),
        "average and weight are exchanged": (
            whole(*USUAL, d=lambda decay, n: 1 - min(decay, warm(n))),
            "Average and weight are exchanged",
        ),
        "decay and n are exchanged": (
            whole(*USUAL, d=lambda decay, n: min(n, warm(decay))),
            "`decay` and `n` are exchanged",
        ),
        "the updates are counted from 0": (
            whole(*USUAL, d=lambda decay, n: min(decay, warm(n - 1))),
            "One off: n is the number of this update",
        ),
        "this update is counted twice": (
            whole(*USUAL, d=lambda decay, n: min(decay, warm(n + 1))),
            "One off: n is the number of this update",
        ),
        "the average is a copy of the network": (whole(*USUAL, d=lambda decay, n: 0), "forgets what was before"),
        "the average is a new dict": (rebinds, "The average is as it was"),
        "the bias is not averaged": (only_the_weight, "Only some of the weights"),
        "the average carries the graph along": (whole(*USUAL, what=lambda p: p), "grown into the graph"),
        "the average has other names": (of_another_name, "The average has new names"),
        "the average has another shape": (of_another_shape, "should be a tensor of shape (1, 2)"),
        "the average moves by half of that": (
            whole(*USUAL, d=lambda decay, n: (1 + min(decay, warm(n))) / 2),
            "the average should be",
        ),
        "the gradient is doubled": (
            lambda run, loss_of, *rest: standing_still(run, lambda part: 2 * loss_of(part), *rest),
            "the network should be at",
        ),
        "nothing is done": (lambda *_: None, "No backward pass"),
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
    e.whole_step: WHOLE,
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
