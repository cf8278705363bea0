"""Mistakes on the way from data to noise, and between two latents."""

import torch

from ddpm_edu.reverse import beside
from ddpm_edu.sampling import interpolation, inversion, loop
from tests.mutants import Mutant
from tests.sampling import test_interpolation, test_inversion

BACK, INVERTING, REFINE = (f"ddpm_edu.sampling.inversion.{name}" for name in ("_back", "step", "refine"))
SLERP = "ddpm_edu.sampling.interpolation.slerp"

ORIGINAL_REFINE, ORIGINAL_INVERTING, ORIGINAL_SLERP = inversion.refine, inversion.step, interpolation.slerp


def back(first_time, again_in=lambda x_s, x_t: x_t, again_time=lambda s_, t: t):
    """One step of the inversion with another time at which the denoiser is asked, or another x."""

    def step(denoise, s, x_s, s_, t, refinements):
        earlier, time = torch.full((len(x_s),), s_), torch.full((len(x_s),), t)
        seen = loop.ask(denoise, x_s, torch.full_like(time, first_time(s_, t)))
        x_t = inversion.step(s, x_s, earlier, time, seen)
        for _ in range(refinements):
            seen = loop.ask(denoise, again_in(x_s, x_t), torch.full_like(time, again_time(s_, t)))
            x_t = inversion.refine(s, x_s, earlier, time, seen)
        return x_t, seen

    return step


def x0_as_it_was_seen(s, x_s, s_, t, seen):
    return (beside(s.alpha_bar[t].sqrt(), x_s) * seen.x0 + beside((1 - s.alpha_bar[t]).sqrt(), x_s) * seen.eps).to(x_s)


LATENTS = test_inversion.test_latents_are_those_of_the_closed_form

INVERSION = (
    Mutant(
        "the inversion asks at t in x_s", BACK, back(lambda s_, t: t),
        (LATENTS, test_inversion.test_what_is_asked_when),
    ),
    Mutant(
        "the inversion asks one time too late", BACK, back(lambda s_, t: s_ + 1),
        (LATENTS, test_inversion.test_what_is_asked_when),
    ),
    Mutant(
        "the inversion asks about time 0", BACK, back(lambda s_, t: s_),
        (LATENTS, test_inversion.test_what_is_asked_when),
    ),
    Mutant(
        "the times of the inversion exchanged", INVERTING,
        lambda s, x_s, s_, t, seen: ORIGINAL_INVERTING(s, x_s, t, s_, seen),
        (LATENTS, test_inversion.test_latents_come_near_those_of_the_exact_flow, test_inversion.test_one_step_by_hand),
    ),
    Mutant(
        "the inversion lands one time short", INVERTING,
        lambda s, x_s, s_, t, seen: ORIGINAL_INVERTING(s, x_s, s_, (t - 1).clamp(min=1), seen),
        (LATENTS, test_inversion.test_one_step_by_hand),
    ),
    Mutant(
        "the inversion takes x0-hat where x_0 is known", INVERTING, x0_as_it_was_seen, (LATENTS,),
    ),
    Mutant(
        "a refinement turns the wrong way", REFINE,
        lambda s, x_s, s_, t, seen: 2 * x_s * beside(_cos(s, s_, t), x_s) ** -1 - ORIGINAL_REFINE(s, x_s, s_, t, seen),
        (test_inversion.test_refined_it_is_exact, test_inversion.test_one_step_by_hand, LATENTS,
         test_inversion.test_a_way_that_ends_before_T),
    ),
    Mutant(
        "refinements ask again in x_s", BACK, back(lambda s_, t: max(s_, 1), again_in=lambda x_s, x_t: x_s),
        (test_inversion.test_refined_it_is_exact, test_inversion.test_a_refinement_raises_the_order_by_one),
    ),
    Mutant(
        "refinements ask at s", BACK, back(lambda s_, t: max(s_, 1), again_time=lambda s_, t: max(s_, 1)),
        (test_inversion.test_refined_it_is_exact, test_inversion.test_what_is_asked_when),
    ),
    Mutant(
        "the first step of the inversion is as any other", INVERTING,
        lambda s, x_s, s_, t, seen: ORIGINAL_INVERTING(s, x_s, s_.clamp(min=1), t.clamp(min=2), seen),
        (LATENTS,),
    ),
    Mutant(
        "no noise is added on the way of the inversion", INVERTING,
        lambda s, x_s, s_, t, seen: beside((s.alpha_bar[t] / s.alpha_bar[s_]).sqrt(), x_s) * x_s,
        (test_inversion.test_the_round_trip_is_of_first_order,
         test_inversion.test_latents_come_near_those_of_the_exact_flow),
    ),
)  # fmt: skip


