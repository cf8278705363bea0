"""The check of notebook 06 in which two sets are compared by neighbours. The oracle loops over pairs."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ddpm_edu.exercises.evaluation_judge import Matrix, Row, ask, judge, matrix, number
from ddpm_edu.exercises.frame import CheckFailed, check

Rule = Callable[[Matrix, Matrix, Matrix, int], float]


def _radius(row: Row, own: int, k: int) -> float:
    """The k-th smallest of the distances to the others."""
    return sorted(row[:own] + row[own + 1 :])[k - 1]


def _covered(
    apart: Matrix,
    within: Matrix,
    k: int,
    radius: Callable[[Row, int, int], float] = _radius,
    inside: Callable[[float, float], bool] = lambda d, r: d <= r,
) -> float:
    """The share of rows of ``apart`` that lie in the ball of any column, whose set has the distances ``within``."""
    balls = [radius(row, i, k) for i, row in enumerate(within)]
    return sum(any(inside(d, r) for d, r in zip(row, balls, strict=True)) for row in apart) / len(apart)


def _turned(m: Matrix) -> Matrix:
    return [list(column) for column in zip(*m, strict=True)]


def _both(rr: Matrix, gg: Matrix, rg: Matrix, k: int, **how: Any) -> tuple[float, float]:
    return _covered(_turned(rg), rr, k, **how), _covered(rg, gg, k, **how)


def _own_ball(apart: Matrix, own: Matrix, k: int) -> float:
    """Balls about the samples that are judged, instead of about the others."""
    return sum(min(row) <= _radius(own[i], i, k) for i, row in enumerate(apart)) / len(apart)


def _nearest_ball(apart: Matrix, within: Matrix, k: int) -> float:
    """Only the ball of the nearest centre is looked at."""
    balls = [_radius(row, i, k) for i, row in enumerate(within)]
    nearest = [min(range(len(row)), key=row.__getitem__) for row in apart]
    return sum(row[j] <= balls[j] for row, j in zip(apart, nearest, strict=True)) / len(apart)


def _largest_ball(apart: Matrix, within: Matrix, k: int) -> float:
    largest = max(_radius(row, i, k) for i, row in enumerate(within))
    return sum(min(row) <= largest for row in apart) / len(apart)


def _average_ball(apart: Matrix, within: Matrix, k: int) -> float:
    average = sum(_radius(row, i, k) for i, row in enumerate(within)) / len(within)
    return sum(min(row) <= average for row in apart) / len(apart)


def _all_balls(apart: Matrix, within: Matrix, k: int) -> float:
    """Each sample must lie in every ball."""
    balls = [_radius(row, i, k) for i, row in enumerate(within)]
    return sum(all(d <= r for d, r in zip(row, balls, strict=True)) for row in apart) / len(apart)


def _hits(apart: Matrix, within: Matrix, k: int) -> float:
    """The share of pairs of a sample and a ball that holds it."""
    balls = [_radius(row, i, k) for i, row in enumerate(within)]
    return sum(d <= r for row in apart for d, r in zip(row, balls, strict=True)) / (len(apart) * len(balls))


def _to_the_other_set(apart: Matrix, k: int) -> float:
    """Radii from a centre to the samples that are judged, not to its own set."""
    balls = [sorted(column)[k - 1] for column in _turned(apart)]
    return sum(any(d <= r for d, r in zip(row, balls, strict=True)) for row in apart) / len(apart)


def _filled(apart: Matrix, within: Matrix, k: int) -> float:
    """The share of balls that hold anything (which is called coverage), in place of the share of samples."""
    balls = [_radius(row, i, k) for i, row in enumerate(within)]
    return sum(any(row[j] <= r for row in apart) for j, r in enumerate(balls)) / len(balls)


_WRONG_SHARES: list[tuple[Callable[..., tuple[float, float]], str]] = [
    (
        lambda rr, gg, rg, k: _both(rr, gg, rg, k)[::-1],
        "Precision and recall are exchanged. Precision: generated samples inside the balls of the real ones.",
    ),
    (
        lambda rr, gg, rg, k: _both(rr, gg, rg, k, radius=lambda row, i, k: sorted(row)[k - 1]),
        "The radii are one neighbour too small: in a row of d_rr the first is the sample itself, at 0.",
    ),
    (
        lambda rr, gg, rg, k: _both(rr, gg, rg, k, radius=lambda row, i, k: sorted(row)[k + 1]),
        "The radii are one neighbour too large: sorted, the sample itself is entry 0, the k-th other one entry k.",
    ),
    (
        lambda rr, gg, rg, k: _both(rr, gg, rg, k, inside=lambda d, r: d < r),
        "The surface belongs to the ball: <=, not <. (A generated copy of a real image lies in a ball of radius 0.)",
    ),
    (
        lambda rr, gg, rg, k: (_own_ball(_turned(rg), gg, k), _own_ball(rg, rr, k)),
        "The balls stand about the wrong set. Precision: does a generated sample lie in a ball about a real one?",
    ),
    (
        lambda rr, gg, rg, k: (_nearest_ball(_turned(rg), rr, k), _nearest_ball(rg, gg, k)),
        "Only the nearest centre is asked. A farther one may have a larger ball: any of them counts.",
    ),
    (
        lambda rr, gg, rg, k: (_largest_ball(_turned(rg), rr, k), _largest_ball(rg, gg, k)),
        "All balls have the largest radius. Each centre has a radius of its own.",
    ),
    (
        lambda rr, gg, rg, k: (_filled(_turned(rg), rr, k), _filled(rg, gg, k)),
        "You count balls that hold a sample (any over the wrong axis). Count samples that lie in a ball.",
    ),
    (
        lambda rr, gg, rg, k: (_average_ball(_turned(rg), rr, k), _average_ball(rg, gg, k)),
        "All balls have the average radius. Each centre has a radius of its own.",
    ),
    (
        lambda rr, gg, rg, k: (_hits(_turned(rg), rr, k), _hits(rg, gg, k)),
        "You average over pairs. A sample counts once, if any ball holds it: first .any() over the centres.",
    ),
    (
        lambda rr, gg, rg, k: (_all_balls(_turned(rg), rr, k), _all_balls(rg, gg, k)),
        "You ask for samples that lie in every ball. One is enough: any, not all.",
    ),
    (
        lambda rr, gg, rg, k: (_covered(_turned(rg), rr, k) * len(gg), _covered(rg, gg, k) * len(rr)),
        "Those are numbers of samples. Shares are asked for: divide by how many samples there are.",
    ),
    (
        lambda rr, gg, rg, k: (_covered(_turned(rg), rr, k) * 100, _covered(rg, gg, k) * 100),
        "Those are per cent. A share goes from 0 to 1.",
    ),
    (
        lambda rr, gg, rg, k: (_covered(_turned(rg), rr, k), _filled(_turned(rg), rr, k)),
        "Precision is right. Recall has balls about real images, too; its balls stand about the generated ones.",
    ),
    (
        lambda rr, gg, rg, k: (_covered(_turned(rg), rr, k),) * 2,
        "Precision is right, and recall is the same number. It asks about real images, in balls about generated ones.",
    ),
    (
        lambda rr, gg, rg, k: _both(rr, gg, rg, 3),
        "Always the third neighbour, whatever k is. Use the argument.",
    ),
    (
        lambda rr, gg, rg, k: _both(rr, gg, rg, k, radius=lambda row, i, k: sorted(row)[-k]),
        "The radii reach to the k-th farthest: topk and descending sorts begin with the largest. The k-th nearest.",
    ),
    (
        lambda rr, gg, rg, k: _both(
            rr, gg, rg, k, radius=lambda row, i, k: sum(sorted(row[:i] + row[i + 1 :])[:k]) / k
        ),
        "The radii are the mean distance of the k nearest. The distance of the k-th is meant.",
    ),
    (
        lambda rr, gg, rg, k: (_to_the_other_set(_turned(rg), k), _to_the_other_set(rg, k)),
        "The radii come from d_rg, and so reach to the other set. A real image's radius is in its row of d_rr.",
    ),
]


def _distances(reals: int, made: int, seed: int, levels: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of points on a coarse grid, so that distances tie and samples coincide."""
    r, g = ((matrix(n, 2, seed + n) * levels).floor() for n in (reals, made))
    g[: made // 2] = g[: made // 2] * 0.5 + 1
    return tuple(torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist") for a, b in ((r, r), (g, g), (r, g)))  # type: ignore[return-value]


_SHAPES = (
    "d_rg has a row for each real image and a column for each generated one. Radii of real images go along its rows, "
    "radius[:, None]; those of generated ones along its columns, radius[None, :]."
)


@check("6.4 precision and recall")
def precision_recall(f: Callable[..., Any]) -> None:
    """f(d_rr, d_gg, d_rg, k) must be the two shares, from the distances among and between real and generated."""
    got: list[float] = []
    cases = [(_distances(9, 12, seed, 2 + 2 * seed), k) for seed in range(6) for k in (1, 3)]
    for distances, k in cases:
        result = ask(f, *distances, k, shapes=_SHAPES)
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise CheckFailed(f"Two numbers are expected, `return precision, recall`; got {type(result).__name__}.")
        got += [number(share, name) for share, name in zip(result, ("precision", "recall"), strict=True)]
    lists = [([d.tolist() for d in distances], k) for distances, k in cases]

    def row(rule: Callable[..., tuple[float, float]]) -> list[float]:
        return [share for distances, k in lists for share in rule(*distances, k)]

    judge(got, row(_both), [(row(rule), message) for rule, message in _WRONG_SHARES], "precision, recall in turn")
