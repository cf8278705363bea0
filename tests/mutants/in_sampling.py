"""Mistakes on the way back. Those of the grid ran for years in widely used libraries."""

from itertools import pairwise

import torch

from ddpm_edu import reverse
from ddpm_edu.reverse import beside
from ddpm_edu.sampling import ddim, ddpm, loop
from tests.mutants import Mutant
from tests.sampling import test_golden, test_grids, test_sample

DDPM = "ddpm_edu.sampling.ddpm.step"
DDIM = "ddpm_edu.sampling.ddim.step"
GRID = "ddpm_edu.sampling.grids.uniform"
DRAW = "ddpm_edu.sampling.loop.draw"

ORIGINAL_DDPM, ORIGINAL_DDIM, ORIGINAL_DRAW = ddpm.step, ddim.step, loop.draw


def noise_at_the_last_step(s, x_t, t, s_, denoised, noise, variance="beta"):
    mean = ORIGINAL_DDPM(s, x_t, t, s_, denoised, 0 * noise, variance)
    return mean + beside(reverse.pair_beta(s, t, s_).sqrt(), x_t) * noise


def variance_for_its_root(s, x_t, t, s_, denoised, noise, variance="beta"):
    mean = ORIGINAL_DDPM(s, x_t, t, s_, denoised, 0 * noise, variance)
    return mean + beside(reverse.pair_variance(s, t, s_, variance, denoised.variance_fraction), x_t) * noise


def mean_without_the_root(s, x_t, t, s_, denoised, noise, variance="beta"):
    """(x_t - beta eps / (1 - alpha_bar_t)) / sqrt(alpha_t)."""
    beta = reverse.pair_beta(s, t, s_)
    share = beside(beta / (1 - s.alpha_bar[t]), x_t)
    sigma = reverse.pair_variance(s, t, s_, variance, denoised.variance_fraction).sqrt()
    return (x_t - share * denoised.eps) / beside((1 - beta).sqrt(), x_t) + beside(sigma, x_t) * noise


def variance_of_the_single_step(s, x_t, t, s_, denoised, noise, variance="beta"):
    """beta_t where the step jumps from t to s: right for neighbours only."""
    mean = ORIGINAL_DDPM(s, x_t, t, s_, denoised, 0 * noise, variance)
    single = torch.where(s_ == 0, 0.0, s.beta[t])
    return mean + beside(single.sqrt(), x_t) * noise


def clipping(s, x_t, t, s_, denoised, noise, variance="beta"):
    return ORIGINAL_DDPM(s, x_t, t, s_, denoised._replace(x0=denoised.x0.clamp(-1, 1)), noise, variance)


def ddim_with_beta(s, x_t, t, s_, denoised, noise, eta=0.0):
    signal, sigma_2 = s.alpha_bar[s_], torch.where(s_ == 0, 0.0, eta**2 * reverse.pair_beta(s, t, s_))
    rest = (1 - signal - sigma_2).clamp(min=0)
    x = beside(signal.sqrt(), x_t) * denoised.x0 + beside(rest.sqrt(), x_t) * denoised.eps
    return x + beside(sigma_2.sqrt(), x_t) * noise


def ddim_with_noise_on_top(s, x_t, t, s_, denoised, noise, eta=0.0):
    """sigma is added but not taken off the share of eps: too much noise."""
    sigma = eta * reverse.pair_posterior_variance(s, t, s_).sqrt()
    return ORIGINAL_DDIM(s, x_t, t, s_, denoised, noise, 0.0) + beside(sigma, x_t) * noise


def leading(T, steps):
    times = [1 + i * (T // steps) for i in range(steps)]
    return [*zip(times[:0:-1], times[-2::-1], strict=True), (times[0], 0)]


def floor_division(T, steps):
    stride = T // steps
    return [(t, t - stride) for t in range(stride * steps, 0, -stride)]


def from_T_by_floor_division(T, steps):
    times = [T - i * (T // steps) for i in range(steps + 1)]
    return list(pairwise(times))


def one_stream(shape, generator, dtype, device):
    return ORIGINAL_DRAW(shape, generator[0] if isinstance(generator, list) else generator, dtype, device)


MUTANTS = (
    Mutant(
        "the last step of DDPM adds noise",
        DDPM,
        noise_at_the_last_step,
        (test_golden.test_the_last_step_adds_no_noise, test_golden.test_a_point_comes_back_exactly),
    ),
    Mutant(
        "DDPM adds the variance times noise, not its root",
        DDPM,
        variance_for_its_root,
        (
            test_golden.test_ancestral_steps_give_the_golden_spread_before_the_last,
            test_golden.test_ddim_with_full_noise_is_ddpm_with_the_posterior_variance,
        ),
    ),
    Mutant(
        "DDPM's mean divides eps by 1 - alpha_bar, not by its root",
        DDPM,
        mean_without_the_root,
        (
            test_golden.test_ancestral_steps_give_the_golden_spread_before_the_last,
            test_golden.test_the_full_ancestral_chain_gives_the_golden_variance,
        ),
    ),
    Mutant(
        "a jump of DDPM has the variance of a single step",
        DDPM,
        variance_of_the_single_step,
        (
            test_golden.test_ancestral_steps_give_the_golden_spread_before_the_last,
            test_sample.test_a_generator_draws_x_T_first_and_then_each_step,
        ),
    ),
    Mutant(
        "the sampler clips what the denoiser did not",
        DDPM,
        clipping,
        (test_sample.test_nothing_is_clipped,),
    ),
    Mutant(
        "DDIM's eta scales beta, not the posterior's variance",
        DDIM,
        ddim_with_beta,
        (
            test_golden.test_ddim_with_noise_gives_the_golden_spread,
            test_golden.test_ddim_with_full_noise_is_ddpm_with_the_posterior_variance,
        ),
    ),
    Mutant(
        "DDIM's noise is added on top of all of eps",
        DDIM,
        ddim_with_noise_on_top,
        (test_golden.test_ddim_with_noise_gives_the_golden_spread,),
    ),
    Mutant(
        "a leading grid: the chain never starts at T",
        GRID,
        leading,
        (
            test_grids.test_every_number_of_steps_of_small_chains,
            test_golden.test_ddim_is_the_product_of_cosines,
            test_sample.test_the_callback_sees_every_step,
        ),
    ),
    Mutant(
        "T // n as the stride: 600 steps of 1000 start at 600",
        GRID,
        floor_division,
        (test_grids.test_every_number_of_steps_makes_a_grid_from_T_to_0, test_grids.test_grids_known_by_hand),
    ),
    Mutant(
        "t - T // n from T: 600 steps of 1000 end at 400",
        GRID,
        from_T_by_floor_division,
        (test_grids.test_every_number_of_steps_makes_a_grid_from_T_to_0, test_grids.test_grids_known_by_hand),
    ),
    Mutant(
        "a list of generators, and only the first is used",
        DRAW,
        one_stream,
        (test_sample.test_with_a_generator_each_an_image_does_not_depend_on_its_batch,),
    ),
)