def _cos(s, s_, t):
    return (s.alpha_bar[t] * s.alpha_bar[s_]).sqrt() + ((1 - s.alpha_bar[t]) * (1 - s.alpha_bar[s_])).sqrt()


# ---------------------------------------------------------------- between latents


def turning(angle, guard=True):
    """slerp with another ``angle(a, b)`` (N,) of flat latents."""

    def slerp(a, b, fraction):
        flat_a, flat_b = a.double().flatten(1), b.double().flatten(1)
        theta = angle(flat_a, flat_b)[:, None]
        of_a, of_b = ((share * theta).sin() / theta.sin() for share in (1 - fraction, fraction))
        if guard:
            apart = theta.sin() > 1e-6
            of_a, of_b = torch.where(apart, of_a, 1 - fraction), torch.where(apart, of_b, fraction)
        return (of_a * flat_a + of_b * flat_b).reshape(a.shape).to(a.dtype)

    return slerp


def angle_between(a, b):
    return ((a * b).sum(1) / a.norm(dim=1) / b.norm(dim=1)).clamp(-1, 1).acos()


INTERPOLATION = (
    Mutant(
        "latents mixed along the straight line", SLERP, lambda a, b, f: (1 - f) * a + f * b,
        (test_interpolation.test_by_hand, test_interpolation.test_the_length_stays_where_both_have_it,
         test_interpolation.test_noise_keeps_the_spread_of_noise, test_interpolation.test_the_angle_grows_evenly),
    ),
    Mutant(
        "the angle of latents without their lengths", SLERP,
        turning(lambda a, b: (a * b).sum(1).clamp(-1, 1).acos()),
        (test_interpolation.test_the_length_stays_where_both_have_it,
         test_interpolation.test_noise_keeps_the_spread_of_noise),
    ),
    Mutant(
        "one angle for the whole batch", SLERP,
        turning(lambda a, b: angle_between(a.reshape(1, -1), b.reshape(1, -1)).expand(len(a))),
        (test_interpolation.test_by_hand, test_interpolation.test_each_sample_has_its_own_angle,
         test_interpolation.test_the_angle_grows_evenly),
    ),
    Mutant(
        "the fraction from the wrong end", SLERP, lambda a, b, f: ORIGINAL_SLERP(b, a, f),
        (test_interpolation.test_by_hand, test_interpolation.test_the_ends_are_the_latents,
         test_interpolation.test_the_angle_grows_evenly),
    ),
    Mutant(
        "parallel latents divided by the sine of 0", SLERP, turning(angle_between, guard=False),
        (test_interpolation.test_no_angle_no_nan,),
    ),
    Mutant(
        "the mixture brought to the first latent's length", SLERP,
        lambda a, b, f: torch.nn.functional.normalize(ORIGINAL_SLERP(a, b, f).flatten(1)).reshape(a.shape)
        * beside(a.flatten(1).norm(dim=1), a),
        (test_interpolation.test_the_ends_are_the_latents, test_interpolation.test_there_and_back_is_the_same_way),
    ),
)  # fmt: skip


MUTANTS = (*INVERSION, *INTERPOLATION)
