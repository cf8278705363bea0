"""What common mistakes make of the five-step chain, for the checks of notebook 01: numbers, and what to say about them.

Plain floats throughout, worked out here and never by the library: a mistake is recognised by the numbers it gives.
Where two mistakes give the same numbers, the message covers both.
"""

import math

from ddpm_edu.exercises.small_chain import AB, BETAS, ROOT_AB, ROOT_ALPHA, ROOT_BETA, ROOT_REST, Mistake, T

Row = tuple[list[float], str]  # numbers, and what to say to whoever got them

ALPHA, REST = [1 - b for b in BETAS], [1 - ab for ab in AB[1:]]
ZERO = [0.0] * T
SWAPPED = "Signal and noise have each other's coefficients: swap them."


def _of_any_sum(a: list[float], b: list[float]) -> list[Mistake]:
    """Mistakes about x_t = a_t x + b_t noise that have nothing to do with what a and b are."""
    both = [u + v for u, v in zip(a, b, strict=True)]
    return [
        Mistake(b, a, SWAPPED),
        Mistake(a, ZERO, "The noise has no effect: add it, multiplied by its coefficient."),
        Mistake(ZERO, b, "The image has no effect: only the noise is in your result."),
        Mistake(ZERO, both, "Both coefficients multiply the noise, and the image has no effect."),
        Mistake(a, [-v for v in b], "The noise is subtracted. In law that is the same, but here it is added: use +."),
        Mistake(
            [a[0]] * T,
            [b[0]] * T,
            "Every sample gets the coefficients of the first sample's t. Each has a time of its own: at(table, t, x).",
        ),
        Mistake(
            [1.0, *a[:-1]],
            [0.0, *b[:-1]],
            "Your coefficients are those of the step before. The tables have T + 1 entries, the first for the clean "
            "image, so s.beta[t] is already right: no t - 1.",
        ),
    ]


# ---------------------------------------------------------------- 1.1 one step

ONE_STEP = [
    Mistake(
        ROOT_ALPHA,
        list(BETAS),
        "The noise is multiplied by beta_t. beta_t is its variance: multiply by its square root.",
    ),
    Mistake(ALPHA, ROOT_BETA, "The image is multiplied by 1 - beta_t: its square root is missing."),
    Mistake(ALPHA, list(BETAS), "Both square roots are missing: coefficients act on values, betas are variances."),
    Mistake(
        [1 - r for r in ROOT_BETA],
        ROOT_BETA,
        "The image is multiplied by 1 - sqrt(beta_t). First 1 - beta_t, then the root: it is the variances that add "
        "up to 1, not the coefficients.",
    ),
    Mistake(
        [1.0] * T,
        ROOT_BETA,
        "The image is not shrunk, so the variance grows with every step. Multiply it by sqrt(1 - beta_t).",
    ),
    Mistake(ROOT_AB, ROOT_REST, "That is the jump from x_0, with alpha_bar. A single step uses beta_t alone."),
    *_of_any_sum(ROOT_ALPHA, ROOT_BETA),
]

# ---------------------------------------------------------------- 1.2 the running product

PRODUCT: list[Row] = [
    (
        [1.0] + [AB[-1]] * T,
        "Every entry is the product over the whole chain. The product of entry t stops at t.",
    ),
    ([1.0] + [math.prod(BETAS[:t]) for t in range(1, T + 1)], "You multiply the betas. What survives is 1 - beta."),
    (
        [1.0] + [1 - math.prod(BETAS[:t]) for t in range(1, T + 1)],
        "You multiply the betas and take the product from 1. First 1 - beta for each step, then the product.",
    ),
    (
        [1.0] + [1 - sum(BETAS[:t]) for t in range(1, T + 1)],
        "You subtract the betas one after another. Each step takes its share of what is *left*: multiply.",
    ),
    ([1.0, *ROOT_AB], "That is sqrt(alpha_bar), the factor on the image. alpha_bar is the product without the root."),
    ([1.0, *REST], "That is 1 - alpha_bar, the share of noise. alpha_bar is the share of the image."),
    ([1.0, *ALPHA], "That is alpha_t = 1 - beta_t of each step by itself. Multiply them up: torch.cumprod."),
    ([1.0, *AB[:-1]], "Everything stands one place too late: entry 1 must be 1 - beta_1."),
    ([*AB[1:], 1.0], "The 1 stands at the end. It is alpha_bar_0, of the clean image, and comes first."),
    (
        [0.0] * (T + 1),
        "All entries are 0: one factor 0 is enough for that. What belongs in front is the 1 of an empty product.",
    ),
    ([0.0, *AB[1:]], "A 0 stands in front. The empty product is 1: at t = 0 all of the image is there."),
]

