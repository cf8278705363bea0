"""Checks of notebook 02, each where its oracle is: divergences, single steps, levels, the whole."""

from ddpm_edu.exercises.bound_divergences import gaussian_kl, prior_term
from ddpm_edu.exercises.bound_levels import bits_per_dim, grey_levels
from ddpm_edu.exercises.bound_steps import denoising_term, optimal_variance
from ddpm_edu.exercises.the_whole_bound import whole_bound

__all__ = [
    "bits_per_dim",
    "denoising_term",
    "gaussian_kl",
    "grey_levels",
    "optimal_variance",
    "prior_term",
    "whole_bound",
]
