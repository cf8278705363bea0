"""Checks of notebook 07, each where its oracle is: within a step, over a run, and of a step as a whole."""

from ddpm_edu.exercises.training_backward import accumulated_step, scaled_step
from ddpm_edu.exercises.training_rules import followed, lr_at
from ddpm_edu.exercises.training_runs import draw, state_of
from ddpm_edu.exercises.training_step import whole_step

__all__ = ["accumulated_step", "draw", "followed", "lr_at", "scaled_step", "state_of", "whole_step"]
