"""The checks behind the exercises, derivations that check themselves, and the self-quizzes."""

from ddpm_edu.exercises import (
    forward_noising,
    quiz,
    sampling_answers,
    start_here,
    the_bound,
    the_epsilon_loss,
    the_sampling,
    the_unet,
)
from ddpm_edu.exercises.derivation import same
from ddpm_edu.exercises.frame import CheckFailed, or_library

__all__ = [
    "CheckFailed",
    "forward_noising",
    "or_library",
    "quiz",
    "same",
    "sampling_answers",
    "start_here",
    "the_bound",
    "the_epsilon_loss",
    "the_sampling",
    "the_unet",
]
