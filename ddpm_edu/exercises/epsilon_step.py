"""The check of notebook 03's step of training: what it shows a network, and what the network's weights make of it.

The network writes down what it is shown, and says 0 through one weight a number: so plain gradient descent moves these
weights along the target. On a batch of zeros what is shown is noise alone, and another run with the same generator
tells the image's factor. Each run takes two steps and looks at the second, which sees what the first has left.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ddpm_edu.exercises.frame import CheckFailed, call, check
from ddpm_edu.exercises.small_chain import AB, ROOT_ALPHA, T, chain

_POINTS, _IMAGES = (4000, 2), (6, 1, 3, 3)  # many, so that means say something; and four axes
_LR = 0.1


class _Silent(nn.Module):
    """Says 0 at every place, and writes down what it was asked and when a gradient came by."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.answer = nn.Parameter(torch.zeros(shape))
        self.shown: list[tuple[Tensor, Any]] = []
        self.events: list[str] = []

    def forward(self, x: Any, t: Any) -> Tensor:
        """0, in the shape of the batch."""
        if not isinstance(x, Tensor) or x.shape != self.answer.shape:
            raise CheckFailed("The network's first argument has not the shape of x_0. Call net(x_t, t), in this order.")
        self.shown.append((x.detach().clone(), t.clone() if isinstance(t, Tensor) else t))
        said = self.answer * 1
        if not said.requires_grad:
            raise CheckFailed("The network was called under no_grad: no gradient reaches it, and it learns nothing.")
        said.register_hook(lambda _: self.events.append("backward"))
        return said


class _Noting(torch.optim.SGD):
    """Plain gradient descent that writes down its steps."""

    def __init__(self, net: _Silent) -> None:
        super().__init__(net.parameters(), lr=_LR)
        self.events = net.events

    def step(self, closure: Any = None) -> Any:
        """One more."""
        self.events.append("step")
        return super().step(closure)


class _Run(NamedTuple):
    """A second step: the times and the batch that the network was given (and the first step's), and what it did."""

    t: Tensor
    shown: Tensor
    t_before: Tensor
    shown_before: Tensor
    moved: Tensor
    events: list[str]
    result: Any


def _run(f: Callable[..., Any], x0: Tensor, seed: int = 0) -> _Run:
    net, g = _Silent(tuple(x0.shape)), torch.Generator().manual_seed(seed)
    optimiser = _Noting(net)
    for _ in range(2):
        net.answer.detach().zero_()
        net.events.clear()
        asked = len(net.shown)
        result = call(f, net, optimiser, chain(), x0, g)
        if len(net.shown) == asked:
            raise CheckFailed("The network was never called: its prediction is net(x_t, t).")
        _judge_kind(net.shown[-1][1], len(x0))
    (shown_before, t_before), (shown, t) = net.shown[asked - 1], net.shown[-1]
    return _Run(t, shown, t_before, shown_before, net.answer.detach(), net.events, result)


def _judge_kind(t: Any, n: int) -> None:
    if not isinstance(t, Tensor) or t.shape != (n,):
        shape = f"shape {tuple(t.shape)}" if isinstance(t, Tensor) else type(t).__name__
        raise CheckFailed(f"The network was given t as {shape}: it is (N,), one t a sample.")
    if t.is_floating_point():
        raise CheckFailed("The network was given fractions for t (t / T?). It is told t itself, int64.")


@check("3.7 find the bugs: a training step")
def training_step(f: Callable[..., Any]) -> None:
    """f(net, optimiser, s, x0, g) must make one step of DDPM's Algorithm 1 with t and noise from g: the mean loss."""
    (noise, before), run = _drawn(f, _POINTS)
    _judge_times(run.t)
    _judge_noise(noise, run.t)
    _judge_step(run.events, run.moved)
    _judge_target(noise, before, run, _data(_POINTS))
    _judge_loss(run.result, noise)
    (noise, before), run = _drawn(f, _IMAGES)
    _judge_target(noise, before, run, _data(_IMAGES))


def _data(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)) + 0.5


# ---------------------------------------------------------------- what the network was shown


