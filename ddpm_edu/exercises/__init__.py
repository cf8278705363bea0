"""The checks behind the exercises, derivations that check themselves, and the self-quizzes."""

from ddpm_edu.exercises import (
    evaluation_answers,
    forward_noising,
    quiz,
    sampling_answers,
    start_here,
    the_bound,
    the_epsilon_loss,
    the_evaluation,
    the_sampling,
    the_training,
    the_unet,
    training_answers,
)
from ddpm_edu.exercises.derivation import same
from ddpm_edu.exercises.fingerprints import fingerprint
from ddpm_edu.exercises.frame import CheckFailed, or_library
from ddpm_edu.exercises.progress_page import Progress, progress

__all__ = [
    "CheckFailed",
    "Progress",
    "evaluation_answers",
    "fingerprint",
    "forward_noising",
    "or_library",
    "progress",
    "quiz",
    "same",
    "sampling_answers",
    "start_here",
    "the_bound",
    "the_epsilon_loss",
    "the_evaluation",
    "the_sampling",
    "the_training",
    "the_unet",
    "training_answers",
]
