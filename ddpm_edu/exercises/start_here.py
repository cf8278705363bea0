"""The one exercise of notebook 00, to see how an exercise works."""

import math
from collections.abc import Callable
from typing import Any

from ddpm_edu.exercises.frame import CheckFailed, call, check


def weights(keep: float) -> tuple[float, float]:
    """The weights of image and noise for the share ``keep`` (0..1) of variance: an answer to exercise 0.1."""
    return math.sqrt(keep), math.sqrt(1 - keep)


@check("0.1 two weights")
def two_weights(f: Callable[..., Any]) -> None:
    """f(keep) must be the weights of image and noise whose squares are keep and 1 - keep."""
    for keep in (0.36, 0.5, 1.0, 0.0):
        image, noise = _two_numbers(call(f, keep))
        if not (math.isfinite(image) and math.isfinite(noise)):
            raise CheckFailed(f"keep = {keep}: {image:g} and {noise:g}; two finite numbers are expected.")
        if min(image, noise) < 0:
            raise CheckFailed(f"keep = {keep}: {image:g} and {noise:g}; take the positive roots.")
        _assert_squares(keep, image, noise)


def _assert_squares(keep: float, image: float, noise: float) -> None:
    """Refuses weights whose squares are not keep and 1 - keep, and names the mistake that gives them."""
    right, sum_of_squares = math.isclose(image**2, keep, abs_tol=1e-5), image**2 + noise**2
    if right and math.isclose(sum_of_squares, 1, abs_tol=1e-5):
        return
    if right:
        raise CheckFailed(
            f"keep = {keep}: the image's weight is right, the noise's is not: {noise:g}^2 is {noise**2:.3f} where "
            f"{1 - keep:g} is asked. First 1 - keep, then the root."
        )
    if math.isclose(sum_of_squares, 1, abs_tol=1e-5):
        swapped = " Are the two swapped?" if math.isclose(noise**2, keep, abs_tol=1e-5) else ""
        raise CheckFailed(
            f"keep = {keep}: the image keeps {image**2:g} of the variance, and should keep {keep}.{swapped}"
        )
    if math.isclose(image + noise, 1, abs_tol=1e-5):
        raise CheckFailed(
            f"keep = {keep}: your weights {image:g} and {noise:g} add up to 1, their squares do not. "
            "Variances add, so it is the squares that must: take square roots."
        )
    if math.isclose(image, keep**2, abs_tol=1e-5):
        raise CheckFailed(f"keep = {keep}: {image:g} is keep squared. Asked is a with a^2 = keep: its root.")
    raise CheckFailed(f"keep = {keep}: {image:g}^2 + {noise:g}^2 is {sum_of_squares:.3f}, and should be 1.")


def _two_numbers(result: Any) -> tuple[float, float]:
    try:
        image, noise = (float(value) for value in result)
    except (TypeError, ValueError):
        raise CheckFailed(
            f"Two numbers are expected, `return a, b`; got {result!r}. (print only shows a value.)"
        ) from None
    return image, noise
