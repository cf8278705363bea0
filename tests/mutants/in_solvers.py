"""Mistakes in steps that look ahead (DPM-Solver++) or twice (Heun), and in what is remembered for them."""

import torch

from ddpm_edu.reverse import beside
from ddpm_edu.sampling import ddim, dpm_solver, loop
from ddpm_edu.sampling.loop import Before
from tests.mutants import Mutant
from tests.sampling import (
    test_equalities,
    test_order,
    test_peers,
    test_promises,
    test_toward_the_data,
    test_written_out,
)

AHEAD, STEP_2M = "ddpm_edu.sampling.dpm_solver.ahead", "ddpm_edu.sampling.dpm_solver.step"
STEP_SDE, HEUN = "ddpm_edu.sampling.dpm_solver.sde_step", "ddpm_edu.sampling.heun.step"

ORIGINAL_AHEAD, ORIGINAL_DDIM, ORIGINAL_ASK = dpm_solver.ahead, ddim.step, loop.ask

OF_2M = (
    test_written_out.test_dpmpp_2m_is_its_algorithm,
    test_order.test_dpmpp_2m_is_of_second_order,
    test_peers.test_dpmpp_2m_agrees,
)
OF_SDE = (test_written_out.test_dpmpp_2m_sde_is_its_algorithm, test_peers.test_dpmpp_2m_sde_agrees)
OF_HEUN = (test_written_out.test_heun_is_edms_algorithm, test_peers.test_heun_agrees)


# ---------------------------------------------------------------- DPM-Solver++


def looking_ahead(weight, rederive=True):
    """``ahead`` with ``weight(h, h_before)`` for 1 / 2r."""

    def ahead(s, t, s_, x_t, denoised, before):
        if before is None:
            return denoised
        half = s.log_snr / 2
        h, h_before = half[s_] - half[t], half[t] - half[before.t]
        share = torch.where(h.isinf() | h_before.isinf(), 0.0, weight(h, h_before))
        x0 = denoised.x0 + beside(share, x_t) * (denoised.x0 - before.denoised.x0)
        if not rederive:
            return denoised._replace(x0=x0)
        ab = beside(s.alpha_bar[t], x_t)
        return denoised._replace(x0=x0, eps=(x_t - ab.sqrt() * x0) / (1 - ab).sqrt())

    return ahead


def ahead_in_the_last_step(s, t, s_, x_t, denoised, before):
    """As if h were not infinite there: infinity times the difference."""
    if before is None:
        return denoised
    half = s.log_snr / 2
    weight = (half[s_] - half[t]) / (2 * (half[t] - half[before.t]))
    x0 = denoised.x0 + beside(weight, x_t) * (denoised.x0 - before.denoised.x0)
    return denoised._replace(x0=x0)


def written_out(s, x_t, t, s_, denoised, noise, before, half=0.5):
    """Lu et al.'s formula with lambda = ``half`` of the log SNR."""
    d = ORIGINAL_AHEAD(s, t, s_, x_t, denoised, before).x0
    h = half * (s.log_snr[s_] - s.log_snr[t])
    rest = beside(((1 - s.alpha_bar[s_]) / (1 - s.alpha_bar[t])).sqrt(), x_t)
    return rest * x_t - beside(s.alpha_bar[s_].sqrt() * torch.expm1(-h), x_t) * d


def full_log_snr(*args):
    return written_out(*args, half=1.0)


def sde_written_out(gone, spread):
    def step(s, x_t, t, s_, denoised, noise, before):
        d = ORIGINAL_AHEAD(s, t, s_, x_t, denoised, before).x0
        h = (s.log_snr[s_] - s.log_snr[t]) / 2
        alpha, sigma = s.alpha_bar[s_].sqrt(), (1 - s.alpha_bar[s_]).sqrt()
        kept = beside(sigma / (1 - s.alpha_bar[t]).sqrt() * (-h).exp(), x_t)
        drawn = torch.where(s_ == 0, 0.0, sigma * spread(h))
        return kept * x_t + beside(alpha * gone(h), x_t) * d + beside(drawn, x_t) * noise

    return step


