"""Mistakes in what every step is made of: alpha_bar, variances, casts, and what is taken for granted."""

import torch

from ddpm_edu import reverse
from ddpm_edu.reverse import beside
from ddpm_edu.sampling import ddim, ddpm, loop, methods
from tests.mutants import Mutant
from tests.sampling import test_equalities, test_order, test_peers, test_promises, test_written_out

DDPM, DDIM = "ddpm_edu.sampling.ddpm.step", "ddpm_edu.sampling.ddim.step"

ORIGINAL_DDPM, ORIGINAL_DDIM, ORIGINAL_ASK, ORIGINAL_CHOOSE = ddpm.step, ddim.step, loop.ask, reverse._choose


def rounded(s, x):
    """alpha_bar in x's dtype, before anything is worked out from it."""
    return s.alpha_bar.to(x.dtype)


def ddpm_cast_first(s, x_t, t, s_, denoised, noise, variance="beta"):
    ab = rounded(s, x_t)
    beta, rest = 1 - ab[t] / ab[s_], 1 - ab[t]
    shares = ab[s_].sqrt() * beta / rest, (1 - beta).sqrt() * (1 - ab[s_]) / rest
    mean = sum(share.reshape(-1, 1) * x for share, x in zip(shares, (denoised.x0, x_t), strict=True))
    sigma_2 = beta if variance == "beta" else beta * (1 - ab[s_]) / rest
    return mean.nan_to_num() + torch.where(s_ == 0, 0.0, sigma_2).nan_to_num().sqrt().reshape(-1, 1) * noise


def ddim_cast_first(s, x_t, t, s_, denoised, noise, eta=0.0):
    ab = rounded(s, x_t)
    sigma_2 = (eta**2 * (1 - ab[s_]) / (1 - ab[t]) * (1 - ab[t] / ab[s_])).nan_to_num()
    parts = ab[s_].sqrt(), (1 - ab[s_] - sigma_2).clamp(min=0).sqrt(), sigma_2.sqrt()
    return sum(p.reshape(-1, 1) * x for p, x in zip(parts, (denoised.x0, denoised.eps, noise), strict=True))


def noise_where_t_is_not_1(s, x_t, t, s_, denoised, noise, variance="beta"):
    """diffusers' DDPM: "if t > 0" (their t), where the last step of a jump also ends at 0."""
    if (s_ > 0).all() or not isinstance(variance, str) or variance != "beta":
        return ORIGINAL_DDPM(s, x_t, t, s_, denoised, noise, variance)
    sigma = torch.where(t > 1, reverse.pair_beta(s, t, s_), 0.0).sqrt()
    return denoised.x0 + beside(sigma, x_t).to(x_t.dtype) * noise


def ddim_to_the_neighbour(s, x_t, t, s_, denoised, noise, eta=0.0):
    """alpha_bar_{t-1} where the step goes to s."""
    return ORIGINAL_DDIM(s, x_t, t, torch.where(s_ == 0, s_, t - 1), denoised, noise, eta)


def ddim_with_the_old_noise_level(s, x_t, t, s_, denoised, noise, eta=0.0):
    """sqrt(1 - ab_t) eps where sqrt(1 - ab_s) belongs."""
    rest = torch.where(s_ == 0, 0.0, 1 - s.alpha_bar[t]).sqrt()
    return beside(s.alpha_bar[s_].sqrt(), x_t) * denoised.x0 + beside(rest, x_t) * denoised.eps


def optimal_of_the_single_step(s, t, s_, eps_mse):
    unknown = s.alpha_bar[t - 1] * s.beta[t] ** 2 / (1 - s.alpha_bar[t]) / s.alpha_bar[t]
    return s.posterior_variance[t] + unknown * eps_mse[t]


def log_for_the_variance(choice, low, high, fraction):
    """diffusers' "fixed_large_log": the logarithm goes on as if it were the variance."""
    return high.log() if choice == "beta" else ORIGINAL_CHOOSE(choice, low, high, fraction)