# ---------------------------------------------------------------- 1.3 the jump


def _one_noise_in_every_step() -> list[float]:
    """What the noise is multiplied by if the steps are walked with the same noise each time."""
    factors, b = [], 0.0
    for keep, add in zip(ROOT_ALPHA, ROOT_BETA, strict=True):
        b = keep * b + add
        factors.append(b)
    return factors


_TWICE = [math.prod(AB[1 : t + 1]) for t in range(1, T + 1)]  # alpha_bars, multiplied up once more
_SAME_NOISE = _one_noise_in_every_step()
_END = "Every t gets the end of the chain. Each sample needs its own alpha_bar[t]."

JUMP = [
    Mistake(ROOT_AB, REST, "The noise is multiplied by 1 - alpha_bar_t. That is its variance: take the square root."),
    Mistake(AB[1:], ROOT_REST, "The image is multiplied by alpha_bar_t: its square root is missing."),
    Mistake(AB[1:], REST, "Both square roots are missing: coefficients act on values, alpha_bar on variances."),
    Mistake(
        ROOT_AB,
        [1 - r for r in ROOT_AB],
        "The noise is multiplied by 1 - sqrt(alpha_bar_t). First 1 - alpha_bar_t, then the root: it is the variances "
        "that add up to 1, not the coefficients.",
    ),
    Mistake(
        ROOT_AB,
        [math.sqrt(r) for r in ROOT_REST],
        "The noise's coefficient has one root too many: its *variance* is 1 - alpha_bar_t.",
    ),
    Mistake(
        ROOT_AB,
        ROOT_BETA,
        "The noise is that of step t alone. Noise came in at every step: its variance is 1 - alpha_bar_t.",
    ),
    Mistake(
        ROOT_ALPHA,
        ROOT_BETA,
        "That is a single step. The jump from x_0 uses alpha_bar, the product of all steps up to t.",
    ),
    Mistake(
        [math.sqrt(p) for p in _TWICE],
        [math.sqrt(1 - p) for p in _TWICE],
        "The alpha_bars are multiplied up once more. s.alpha_bar[t] is already the product.",
    ),
    Mistake([ROOT_AB[-1]] * T, [ROOT_REST[-1]] * T, _END),
    Mistake([ROOT_AB[-1]] * T, [_SAME_NOISE[-1]] * T, f"{_END} (And no loop is needed: the jump is one line.)"),
    Mistake(
        ROOT_AB,
        _SAME_NOISE,
        "You walk the steps with the same noise in each, which adds up to too much. The jump takes one noise, once, "
        "with variance 1 - alpha_bar_t.",
    ),
    *_of_any_sum(ROOT_AB, ROOT_REST),
]

# ---------------------------------------------------------------- 1.4 the loop, mended


def walked(keep: list[float], add: list[float]) -> list[float]:
    """Shares of x_0, then of the noise of steps 1..T, in x_T, if step t keeps ``keep[t-1]`` and adds ``add[t-1]``."""
    shares = [1.0, *ZERO]
    for i in range(T):
        shares = [keep[i] * share for share in shares]
        shares[i + 1] += add[i]
    return shares


_RIGHT = walked(ROOT_ALPHA, ROOT_BETA)
_BACKWARDS = [math.prod(ROOT_ALPHA[:i]) * ROOT_BETA[i] for i in range(T)]
_ALREADY = "you multiplied by alpha_bar in every step, and it is already a product. A step uses beta_t."

