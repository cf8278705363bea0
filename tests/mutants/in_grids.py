"""Grids as published: another number of steps than asked for, times visited twice, chains that do not chain."""

from itertools import pairwise

import numpy as np
import torch

from ddpm_edu.sampling import grids
from tests.mutants import Mutant
from tests.sampling import test_grids, test_peers

GRIDS = "ddpm_edu.sampling.grids."
ORIGINAL_CHECK, ORIGINAL_KARRAS = grids.check, grids.karras


def float_arange(T, steps):
    """diffusers, "trailing": 62 of 1000 numbers of steps come out one too long."""
    return list(pairwise([*(int(t) for t in np.round(np.arange(T, 0, -T / steps))), 0]))


def rounded_down(T, steps):
    return list(pairwise(i * T // steps for i in range(steps, -1, -1)))


def linspace_with_stride(T, steps):
    """diffusers' DDIM: the step from t goes to t - T // n, whichever times are visited."""
    return [(t, max(t - T // steps, 0)) for t, _ in grids._apart(np.linspace(T, 1, steps).tolist(), T)]


def from_four_fifths(T, steps):
    """DDIM's own "quad" starts at 0.8 T."""
    return grids._apart([0.8 * T * (i / steps) ** 2 for i in range(steps, 0, -1)], int(0.8 * T) or 1)


def together(times, T):
    whole = [T, *(int(t + 0.5) for t in list(times)[1:])]
    return list(pairwise([*whole, 0]))


def without_twins(times, T):
    whole = sorted({T, *(max(int(t + 0.5), 1) for t in list(times)[1:])}, reverse=True)
    return list(pairwise([*whole, 0]))


def root_forgotten(s, steps, rho=7.0):
    return ORIGINAL_KARRAS(s, steps, 1.0)


def root_upside_down(s, steps, rho=7.0):
    return ORIGINAL_KARRAS(s, steps, 1 / rho)


def _by(s, table, steps):
    wanted = torch.linspace(table[s.T], table[1], steps, dtype=torch.float64)
    rising = table[1:].flip(0)
    return grids._apart(grids._nearest(rising, wanted), s.T)


def karras_of_the_other_sigma(s, steps, rho=7.0):
    """sqrt(1 - ab), DDPM's sigma, where EDM means sqrt((1 - ab) / ab)."""
    return _by(s, -((1 - s.alpha_bar) ** (1 / (2 * rho))), steps)


def snr_without_its_log(s, steps):
    return _by(s, s.snr, steps)


MUTANTS = (
    Mutant(
        "np.arange with a float step: 61 steps of 1000 are 62",
        GRIDS + "trailing",
        float_arange,
        (
            test_grids.test_a_float_step_makes_a_grid_of_another_length_and_ours_does_not,
            test_grids.test_every_number_of_steps_of_small_chains,
        ),
    ),
    Mutant(
        "times rounded down, not to the nearest",
        GRIDS + "trailing",
        rounded_down,
        (test_peers.test_their_own_trailing_grid_is_ours_but_for_halves,),
    ),
    Mutant(
        "every step goes to t - T // n, whatever the grid",
        GRIDS + "linspace",
        linspace_with_stride,
        (test_grids.test_every_number_of_steps_of_small_chains, test_grids.test_grids_known_by_hand),
    ),
    Mutant(
        "a quadratic grid that starts at 0.8 T",
        GRIDS + "quadratic",
        from_four_fifths,
        (test_grids.test_every_number_of_steps_makes_a_grid_from_T_to_0, test_grids.test_grids_known_by_hand),
    ),
    Mutant(
        "times that round to the same are visited twice",
        GRIDS + "_apart",
        together,
        (
            test_grids.test_every_number_of_steps_by_snr_of_small_chains,
            test_grids.test_collisions_are_pushed_apart_and_no_more,
            test_grids.test_grids_known_by_hand,
        ),
    ),
    Mutant(
        "times that round to the same are dropped: fewer steps than asked for",
        GRIDS + "_apart",
        without_twins,
        (
            test_grids.test_every_number_of_steps_makes_a_grid_by_snr,
            test_grids.test_collisions_are_pushed_apart_and_no_more,
        ),
    ),
    Mutant(
        "EDM's grid without the root of rho",
        GRIDS + "karras",
        root_forgotten,
        (test_grids.test_karras_sigmas_are_those_of_the_formula_at_the_nearest_times,),
    ),
    Mutant(
        "EDM's grid with rho for 1 / rho",
        GRIDS + "karras",
        root_upside_down,
        (test_grids.test_karras_sigmas_are_those_of_the_formula_at_the_nearest_times,),
    ),
    Mutant(
        "EDM's grid of sqrt(1 - alpha_bar)",
        GRIDS + "karras",
        karras_of_the_other_sigma,
        (test_grids.test_karras_sigmas_are_those_of_the_formula_at_the_nearest_times,),
    ),
    Mutant(
        "equal steps of SNR, not of its logarithm",
        GRIDS + "log_snr",
        snr_without_its_log,
        (test_grids.test_log_snr_falls_in_equal_steps_at_the_nearest_times,),
    ),
    Mutant(
        "log SNR at T is taken as it is, -infinity with zero terminal SNR",
        GRIDS + "_finite",
        lambda rising: rising,
        (
            test_grids.test_every_number_of_steps_by_snr_of_small_chains,
            test_grids.test_schedules_that_waste_times,
        ),
    ),
    Mutant(
        "pure noise may begin anywhere",
        GRIDS + "check",
        lambda pairs, T, from_noise: ORIGINAL_CHECK(pairs, T, False),
        (test_grids.test_a_leading_grid_needs_a_start_of_its_own,),
    ),
)