def _drawn(f: Callable[..., Any], shape: tuple[int, ...]) -> tuple[tuple[Tensor, Tensor], _Run]:
    """The noise in x_t of the second step, and of the first, by a run on zeros; then a run on data, the same draws."""
    x0 = _data(shape)
    empty, run = _run(f, torch.zeros(shape)), _run(f, x0)
    if torch.equal(empty.t, empty.t_before) and torch.equal(empty.shown, empty.shown_before) and empty.shown.any():
        raise CheckFailed("Every step draws the same t and noise. Take them from g as it comes: do not seed it again.")
    if not torch.equal(run.t, empty.t):
        raise CheckFailed("Equal generators gave different t: draw them with generator=g.")
    image = run.shown - empty.shown
    factor = (image * x0).flatten(1).sum(1) / x0.square().flatten(1).sum(1)
    if (image - _beside(factor, x0) * x0).abs().max() > 1e-3:
        raise CheckFailed("Equal generators gave different noise: draw it with generator=g.")
    _judge_factor(factor, run.t, bool(empty.shown.any()))
    rest = (1 - torch.tensor(AB)).sqrt()
    pairs = (empty.t, empty.shown), (empty.t_before, empty.shown_before)
    noise, before = (shown / _beside(rest[t], x0) for t, shown in pairs)
    return (noise, before), run


def _beside(values: Tensor, x: Tensor) -> Tensor:
    """(N,) in a shape that multiplies x."""
    return values.view(-1, *[1] * (x.ndim - 1))


def _judge_factor(factor: Tensor, t: Tensor, noisy: bool) -> None:
    """Whether x_t has sqrt(alpha_bar_t) x_0 in it, for the t that the network was told."""
    if not noisy:
        raise CheckFailed("The network was shown no noise at all. It must find the noise in x_t: q_sample.")
    root = torch.tensor(AB).sqrt()
    if t.min() >= 0 and t.max() < T and torch.allclose(factor, root[t + 1], atol=1e-3):
        raise CheckFailed("x_t was made with t, and the network was told t - 1. Tell it t: there is nothing to shift.")
    _judge_range(t)
    mistakes = [
        (root[t - 1], "The network was told t, and x_t was made with t - 1. The same t for both."),
        (torch.ones(len(t)), "x_0 has no factor in what the network was shown: x_t = q_sample(s, x0, t, noise)."),
        (root[t] ** 2, "x_0 stands in x_t times alpha_bar_t: its square root is missing."),
        (torch.tensor(ROOT_ALPHA)[t - 1], "What was shown is one step from x_0. t steps away: q_sample, alpha_bar."),
        (torch.zeros(len(t)), "The network was shown noise alone, without the image. Show it x_t."),
    ]
    if torch.allclose(factor, root[t], atol=1e-3):
        return
    for values, message in mistakes:
        if torch.allclose(factor, values, atol=1e-3):
            raise CheckFailed(message)
    raise CheckFailed("What was shown is not x_t of the t that the network was told: q_sample(s, x0, t, noise).")


def _judge_range(t: Tensor) -> None:
    """t = 0 is the clean image: nothing is to be found in it, and q_sample refuses it."""
    if t.min() < 0 or t.max() > T:
        raise CheckFailed(f"t from {int(t.min())} to {int(t.max())} was drawn. The chain has t = 1..{T}.")
    if t.min() == 0:
        upper = f" And t = T = {T}, where sampling begins, is not." if t.max() < T else ""
        raise CheckFailed(f"t = 0 is drawn, where there is no noise to find: the first is t = 1.{upper}")


def _judge_times(t: Tensor) -> None:
    """One t a sample, each of 1..T as often as the others."""
    if len(t.unique()) == 1:
        raise CheckFailed("One t for the whole batch. Draw one a sample, (N,): the loss then jumps about far less.")
    if t.max() < T:
        raise CheckFailed(
            f"t = T is never drawn ({T} here, the largest drawn is {int(t.max())}), and there sampling begins. "
            "torch.randint leaves its upper end out."
        )
    if t.min() > 1:
        raise CheckFailed(
            f"t = 1 is never drawn (the smallest is {int(t.min())}): nobody trains the last step of sampling."
        )
    shares = [(t == time).float().mean().item() for time in range(1, T + 1)]
    if max(abs(share - 1 / T) for share in shares) > 0.05:
        raise CheckFailed(
            f"The times are not drawn equally often: shares {[round(share, 2) for share in shares]} for t = 1..{T}."
        )


def _judge_noise(noise: Tensor, t: Tensor) -> None:
    """Whether it is standard normal, and each number a draw of its own."""
    mean, std = noise.mean().item(), noise.std().item()
    if bool((noise > -1e-4).all()) and noise.max() < 1.001:
        raise CheckFailed(
            f"The noise lies between 0 and 1, with mean {mean:.2f} and variance {std**2:.2f}: that is torch.rand, "
            "uniform. Gaussian noise, as sampling begins with, is torch.randn."
        )
    if (noise - noise[:1]).abs().max() < 1e-3:
        raise CheckFailed("One noise for the whole batch. Draw it in the shape of x0, so that each sample has its own.")
    if (noise - noise[:, :1]).abs().max() < 1e-3:
        raise CheckFailed("All numbers of a sample have the same noise. Draw it in the shape of x0.")
    if noise.abs().max() < 2.5:
        raise CheckFailed(f"No noise is beyond {noise.abs().max():.1f}: it is uniform. Gaussian noise is torch.randn.")
    by_t = torch.stack([noise[t == time].square().mean() for time in range(1, T + 1)])
    if abs(mean) < 0.1 and by_t.max() > 1.3 * by_t.min():
        raise CheckFailed("The noise's factor in x_t is not sqrt(1 - alpha_bar_t): x_t = q_sample(s, x0, t, noise).")
    if abs(mean) > 0.1 or abs(std - 1) > 0.1:
        raise CheckFailed(
            f"The noise has mean {mean:.2f} and standard deviation {std:.2f}. Standard normal noise has 0 and 1."
        )


