"""The one exercise of notebook 00, to see how an exercise works."""

from collections.abc import Callable
from typing import Any

from ddpm_edu.exercises.frame import CheckFailed, call, check


@check("0.1 two weights")
def two_weights(f: Callable[..., Any]) -> None:
    """f(keep) must be the weights of image and noise whose squares are keep and 1 - keep."""
    for keep in (0.0, 0.36, 0.5, 1.0):
        image, noise = _two_numbers(call(f, keep))
        if min(image, noise) < 0:
            raise CheckFailed(f"keep = {keep}: {image:g} and {noise:g}; take the positive roots.")
        if abs(image**2 + noise**2 - 1) > 1e-5:
            if abs(image + noise - 1) < 1e-5:
                raise CheckFailed(
                    f"keep = {keep}: your weights {image:g} and {noise:g} add up to 1, their squares do not. "
                    "Variances add, so it is the squares that must: take square roots."
                )
            raise CheckFailed(
                f"keep = {keep}: {image:g}^2 + {noise:g}^2 is {image**2 + noise**2:.3f}, and should be 1."
            )
        if abs(image**2 - keep) > 1e-5:
            swapped = " Are the two swapped?" if abs(noise**2 - keep) < 1e-5 else ""
            raise CheckFailed(f"keep = {keep}: the image keeps {image**2:g} of the variance.{swapped}")


def _two_numbers(result: Any) -> tuple[float, float]:
    try:
        image, noise = (float(value) for value in result)
    except (TypeError, ValueError):
        raise CheckFailed(
            f"Two numbers are expected, `return a, b`; got {result!r}. (print only shows a value.)"
        ) from None
    return image, noise
