"""The check of notebook 05 for a step upwards. The oracle solves for an unknown, in plain floats."""

from collections.abc import Callable, Sequence
from math import sqrt
from typing import Any

from torch import Tensor

from ddpm_edu.exercises.factors import PAIRS, Case, Input, Mistakes, examine
from ddpm_edu.exercises.frame import call, check
from ddpm_edu.exercises.sampling_inputs import NOT_RANDOM
from ddpm_edu.exercises.small_chain import AB, BETAS, chain

ROOT, REST, NOISE = [sqrt(ab) for ab in AB], [sqrt(1 - ab) for ab in AB], [1 - ab for ab in AB]


def _upwards(x_s: float, eps: float, t: int, s: int) -> float:
    """x_0 solved for at s, then mixed with the same eps at t."""
    x0 = (x_s - REST[s] * eps) / ROOT[s]
    return ROOT[t] * x0 + REST[t] * eps


_FACTORS_OF_XS: Mistakes = [
    (lambda t, s: ROOT[s] / ROOT[t], "the times are exchanged: that is DDIM's step down, from t to s_."),
    (lambda t, s: AB[t] / AB[s], "alpha_bar_t / alpha_bar_s is to be under a root."),
    (lambda t, s: ROOT[t], "it is sqrt(alpha_bar_t), as if x_s were x_0. First x_0 = (x_s - ..) / sqrt(alpha_bar_s)."),
    (lambda t, s: ROOT[t] / AB[s], "x_0 is (x_s - ..) over sqrt(alpha_bar_s): its root is missing."),
    (lambda t, s: AB[t] / ROOT[s], "x_t has sqrt(alpha_bar_t) x_0: its root is missing."),
    (
        lambda t, s: sqrt(1 - BETAS[t - 1]),
        "alpha_t is that of a single step. Use s.alpha_bar[t] and s.alpha_bar[s_].",
    ),
    (lambda t, s: 1, "it is 1. x_0, and so x_s, is shrunk on the way up."),
    (lambda t, s: 1 / ROOT[s], "that is x_0. It has still to be mixed with eps, as it is at t."),
]
_ADDED: Mistakes = [
    (lambda t, s: sqrt(1 - AB[t] / AB[s]), "noise is added to x_s, as forwards. What is in x_s is turned up instead."),
    (lambda t, s: REST[t], "it comes on top of the noise that x_s has. Take x_0 out of x_s first."),
    (lambda t, s: REST[s] - ROOT[t] / ROOT[s] * REST[s], "x_t gets the noise of s_ in place of that of t."),
    (lambda t, s: REST[t] - ROOT[t] / ROOT[s] * REST[t], "x_0 is found with the noise of t, and x_s has that of s_."),
    (lambda t, s: NOISE[t] - ROOT[t] / ROOT[s] * NOISE[s], "the roots are missing: sqrt(1 - alpha_bar) eps."),
    (lambda t, s: NOISE[t] - ROOT[t] / ROOT[s] * REST[s], "x_t ends in sqrt(1 - alpha_bar_t) eps: a root is missing."),
    (lambda t, s: REST[t] - ROOT[t] / ROOT[s] * NOISE[s], "x_s has sqrt(1 - alpha_bar_s) eps: a root is missing."),
    (lambda t, s: REST[t] - REST[s], "what is taken out of x_s is shrunk with it: sqrt(alpha_bar_t / alpha_bar_s)."),
    (lambda t, s: REST[t] + ROOT[t] / ROOT[s] * REST[s], "the sign: the noise of x_s is taken away, not added."),
    (lambda t, s: -REST[t] - ROOT[t] / ROOT[s] * REST[s], "the sign: x_t ends in + sqrt(1 - alpha_bar_t) eps."),
    (lambda t, s: 0, "it is 0. x_t has more noise than x_s: + sqrt(1 - alpha_bar_t) eps."),
]


@check("5.6 one step upwards")
def invert_step(f: Callable[..., Any]) -> None:
    """f(s, x_s, s_, t, eps) must be the x_t that has the x_0 and the eps of x_s."""
    table = chain()

    def run(inputs: Sequence[Tensor], case: Case) -> Any:
        t, s = case
        return call(f, table, inputs[0], s, t, inputs[1])

    parts = [
        Input("x_s", lambda t, s: _upwards(1, 0, t, s), _FACTORS_OF_XS),
        Input("eps", lambda t, s: _upwards(0, 1, t, s), _ADDED),
    ]
    examine(run, parts, PAIRS, "t = {}, s_ = {}", NOT_RANDOM)
