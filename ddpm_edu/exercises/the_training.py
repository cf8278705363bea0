"""Checks of notebook 07, each where its oracle is: within a step, and over a run."""

from ddpm_edu.exercises.training_backward import accumulated_step, scaled_step
from ddpm_edu.exercises.training_rules import followed, lr_at
from ddpm_edu.exercises.training_runs import draw, state_of

__all__ = ["accumulated_step", "draw", "followed", "lr_at", "scaled_step", "state_of"]