def remembering(which):
    """``walk`` that hands a step something else than what was seen at the step before."""

    def walk(denoise, s, x, pairs, step, generator=None, callback=None, progress=False):
        memory = []
        for number, (t, s_) in enumerate(pairs):
            time, earlier = torch.full((len(x),), t), torch.full((len(x),), s_)
            denoised = loop.ask(denoise, x, time)
            before = which(memory, denoised) if memory else None
            x = step(s, x, time, earlier, denoised, loop.draw(x.shape, generator, x.dtype, x.device), before)
            memory.append(Before(time, denoised))
            if callback is not None:
                callback({"step": number, "t": t, "s": s_, "x": x, "denoised": denoised})
        return x

    return walk


# ---------------------------------------------------------------- Heun


def heun_with(slope, correct):
    """Heun's step that asks for a second answer by ``slope`` and puts it in by ``correct``."""

    def step(s, x_t, t, s_, denoised, noise, denoise):
        euler = ORIGINAL_DDIM(s, x_t, t, s_, denoised, noise)
        sigma = (1 / s.alpha_bar - 1).sqrt()
        if (s_ == 0).all() or sigma[t].isinf().any():
            return euler
        return correct(s, x_t, t, s_, denoised, euler, slope(denoise, x_t, euler, t, s_))

    return step


def at_the_landing(denoise, x_t, euler, t, s_):
    return ORIGINAL_ASK(denoise, euler, s_)


def corrected(s, x_t, t, s_, denoised, euler, there):
    sigma = (1 / s.alpha_bar - 1).sqrt()
    return euler + beside(s.alpha_bar[s_].sqrt() * (sigma[s_] - sigma[t]) / 2, x_t) * (there.eps - denoised.eps)


def averaged_in_x(s, x_t, t, s_, denoised, euler, there):
    """The mean of both x0-hats and both eps-hats, put together at s."""
    ab = beside(s.alpha_bar[s_], x_t)
    return ab.sqrt() * (denoised.x0 + there.x0) / 2 + (1 - ab).sqrt() * (denoised.eps + there.eps) / 2


def corrected_in_z(s, x_t, t, s_, denoised, euler, there):
    """The way back from z = x / sqrt(ab) to x is forgotten."""
    sigma = (1 / s.alpha_bar - 1).sqrt()
    return euler + beside((sigma[s_] - sigma[t]) / 2, x_t) * (there.eps - denoised.eps)


def corrected_in_the_last_step(s, x_t, t, s_, denoised, noise, denoise):
    euler = ORIGINAL_DDIM(s, x_t, t, s_, denoised, noise)
    return corrected(s, x_t, t, s_, denoised, euler, ORIGINAL_ASK(denoise, euler, s_.clamp(min=1)))


def heun_from_infinity(s, x_t, t, s_, denoised, noise, denoise):
    euler = ORIGINAL_DDIM(s, x_t, t, s_, denoised, noise)
    if (s_ == 0).all():
        return euler
    return corrected(s, x_t, t, s_, denoised, euler, ORIGINAL_ASK(denoise, euler, s_))