def waiting(denoise, x, t):
    if float(x.abs().max()) > 1e6:
        raise ValueError("diverged")
    return ORIGINAL_ASK(denoise, x, t)


MUTANTS = (
    Mutant(
        "DDPM: alpha_bar is rounded to x's dtype first",
        DDPM,
        ddpm_cast_first,
        (test_promises.test_half_precision_gets_the_right_noise,),
    ),
    Mutant(
        "DDIM: alpha_bar is rounded to x's dtype first",
        DDIM,
        ddim_cast_first,
        (
            test_promises.test_half_precision_gets_the_right_noise,
            test_promises.test_half_precision_ends_near_the_exact_result,
        ),
    ),
    Mutant(
        "DDPM: noise in the last step of jumps, whose t is not 1",
        DDPM,
        noise_where_t_is_not_1,
        (
            test_promises.test_the_last_step_of_every_method_adds_no_noise,
            test_written_out.test_a_point_comes_back_exactly_by_every_method,
            test_written_out.test_ancestral_mean_and_variance_at_every_step,
        ),
    ),
    Mutant(
        "DDIM: alpha_bar_{t-1} for alpha_bar_s",
        DDIM,
        ddim_to_the_neighbour,
        (
            test_written_out.test_ddim_is_its_equations_12_and_16,
            test_equalities.test_ddim_is_eulers_step_in_sigma,
            test_peers.test_ddim_agrees_where_the_steps_divide_T,
        ),
    ),
    Mutant(
        "DDIM: sqrt(1 - alpha_bar_t) for sqrt(1 - alpha_bar_s)",
        DDIM,
        ddim_with_the_old_noise_level,
        (
            test_written_out.test_ddim_is_its_equations_12_and_16,
            test_order.test_golden_error,
            test_order.test_first_order,
        ),
    ),
    Mutant(
        "the optimal variance of a jump by the formula of one step",
        "ddpm_edu.reverse.pair_optimal",
        optimal_of_the_single_step,
        (
            test_written_out.test_the_optimal_variance_makes_every_jump_exact,
            test_written_out.test_ancestral_mean_and_variance_at_every_step,
        ),
    ),
    Mutant(
        "the logarithm of the variance for the variance",
        "ddpm_edu.reverse._choose",
        log_for_the_variance,
        (test_promises.test_every_option_runs_or_is_refused, test_peers.test_ddpm_agrees),
    ),
    Mutant(
        "a learned variance between the bounds, not between their logarithms",
        "ddpm_edu.reverse.interpolate",
        lambda low, high, fraction: fraction * high + (1 - fraction) * low,
        (
            test_written_out.test_ancestral_mean_and_variance_at_every_step,
            test_peers.test_ddpm_with_a_learned_range_agrees,
        ),
    ),
    Mutant(
        "where a learned variance is 0 is asked on another device",
        "ddpm_edu.reverse._as",
        lambda mask, values: mask.reshape(-1, *[1] * (values.ndim - 1)),
        (test_promises.test_no_method_reads_a_value_from_the_device,),
    ),
    Mutant(
        "a look at the values of x, for which the host waits",
        "ddpm_edu.sampling.loop.ask",
        waiting,
        (test_promises.test_no_method_reads_a_value_from_the_device,),
    ),
    Mutant(
        "one sample's second answer for all",
        "ddpm_edu.sampling.heun.ask",
        lambda denoise, x, t: denoise(x, t),
        (test_promises.test_a_second_answer_of_another_shape_is_refused,),
    ),
    Mutant(
        "an option of another method is not looked at",
        "ddpm_edu.sampling.methods.choose",
        lambda name, s, denoise, options: methods.by_name(name).make(s, denoise, options),
        (test_promises.test_every_option_runs_or_is_refused,),
    ),
)
