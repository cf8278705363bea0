"""The one exercise of notebook 00, to see how an exercise works."""

import math
from collections.abc import Callable
from typing import Any

from ddpm_edu.exercises.frame import CheckFailed, call, check


@check("0.1 two weights")
def two_weights(f: Callable[..., Any]) -> None:
    """f(keep) must be the weights of image and noise whose squares are keep and 1 - keep."""
    for keep in (0.0, 0.36, 0.5, 1.0):
        got = call(f, keep)
        if not isinstance(got, tuple) or len(got) != 2:
            raise CheckFailed(f"Two numbers are expected, `return image_weight, noise_weight`; got {got!r}.")
        image, noise = float(got[0]), float(got[1])
        if not math.isclose(image**2 + noise**2, 1, abs_tol=1e-9):
            if math.isclose(image + noise, 1, abs_tol=1e-9):
                raise CheckFailed(
                    f"keep = {keep}: your weights {image:g} and {noise:g} add up to 1, their squares do not. "
                    "Variances add, so it is the squares that must: take square roots."
                )
            raise CheckFailed(
                f"keep = {keep}: {image:g}^2 + {noise:g}^2 is {image**2 + noise**2:.3f}, and should be 1."
            )
        if not math.isclose(image**2, keep, abs_tol=1e-9):
            raise CheckFailed(f"keep = {keep}: the image keeps {image**2:g} of the variance. Are the two swapped?")