MUTANTS = (
    # This one keeps the second order: over a walk its errors, (h_before^2 - h^2) / 2 each, cancel but for the ends.
    Mutant("2M: r upside down", AHEAD, looking_ahead(lambda h, b: b / (2 * h)), (OF_2M[0], OF_2M[2], *OF_SDE)),
    Mutant("2M: 1 / r for 1 / 2r", AHEAD, looking_ahead(lambda h, b: h / b), OF_2M + OF_SDE),
    Mutant("2M: looks back, not ahead", AHEAD, looking_ahead(lambda h, b: -h / (2 * b)), OF_2M + OF_SDE),
    Mutant("2M: steps taken for equally long", AHEAD, looking_ahead(lambda h, b: 0 * h + 0.5), OF_2M + OF_SDE),
    Mutant(
        "2M: x0-hat looks ahead, eps stays behind",
        AHEAD,
        looking_ahead(lambda h, b: h / (2 * b), rederive=False),
        OF_2M,
    ),
    Mutant(
        "2M: looks ahead in the last step, infinitely far",
        AHEAD,
        ahead_in_the_last_step,
        (
            OF_2M[0],
            test_equalities.test_the_last_step_of_every_method_lands_on_x0,
            test_promises.test_every_option_runs_or_is_refused,
            test_toward_the_data.test_a_finite_set_of_points_comes_back,
        ),
    ),
    Mutant(
        "2M: e^-h with h of the whole log SNR",
        STEP_2M,
        full_log_snr,
        (*OF_2M, test_equalities.test_the_first_step_of_dpmpp_2m_is_ddims_and_the_later_ones_are_not),
    ),
    Mutant(
        "2M: no look ahead at all",
        AHEAD,
        lambda s, t, s_, x_t, denoised, before: denoised,
        (*OF_2M, test_order.test_the_spread_of_the_sde_is_of_second_order),
    ),
    Mutant(
        "the first x0-hat is remembered for ever",
        "ddpm_edu.sampling.loop.walk",
        remembering(lambda memory, denoised: memory[0]),
        OF_2M + OF_SDE,
    ),
    Mutant(
        "the x0-hat of two steps before",
        "ddpm_edu.sampling.loop.walk",
        remembering(lambda memory, denoised: Before(memory[-1].t, memory[-2:][0].denoised)),
        OF_2M + OF_SDE,
    ),
    Mutant(
        "what is remembered is overwritten before it is used",
        "ddpm_edu.sampling.loop.walk",
        remembering(lambda memory, denoised: Before(memory[-1].t, denoised)),
        OF_2M + OF_SDE,
    ),
    Mutant(
        "2M SDE: e^-h for e^-2h",
        STEP_SDE,
        sde_written_out(lambda h: 1 - (-h).exp(), lambda h: (1 - (-h).exp()).sqrt()),
        (*OF_SDE, test_equalities.test_the_first_step_of_the_sde_solver_is_ddpms_and_the_later_ones_are_not),
    ),
    Mutant(
        "2M SDE: noise as in the solver for eps, sqrt(e^2h - 1)",
        STEP_SDE,
        sde_written_out(lambda h: 1 - (-2 * h).exp(), lambda h: torch.expm1(2 * h).sqrt()),
        (*OF_SDE, test_order.test_the_spread_of_the_sde_is_of_second_order),
    ),
    Mutant(
        "2M SDE: no noise",
        STEP_SDE,
        sde_written_out(lambda h: 1 - (-2 * h).exp(), lambda h: 0 * h),
        (*OF_SDE, test_toward_the_data.test_samples_come_as_near_to_the_data_as_other_data),
    ),
    Mutant(
        "Heun: means of x0-hat and eps-hat, put together at s",
        HEUN,
        heun_with(at_the_landing, averaged_in_x),
        OF_HEUN,
    ),
    Mutant("Heun: corrects x by what z lacks", HEUN, heun_with(at_the_landing, corrected_in_z), OF_HEUN),
    Mutant(
        "Heun: both slopes are the one at t",
        HEUN,
        heun_with(lambda denoise, x_t, euler, t, s_: ORIGINAL_ASK(denoise, x_t, t), corrected),
        (*OF_HEUN, test_order.test_heun_is_of_second_order),
    ),
    Mutant(
        "Heun: the network is asked at t about x_s",
        HEUN,
        heun_with(lambda denoise, x_t, euler, t, s_: ORIGINAL_ASK(denoise, euler, t), corrected),
        (
            *OF_HEUN,
            test_order.test_heun_is_of_second_order,
            test_promises.test_the_denoiser_is_asked_at_t_and_by_heun_at_s_too,
        ),
    ),
    Mutant(
        "Heun: corrects the last step too, by the slope at t = 1",
        HEUN,
        corrected_in_the_last_step,
        (
            *OF_HEUN,
            test_equalities.test_the_last_step_of_every_method_lands_on_x0,
            test_promises.test_the_denoiser_is_asked_at_t_and_by_heun_at_s_too,
        ),
    ),
    Mutant(
        "Heun: from an infinite sigma",
        HEUN,
        heun_from_infinity,
        (
            test_written_out.test_heun_from_pure_noise_begins_with_a_step_of_ddim,
            test_promises.test_zero_terminal_snr_by_every_method,
        ),
    ),
)