# ---------------------------------------------------------------- what became of the weights


def _judge_step(events: list[str], moved: Tensor) -> None:
    """One backward pass, then one step, which moves the weights."""
    steps = events.count("step")
    if "backward" not in events:
        raise CheckFailed("No backward pass was made: loss.backward() works out the gradient.")
    if steps != 1:
        many = "no step: optimiser.step() is missing" if steps == 0 else f"{steps} steps: one a batch"
        raise CheckFailed(f"The optimiser made {many}.")
    if events.index("step") < events.index("backward"):
        raise CheckFailed("The step came before the backward pass, which works out where to go.")
    if not moved.any():
        raise CheckFailed("The step moved nothing: zero_grad stands between backward and step and wipes the gradient.")


def _judge_target(noise: Tensor, before: Tensor, run: _Run, x0: Tensor) -> None:
    """Whether the answer 0 was drawn towards the noise in x_t: the mean square's gradient is -2 target / numel."""
    target = run.moved * run.moved.numel() / (2 * _LR)

    def near(values: Tensor) -> bool:
        return (target - values).norm().item() < 0.01 * values.norm().item()

    if near(noise):
        return
    mistakes = [
        (x0, "The target is x_0. This network predicts the noise."),
        (run.shown, "The target is x_t, which the network was shown. It predicts the noise in it."),
        (run.shown - x0, "The target is x_t - x_0. The noise is the one given to q_sample, of variance 1."),
        (noise.sign() / 2, "Absolute values in place of squares: L_simple is a mean of squares."),
        (
            -noise,
            "The step goes uphill: the error is the prediction *less* the noise, and its square has no minus in front.",
        ),
    ]
    for values, message in mistakes:
        if near(values):
            raise CheckFailed(message)
    both = noise + before
    if near((target * both).sum() / both.square().sum() * both):
        raise CheckFailed(
            "The gradient of the step before is still in it: backward adds to what it finds. optimiser.zero_grad() "
            "first."
        )
    times = (target * noise).sum().item() / noise.square().sum().item()
    if near(times * noise):
        _name_factor(times, noise)
    if abs(times) < 0.1 and 0.8 < target.std() < 1.2:
        raise CheckFailed("The target is noise, but not the noise in x_t: it was drawn anew. Draw once, use it twice.")
    raise CheckFailed("The loss is not the squared error of the noise in x_t, the same weight for each number.")


def _name_factor(times: float, noise: Tensor) -> None:
    """A gradient in the right direction, ``times`` as long as that of the mean."""
    samples, each = len(noise), noise[0].numel()
    names = {
        samples * each: "The squares are added up over everything. Their mean is taken, or",
        each: "The squares are added up over each sample's numbers. Their mean is taken, or",
        samples: "The losses are added up over the batch. Their mean is taken, or",
    }
    for factor, message in names.items():
        if math.isclose(times, factor, rel_tol=0.02):
            raise CheckFailed(f"{message} the size of the step depends on how many there are.")
    if math.isclose(times, 0.5, rel_tol=0.05):
        raise CheckFailed("The gradient is half of that of the mean square. Is there a 1/2, or a root, in the loss?")
    raise CheckFailed(f"The gradient is {times:.3g} times that of the mean square, L_simple.")


def _judge_loss(result: Any, noise: Tensor) -> None:
    """Whether the mean loss came back, as a number or a tensor with one."""
    if result is None:
        raise CheckFailed("The step is right, but your function returned None. Return the mean loss: loss.item().")
    if isinstance(result, Tensor) and result.numel() == 1:
        result = result.item()
    if isinstance(result, bool) or not isinstance(result, int | float):
        raise CheckFailed("The step is right, but one number is to come back: the batch's mean loss, loss.item().")
    want = noise.square().mean().item()  # the network has said 0
    if not math.isclose(result, want, rel_tol=1e-3):
        raise CheckFailed(f"The step is right, but the loss that came back is {result:.4f}, and it was {want:.4f}.")
