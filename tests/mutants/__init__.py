"""Wrong implementations that people have published or sent in: each must be killed by a test.

To add one, append to a catalogue in this folder::

    Mutant(
        "the step adds beta times noise, not its root",
        target="ddpm_edu.forward.q_step",
        wrong=lambda s, x, t, noise: at(s.alpha, t, x).sqrt() * x + at(s.beta, t, x) * noise,
        killed_by=(test_forward.test_one_step_has_variance_beta,),
        refused_by=(forward_noising.one_step, "square root"),
    )

``killed_by`` names plain test functions; each must fail with ``wrong`` in the place of ``target``. Where a learner
could make the mistake, ``refused_by`` names the exercise check and a word of the message that tells it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pytest


@dataclass(frozen=True)
class Mutant:
    """One mistake: where it goes, what it looks like, who must notice."""

    name: str
    target: str
    wrong: Callable[..., Any]
    killed_by: tuple[Callable[[], None], ...] = ()
    refused_by: tuple[Callable[..., None], str] | None = None

    def survives(self, test: Callable[[], None]) -> bool:
        """Whether the test still passes with the mistake in place."""
        with mock.patch(self.target, self.wrong):
            try:
                test()
            except (Exception, pytest.fail.Exception):  # a crash is a kill too: nobody gets a wrong number
                return False
        return True