LOOP: list[Row] = [
    (
        walked(ROOT_AB, ROOT_REST),
        f"The total variance is right, the correlation with x_0 is not: {_ALREADY}",
    ),
    (walked(ROOT_AB, ROOT_BETA), f"Too little of x_0 is left: {_ALREADY}"),
    (
        walked([1.0] * T, ROOT_BETA),
        "All of x_0 is still there: shrink it by sqrt(1 - beta_t) in each step, and keep the result for the next one.",
    ),
    (walked(ROOT_ALPHA, list(BETAS)), "The noise of a step is multiplied by beta_t, its variance: take the root."),
    (walked(ALPHA, ROOT_BETA), "The image is multiplied by 1 - beta_t in each step: its square root is missing."),
    (walked(ALPHA, list(BETAS)), "Both square roots are missing: coefficients act on values, betas are variances."),
    (
        walked([1.0, *ROOT_ALPHA[:-1]], [0.0, *ROOT_BETA[:-1]]),
        "The noise of the first step has no effect. t runs from 1 to T, both included: range(1, s.T + 1).",
    ),
    (
        [ROOT_ALPHA[0], ROOT_BETA[0], *ZERO[1:]],
        "You come back after the first step: `return` stands inside the loop. Move it to the left.",
    ),
    (
        [ROOT_AB[-1], *ZERO[1:], ROOT_REST[-1]],
        "That is the jump from x_0 with the last noise alone. Each step must start from the result of the one before.",
    ),
    ([_RIGHT[0], *_BACKWARDS], "Your steps run from T down to 1. Noising starts with step 1."),
    ([_RIGHT[0], *_RIGHT[:0:-1]], "The noises are used in reverse: the noise of step t is noises[t - 1]."),
]

# ---------------------------------------------------------------- 1.5 what is left of x_0


def ratio(v: float) -> list[float]:
    """Signal-to-noise ratio at t = 0..T for data of variance v."""
    return [math.inf, *(ab * v / (1 - ab) for ab in AB[1:])]


def share(v: float) -> list[Row]:
    """Mistakes about alpha_bar v / (alpha_bar v + 1 - alpha_bar), at t = 0..T."""

    def part(signal: list[float], noise: list[float]) -> list[float]:
        return [s / (s + n) for s, n in zip(signal, noise, strict=True)]

    signal, noise = [ab * v for ab in AB], [1 - ab for ab in AB]
    right, alpha = part(signal, noise), [1.0, *ALPHA]
    return [
        (
            [math.sqrt(r) for r in right],
            "That is the correlation itself. Square it: only the square is a share.",
        ),
        (AB, "Right for data of variance 1 only. Signal of variance v contributes alpha_bar_t * v to x_t."),
        (signal, "That is the signal's variance in x_t. Divide by x_t's whole variance, noise included."),
        (ratio(v), "That is the signal-to-noise ratio. The share is signal / (signal + noise)."),
        ([1 - r for r in right], "That is the share of the noise. Asked is the share that comes from x_0."),
        (part([ab * v * v for ab in AB], noise), "`variance` is already a square: use v, not v * v."),
        (
            [v * v + n for n in noise],
            "Are brackets missing? a / b + c is (a / b) + c; the whole sum belongs below the line: a / (b + c).",
        ),
        (
            part([alpha_t * v for alpha_t in alpha], [1 - alpha_t for alpha_t in alpha]),
            "That is for a single step, with alpha_t. From x_0 to x_t it takes alpha_bar_t.",
        ),
        (
            part([math.sqrt(s) for s in signal], [math.sqrt(n) for n in noise]),
            "You add standard deviations. It is variances that add: no square roots.",
        ),
        (
            part(signal, [math.sqrt(n) for n in noise]),
            "The noise's part has a root too many: its variance is 1 - alpha_bar_t.",
        ),
        (
            [ab / (s + n) for ab, s, n in zip(AB, signal, noise, strict=True)],
            "`variance` is missing above the line: the signal's variance in x_t is alpha_bar_t * v.",
        ),
    ]
