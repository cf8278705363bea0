"""Mistakes in what is built around the samplers: guidance, limits, inversion, inpainting, likelihood, own steps.

Each is the right function with one mistake, written so that the mistake is all there is to read. A walk of many lines
is written once, with a place for the mistake.
"""

import math

import torch

from ddpm_edu import parameterization
from ddpm_edu.forward import at
from ddpm_edu.parameterization import x0_from_eps
from ddpm_edu.reverse import beside, pair_beta
from ddpm_edu.sampling import (
    adaptive,
    ddim,
    grids,
    guidance,
    heun,
    inpainting,
    interpolation,
    inversion,
    likelihood,
    loop,
)
from ddpm_edu.sampling import ddpm as ddpm_step
from tests.mutants import Mutant
from tests.sampling import (
    test_adaptive,
    test_classifier_guidance,
    test_guidance,
    test_guided_gaussians,
    test_inpainting,
    test_interpolation,
    test_inversion,
    test_likelihood,
    test_thresholding,
)

SAMPLING = "ddpm_edu.sampling."
GUIDED = SAMPLING + "guidance.Guided.beside_conditional"
RESCALED = SAMPLING + "guidance.Rescaled.__call__"
CLASSIFIED = SAMPLING + "guidance.Classified.__call__"
OF_NETWORK = SAMPLING + "guidance.of_network"
DYNAMIC = SAMPLING + "thresholding.dynamic"
BACK, INVERTING, REFINE = (SAMPLING + "inversion." + name for name in ("_back", "step", "refine"))
REPAINT, NOISED, ITINERARY = (SAMPLING + "inpainting." + name for name in ("repaint", "noised", "itinerary"))
SLERP = "tests.sampling.test_interpolation.slerp"
LIKELIHOOD, EXACT, HUTCHINSON = (SAMPLING + "likelihood." + name for name in ("log_likelihood", "exact", "hutchinson"))
ADAPTIVE, LANDING, TRY = (SAMPLING + "adaptive." + name for name in ("sample", "landing", "_try"))

ORIGINAL_GUIDED, ORIGINAL_REPAINT, ORIGINAL_NOISED = (
    guidance.Guided.beside_conditional,
    inpainting.repaint,
    inpainting.noised,
)
ORIGINAL_SLERP, ORIGINAL_REFINE, ORIGINAL_INVERTING = interpolation.slerp, inversion.refine, inversion.step
ORIGINAL_ADAPTIVE, ORIGINAL_LANDING, ORIGINAL_TRY = adaptive.sample, adaptive.landing, adaptive._try
ORIGINAL_HUTCHINSON = likelihood.hutchinson


def column(values, x):
    return values.reshape(-1, *[1] * (x.ndim - 1))


# ---------------------------------------------------------------- guidance without a classifier


def mixing(mix, x0_too=True, inside=None):
    """Guidance with another ``mix(given, plain, weight)`` of two tensors, and another test of the interval."""

    def both(self, x_t, t):
        given, plain = self.conditional(x_t, t), self.unconditional(x_t, t)
        low, high = self.interval
        where = (low <= t) & (t <= high) if inside is None else inside(t, low, high)
        weight = column(self.w * where.to(x_t.dtype), x_t)
        x0 = mix(given.x0, plain.x0, weight) if x0_too else given.x0
        return given._replace(x0=x0, eps=mix(given.eps, plain.eps, weight)), given

    return both


def right(given, plain, weight):
    return given + weight * (given - plain)


def as_a_scale(given, plain, weight):
    return plain + weight * (given - plain)


def on_the_wrong_side(given, plain, weight):
    return (1 + weight) * plain - weight * given


def one_sample(given, plain, weight):
    return right(given, plain, weight * column(torch.arange(len(given)) == 0, given))


def three_of_four_channels(given, plain, weight):
    return torch.cat([right(given[:, :-1], plain[:, :-1], weight), given[:, -1:]], 1)


def unconditional_outside(self, x_t, t):
    found, given = ORIGINAL_GUIDED(self, x_t, t)
    low, high = self.interval
    inside = column((low <= t) & (t <= high), x_t)
    plain = self.unconditional(x_t, t)
    return given._replace(
        x0=torch.where(inside, found.x0, plain.x0), eps=torch.where(inside, found.eps, plain.eps)
    ), given


def rescaling(ratio, eps_too=True, guard=True):
    """Rescaled with another ``ratio(wanted, found, phi)`` of two x0 (N, D)."""

    def call(self, x_t, t):
        found, given = self.guided.beside_conditional(x_t, t)
        factor = ratio(given, found, self.phi)
        x0 = column(torch.where(factor.isfinite(), factor, 1.0) if guard else factor, x_t) * found.x0
        eps = parameterization.eps_from_x0(self.schedule, x_t, t, x0) if eps_too else found.eps
        return found._replace(x0=x0, eps=eps)

    return call


def spread(x):
    return x.flatten(1).std(1, correction=0)


def right_ratio(given, found, phi):
    return phi * spread(given.x0) / spread(found.x0) + 1 - phi


def of_the_batch(given, found, phi):
    return (phi * given.x0.std() / found.x0.std() + 1 - phi).expand(len(given.x0))


def of_network(none, first_t=None):
    """Guidance of one network, with another label for "none"; with ``first_t``, one that is not the network's."""

    def make(net, s, predicts, labels, w, interval=None, first_t=1):
        pair = (
            parameterization.denoiser(net, s, predicts, first_t=FIRST if FIRST else first_t, labels=which)
            for which in (labels, none(net, labels))
        )
        return guidance.classifier_free(*pair, s, w, interval)

    FIRST = first_t
    return make


def its_no_label(net, labels):
    return torch.full_like(labels, net.no_label)


GUIDANCE = (
    Mutant(
        "the weight of guidance counts as s = 1 + w: off is the unconditional model",
        GUIDED,
        mixing(as_a_scale),
        (test_guidance.test_the_scale_of_others_is_one_more, test_guidance.test_by_hand),
    ),
    Mutant(
        "the weight of guidance on the wrong side",
        GUIDED,
        mixing(on_the_wrong_side),
        (
            test_guidance.test_by_hand,
            test_guidance.test_minus_one_is_the_unconditional_model_and_is_warned_of,
            test_guided_gaussians.test_guided_ddim_gives_the_golden_gaussian,
            test_guided_gaussians.test_and_not_the_tilted_density,
        ),
    ),
    Mutant(
        "guidance that is off asks the unconditional model all the same",
        GUIDED,
        mixing(right),
        (
            test_guidance.test_off_is_the_conditional_model_to_the_bit_and_the_other_is_not_asked,
            test_guidance.test_outside_the_interval_the_second_model_is_not_asked,
        ),
    ),
    Mutant(
        "guidance of the first sample alone",
        GUIDED,
        mixing(one_sample),
        (test_guidance.test_every_sample_is_guided_as_it_is_alone, test_guidance.test_by_hand),
    ),
    Mutant(
        "guidance of all channels but the last",
        GUIDED,
        mixing(three_of_four_channels),
        (test_guidance.test_the_scale_of_others_is_one_more, test_guidance.test_by_hand),
    ),
    Mutant(
        "guidance of eps, and x0 as it was",
        GUIDED,
        mixing(right, x0_too=False),
        (
            test_guidance.test_by_hand,
            test_guidance.test_the_scale_of_others_is_one_more,
            test_guidance.test_a_network_is_asked_with_the_labels_and_without,
        ),
    ),
    Mutant(
        "the interval of guidance by the first sample's time",
        GUIDED,
        mixing(right, inside=lambda t, low, high: ((low <= t) & (t <= high))[:1].expand_as(t)),
        (test_guidance.test_guided_inside_the_interval_and_conditional_to_the_bit_outside,),
    ),
    Mutant(
        "the interval of guidance without its ends",
        GUIDED,
        mixing(right, inside=lambda t, low, high: (low < t) & (t < high)),
        (test_guidance.test_guided_inside_the_interval_and_conditional_to_the_bit_outside,),
    ),
    Mutant(
        "outside the interval the unconditional model",
        GUIDED,
        unconditional_outside,
        (test_guidance.test_guided_inside_the_interval_and_conditional_to_the_bit_outside,),
    ),
    Mutant(
        "a v is mixed as if it were eps",
        "ddpm_edu.parameterization.eps_from_v",
        lambda s, x_t, t, v: v,
        (test_guidance.test_what_the_networks_predict_makes_no_difference,),
    ),
    Mutant(
        "label 0 stands for none",
        OF_NETWORK,
        of_network(lambda net, labels: torch.zeros_like(labels)),
        (
            test_guidance.test_a_network_is_asked_with_the_labels_and_without,
            test_guidance.test_a_real_network_guides_and_refuses_wrong_labels,
            test_guidance.test_a_network_that_knows_no_absence_of_labels_is_refused,
        ),
    ),
    Mutant(
        "the label of the first sample for all",
        OF_NETWORK,
        lambda net, s, predicts, labels, *rest, **options: of_network(its_no_label)(
            net, s, predicts, labels[:1].expand_as(labels), *rest, **options
        ),
        (
            test_guidance.test_a_network_is_asked_with_the_labels_and_without,
            test_guidance.test_a_real_network_guides_and_refuses_wrong_labels,
        ),
    ),
    Mutant(
        "the network's own first time is forgotten",
        OF_NETWORK,
        of_network(its_no_label, first_t=1),
        (test_guidance.test_a_network_is_told_the_interval_and_its_own_first_time,),
    ),
    Mutant(
        "the spread of the whole batch is rescaled",
        RESCALED,
        rescaling(of_the_batch),
        (test_guidance.test_rescaled_in_full_every_sample_has_the_conditional_spread,),
    ),
    Mutant(
        "the rescaled x0 keeps the old eps",
        RESCALED,
        rescaling(right_ratio, eps_too=False),
        (test_guidance.test_rescaled_in_full_every_sample_has_the_conditional_spread,),
    ),
    Mutant(
        "the share of rescaling on the wrong side",
        RESCALED,
        rescaling(lambda given, found, phi: right_ratio(given, found, 1 - phi)),
        (
            test_guidance.test_rescaled_by_a_share_by_hand,
            test_guidance.test_rescaling_nothing_is_the_guided_model,
        ),
    ),
    Mutant(
        "rescaling the wrong way round",
        RESCALED,
        rescaling(lambda given, found, phi: right_ratio(found, given, phi)),
        (
            test_guidance.test_rescaled_by_a_share_by_hand,
            test_guidance.test_rescaled_in_full_every_sample_has_the_conditional_spread,
        ),
    ),
    Mutant(
        "the spread of eps is rescaled to, not that of x0",
        RESCALED,
        rescaling(lambda given, found, phi: phi * spread(given.eps) / spread(found.eps) + 1 - phi),
        (test_guidance.test_rescaled_in_full_every_sample_has_the_conditional_spread,),
    ),
    Mutant(
        "a constant image is divided by its spread",
        RESCALED,
        rescaling(right_ratio, guard=False),
        (test_guidance.test_a_constant_image_stays_as_it_is,),
    ),
    Mutant(
        "rescaling asks the conditional model once more",
        RESCALED,
        lambda self, x_t, t: (self.guided.conditional(x_t, t), rescaling(right_ratio)(self, x_t, t))[1],
        (test_guidance.test_rescaling_asks_each_model_once,),
    ),
)


# ---------------------------------------------------------------- guidance by a classifier


def pushing(weight, where=None, of=None, x0_too=True, grad=True):
    """Classifier guidance with another ``weight(1 - ab)``, taken at another place, or of another number."""

    def call(self, x_t, t):
        s = self.schedule
        with torch.set_grad_enabled(grad or torch.is_grad_enabled()):
            x = (x_t if where is None else where(self.denoise, x_t, t)).detach().requires_grad_()
            log = self.log_probability(x, t)
            (gradient,) = torch.autograd.grad((log if of is None else of(log)).sum(), x)
        found = self.denoise(x_t, t)
        eps = found.eps - self.scale * at(weight(1 - s.alpha_bar), t, x_t) * gradient
        return found._replace(x0=x0_from_eps(s, x_t, t, eps) if x0_too else found.x0, eps=eps)

    return call


BAYES = test_classifier_guidance.test_with_the_exact_posterior_it_is_the_conditional_model
PUSHED_BY_HAND = test_classifier_guidance.test_by_hand

CLASSIFIER = (
    Mutant(
        "the classifier pushes away", CLASSIFIED, pushing(lambda rest: -rest.sqrt()),
        (BAYES, PUSHED_BY_HAND, test_classifier_guidance.test_samples_are_of_the_class,
         test_classifier_guidance.test_a_stronger_push_goes_further_than_the_class,
         test_classifier_guidance.test_a_negative_scale_is_warned_of),
    ),
    Mutant(
        "the classifier's gradient without sqrt(1 - ab)", CLASSIFIED, pushing(torch.ones_like),
        (BAYES, PUSHED_BY_HAND, test_classifier_guidance.test_the_gradient_is_taken_where_none_is_kept),
    ),
    Mutant(
        "the classifier's gradient times 1 - ab, not its root", CLASSIFIED, pushing(lambda rest: rest),
        (BAYES, PUSHED_BY_HAND, test_classifier_guidance.test_samples_are_of_the_class),
    ),
    Mutant(
        "the gradient of p, not of log p", CLASSIFIED, pushing(torch.sqrt, of=torch.exp), (BAYES, PUSHED_BY_HAND),
    ),
    Mutant(
        "the classifier's gradient at x0-hat", CLASSIFIED,
        pushing(torch.sqrt, where=lambda denoise, x, t: denoise(x, t).x0),
        (BAYES, test_classifier_guidance.test_the_classifier_sees_the_noisy_x_and_its_time),
    ),
    Mutant(
        "the classifier's gradient divided by the size of the batch", CLASSIFIED,
        pushing(torch.sqrt, of=lambda log: log / len(log)),
        (PUSHED_BY_HAND, test_classifier_guidance.test_every_sample_is_pushed_by_its_own_gradient),
    ),
    Mutant(
        "the classifier pushes eps, and x0 is as it was", CLASSIFIED, pushing(torch.sqrt, x0_too=False),
        (BAYES, PUSHED_BY_HAND),
    ),
    Mutant(
        "the classifier's gradient where none is kept", CLASSIFIED, pushing(torch.sqrt, grad=False),
        (test_classifier_guidance.test_the_gradient_is_taken_where_none_is_kept,
         test_classifier_guidance.test_a_network_and_a_trained_classifier_in_single_precision),
    ),
    Mutant(
        "the classifier's scale counts from 1 off", CLASSIFIED,
        lambda self, x_t, t: pushing(lambda rest: (1 + 1 / self.scale if self.scale else 1) * rest.sqrt())(
            self if self.scale else guidance.Classified(self.denoise, self.schedule, self.log_probability, 1.0), x_t, t
        ),
        (BAYES, PUSHED_BY_HAND, test_classifier_guidance.test_unguided_it_is_the_plain_model),
    ),
    Mutant(
        "the classifier does not push at all", CLASSIFIED, pushing(torch.zeros_like),
        (BAYES, test_classifier_guidance.test_a_classifier_of_clean_data_will_not_do),
    ),
    Mutant(
        "any number will do for log p", CLASSIFIED, pushing(torch.sqrt),
        (test_classifier_guidance.test_one_number_a_sample_is_needed,),
    ),
    Mutant(
        "the classifier pushes half as far, as if at the mean of the next step", CLASSIFIED,
        pushing(lambda rest: rest.sqrt() / 2),
        (BAYES, test_classifier_guidance.test_samples_are_of_the_class),
    ),
)  # fmt: skip


# ---------------------------------------------------------------- limits of x0


def limiting(limit, clamp=True):
    """Dynamic thresholding with another ``limit(|x0| flat, percentile)`` (N,)."""

    def dynamic(x0, percentile=0.995):
        flat = x0.flatten(1)
        r = column(limit(flat if x0.dtype == torch.float64 else flat.float(), percentile), x0).to(x0.dtype)
        return (x0.clamp(-r, r) if clamp else x0) / r

    return dynamic


def per_sample(flat, percentile):
    return flat.abs().quantile(percentile, dim=1)


THRESHOLDING = (
    Mutant(
        "dynamic thresholding with a largest value of 1: the static clip", DYNAMIC,
        limiting(lambda flat, p: per_sample(flat, p).clamp(1, 1)),
        (test_thresholding.test_by_hand, test_thresholding.test_it_is_not_the_static_clip,
         test_thresholding.test_it_lands_in_the_range_and_keeps_the_order),
    ),
    Mutant(
        "dynamic thresholding of the whole batch", DYNAMIC,
        limiting(lambda flat, p: flat.abs().quantile(p).clamp(min=1).expand(len(flat))),
        (test_thresholding.test_each_sample_by_itself_with_numpys_quantile,),
    ),
    Mutant(
        "dynamic thresholding stretches what lies within", DYNAMIC, limiting(per_sample),
        (test_thresholding.test_by_hand, test_thresholding.test_what_lies_in_the_range_stays_to_the_bit),
    ),
    Mutant(
        "dynamic thresholding looks at bright pixels only", DYNAMIC,
        limiting(lambda flat, p: flat.quantile(p, dim=1).clamp(min=1)),
        (test_thresholding.test_by_hand, test_thresholding.test_each_sample_by_itself_with_numpys_quantile),
    ),
    Mutant(
        "dynamic thresholding divides and does not clip", DYNAMIC,
        limiting(lambda flat, p: per_sample(flat, p).clamp(min=1), clamp=False),
        (test_thresholding.test_by_hand, test_thresholding.test_it_lands_in_the_range_and_keeps_the_order),
    ),
    Mutant(
        "dynamic thresholding clips and does not divide", DYNAMIC,
        lambda x0, percentile=0.995: x0.clamp(*(sign * column(per_sample(x0.flatten(1), percentile).clamp(min=1), x0)
                                                for sign in (-1, 1))),
        (test_thresholding.test_by_hand, test_thresholding.test_samples_of_strong_guidance_stay_in_the_range),
    ),
    Mutant(
        "the limited x0 keeps the old eps", SAMPLING + "thresholding.clipped",
        lambda s, x_t, t, denoised, clip: denoised._replace(x0=clip(denoised.x0)),
        (test_thresholding.test_x_t_is_still_the_sum,),
    ),
    Mutant(
        "the limited x0 is not the one that is passed on", SAMPLING + "thresholding.clipped",
        lambda s, x_t, t, denoised, clip: denoised,
        (test_thresholding.test_x_t_is_still_the_sum, test_thresholding.test_limits_come_last,
         test_thresholding.test_samples_of_strong_guidance_stay_in_the_range),
    ),
    Mutant(
        "a limited denoiser forgets the learned variance", SAMPLING + "thresholding.clipped",
        lambda s, x_t, t, denoised, clip: parameterization.Denoised(clip(denoised.x0), denoised.eps),
        (test_thresholding.test_what_else_the_denoiser_says_is_passed_on,),
    ),
)  # fmt: skip


# ---------------------------------------------------------------- inversion


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


# ---------------------------------------------------------------- inpainting


def painting(given_time=lambda t, s_: s_, replaced=lambda s_: True, ask_forward=False):
    """RePaint with the given part at another time, or replaced at some steps only."""

    def repaint(denoise, s, known, mask, *, steps=None, resamplings=10, jump=10, variance="beta", generator=None,
                callback=None, progress=False):  # fmt: skip
        grid = grids.uniform(s.T, min(250, s.T) if steps is None else steps)
        x = loop.draw(known.shape, generator, known.dtype, known.device)
        error = getattr(denoise, "eps_mse", None)
        for number, (here, there) in enumerate(inpainting.itinerary(grid, resamplings, jump)):
            t, s_ = torch.full((len(x),), max(here, there)), torch.full((len(x),), min(here, there))
            noise, again = (loop.draw(x.shape, generator, x.dtype, x.device) for _ in range(2))
            if here < there:
                x = inpainting.noised(s, x, s_, t, noise)
                if ask_forward:
                    loop.ask(denoise, x, t)
            else:
                choice = inpainting.methods.reverse.Optimal(error) if variance == "optimal" else variance
                x = ddpm_step.step(s, x, t, s_, loop.ask(denoise, x, t), noise, choice)
                if replaced(there):
                    known_now = inpainting.noised(s, known, torch.zeros_like(s_), given_time(t, s_), again)
                    x = torch.where(mask, known_now, x)
            if callback is not None:
                callback({"step": number, "t": here, "s": there, "x": x})
        return x.detach()

    return repaint


def noising(keep, add):
    """A draw from q(x_t | x_s) with other factors of x and noise, of beta between the two."""

    def noised(s, x, s_, t, noise):
        beta = torch.where(t > s_, pair_beta(s, t.clamp(min=1), torch.where(t > s_, s_, 0)), 0.0)
        return (beside(keep(beta), x) * x + beside(add(beta), x) * noise).to(x.dtype)

    return noised


def of_the_last_step_alone(s, x, s_, t, noise):
    beta = torch.where(t > s_, s.beta[t], 0.0)
    return beside((1 - beta).sqrt(), x) * x + beside(beta.sqrt(), x) * noise


def walking(again):
    """An itinerary with other moves ``again(back, forward)`` between the times that a part is gone over."""

    def itinerary(grid, resamplings, jump):
        moves = []
        for first in range(0, len(grid), jump):
            part = list(grid[first : first + jump])
            moves += [*part, *again(part, [(s_, t) for t, s_ in reversed(part)]) * (resamplings - 1)]
        return moves

    return itinerary


DRAWN, LAW_TIME = (
    test_inpainting.test_draws_have_the_mean_and_spread_of_the_law,
    test_inpainting.test_the_given_part_is_as_noisy_as_its_time_says,
)
ITINERARIES = (
    test_inpainting.test_itineraries_by_hand,
    test_inpainting.test_every_itinerary_goes_from_T_to_0_without_a_gap,
)

INPAINTING = (
    Mutant(
        "the given part stands in clean", REPAINT, painting(given_time=lambda t, s_: torch.zeros_like(t)),
        (DRAWN, LAW_TIME),
    ),
    Mutant(
        "the given part is as noisy as at the time that was left", REPAINT,
        painting(given_time=lambda t, s_: torch.where(s_ > 0, t, 0)),
        (DRAWN, LAW_TIME),
    ),
    Mutant(
        "the given part is still noisy in the end", REPAINT, painting(given_time=lambda t, s_: s_.clamp(min=1)),
        (DRAWN, test_inpainting.test_what_is_given_comes_out_to_the_bit,
         test_inpainting.test_pixels_that_share_nothing_are_as_if_nothing_were_given),
    ),
    Mutant(
        "the given part is put in at the end alone", REPAINT, painting(replaced=lambda there: there == 0),
        (DRAWN, LAW_TIME, test_inpainting.test_replacement_alone_is_biased_and_resampling_mends_it),
    ),
    Mutant(
        "the mask the wrong way round", REPAINT,
        lambda denoise, s, known, mask, **options: ORIGINAL_REPAINT(denoise, s, known, ~mask, **options),
        (test_inpainting.test_what_is_given_comes_out_to_the_bit, DRAWN),
    ),
    Mutant(
        "resampling once for all, whatever was asked for", REPAINT,
        lambda *args, resamplings=10, **options: ORIGINAL_REPAINT(*args, resamplings=1, **options),
        (DRAWN, test_inpainting.test_replacement_alone_is_biased_and_resampling_mends_it,
         test_inpainting.test_the_denoiser_is_asked_at_every_move_back_and_at_none_forward,
         test_inpainting.test_the_default_is_250_steps_ten_times_and_no_gradient),
    ),
    Mutant(
        "the denoiser is asked on the way forward too", REPAINT, painting(ask_forward=True),
        (test_inpainting.test_the_denoiser_is_asked_at_every_move_back_and_at_none_forward,),
    ),
    Mutant(
        "one stream for all samples of the inpainting", REPAINT,
        lambda *args, generator=None, **options: ORIGINAL_REPAINT(
            *args, generator=generator[0] if isinstance(generator, list) else generator, **options
        ),
        (test_inpainting.test_with_a_generator_each_an_image_does_not_depend_on_its_batch,),
    ),
    Mutant(
        "forward again with the variance, not its root", NOISED, noising(lambda b: (1 - b).sqrt(), lambda b: b),
        (DRAWN, LAW_TIME, test_inpainting.test_noise_from_any_time_to_any_later_one,
         test_inpainting.test_pixels_that_share_nothing_are_as_if_nothing_were_given),
    ),
    Mutant(
        "forward again without shrinking x", NOISED, noising(torch.ones_like, torch.sqrt),
        (DRAWN, LAW_TIME, test_inpainting.test_noise_from_any_time_to_any_later_one),
    ),
    Mutant(
        "forward again with the noise of one t", NOISED, of_the_last_step_alone,
        (DRAWN, LAW_TIME, test_inpainting.test_noise_from_any_time_to_any_later_one),
    ),
    Mutant(
        "from 0 to 0 some noise", NOISED,
        lambda s, x, s_, t, noise: ORIGINAL_NOISED(s, x, s_, t, noise) + 1e-3 * noise,
        (test_inpainting.test_noise_from_any_time_to_any_later_one,
         test_inpainting.test_what_is_given_comes_out_to_the_bit),
    ),
    Mutant(
        "over each part again without going forward first", ITINERARY, walking(lambda back, forward: back), ITINERARIES,
    ),
    Mutant(
        "forward again and not back", ITINERARY, walking(lambda back, forward: forward), ITINERARIES,
    ),
    Mutant(
        "over each part once more than asked", ITINERARY,
        lambda grid, resamplings, jump: inpainting_walk(grid, resamplings + 1, jump),
        (*ITINERARIES, test_inpainting.test_the_denoiser_is_asked_at_every_move_back_and_at_none_forward),
    ),
    Mutant(
        "jumps of one step, whatever was asked for", ITINERARY,
        lambda grid, resamplings, jump: inpainting_walk(grid, resamplings, 1),
        (test_inpainting.test_itineraries_by_hand,
         test_inpainting.test_one_jump_over_everything_is_no_better_than_none),
    ),
    Mutant(
        "no resampling at all", ITINERARY, lambda grid, resamplings, jump: list(grid),
        (*ITINERARIES, test_inpainting.test_where_many_resamplings_lead),
    ),
)  # fmt: skip

inpainting_walk = walking(lambda back, forward: [*forward, *back])


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
        * column(a.flatten(1).norm(dim=1), a),
        (test_interpolation.test_the_ends_are_the_latents, test_interpolation.test_there_and_back_is_the_same_way),
    ),
)  # fmt: skip


# ---------------------------------------------------------------- log p


def flowing(sign=1, volume_of=lambda d, ab: 0.5 * d * math.log(ab), enter=math.sqrt, heun=True, trapezium=True,
            prior_at_the_start=False, constant=True):  # fmt: skip
    """log_likelihood with a place for each mistake."""

    def log_likelihood(denoise, s, x0, steps=None, *, grid=None, divergence=None):
        grid = grids.linspace(s.T, min(100, s.T) if steps is None else steps) if grid is None else grid
        times = [t for t, _ in reversed(grid)]
        ab = s.alpha_bar.tolist()
        phi = [math.atan2(math.sqrt(1 - a), math.sqrt(a)) for a in ab]

        def slope(x, t):
            def v(x):
                seen = loop.ask(denoise, x, torch.full((len(x),), t))
                return math.sqrt(ab[t]) * seen.eps - math.sqrt(1 - ab[t]) * seen.x0

            return (divergence or likelihood.exact)(v, x)

        x = enter(ab[times[0]]) * x0
        first = x
        total = torch.full((len(x),), volume_of(x0[0].numel(), ab[times[0]]), dtype=torch.float64)
        for earlier, t in zip(times, times[1:], strict=False):  # noqa: RUF007
            step = phi[t] - phi[earlier]
            here, spread_here = slope(x, earlier)
            there, spread_there = slope(x + step * here, t)
            x = x + step * ((here + there) / 2 if heun else here)
            total = total + sign * step * ((spread_here + spread_there) / 2 if trapezium else spread_here)
        at_rest = (first if prior_at_the_start else x).double().flatten(1)
        prior = -0.5 * (at_rest.square() + (math.log(2 * math.pi) if constant else 0)).sum(1)
        return likelihood.Likelihood(prior + total, x)

    return log_likelihood


def signs(probes, generator, x, normal=False):
    shape = (probes, *x.shape)
    draw = (
        torch.randn(shape, generator=generator) if normal else 2.0 * torch.randint(0, 2, shape, generator=generator) - 1
    )
    return draw.to(x)


def guessing(total=torch.mean, normal=False, keep=True, seeded=True):
    """hutchinson with other probes, drawn anew or not, and another average over them."""

    def make(probes=1, generator=None):
        kept = []

        def divergence(field, x):
            if not keep or not kept or kept[0].shape[1:] != x.shape:
                kept[:] = [signs(probes, generator if seeded else None, x, normal)]
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                value = field(x)
                found = [
                    (torch.autograd.grad(value, x, v, retain_graph=True)[0] * v).flatten(1).sum(1) for v in kept[0]
                ]
            return value.detach(), total(torch.stack(found).double(), dim=0)

        return divergence

    return make


def first_dimension_alone(field, x):
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = field(x)
        (gradient,) = torch.autograd.grad(value.flatten(1)[:, 0].sum(), x)
    return value.detach(), gradient.flatten(1)[:, 0].double() * x[0].numel()


def all_derivatives(field, x):
    """The sum over i and j of d f_i / d x_j, not of the diagonal."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = field(x)
        (gradient,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), gradient.flatten(1).sum(1).double()


ON_A_GAUSSIAN = test_likelihood.test_on_a_gaussian_it_is_the_density_of_the_blurred_data
ON_A_MIXTURE = test_likelihood.test_on_a_mixture_it_is_a_density
ORDER = test_likelihood.test_the_error_is_of_second_order
IN_FLOAT = test_likelihood.test_in_single_precision_for_images

LIKELIHOODS = (
    Mutant("the divergence with the other sign", LIKELIHOOD, flowing(sign=-1), (ON_A_MIXTURE, IN_FLOAT)),
    Mutant(
        "no divergence: the density of the latent alone", LIKELIHOOD, flowing(sign=0), (ON_A_MIXTURE, IN_FLOAT),
    ),
    Mutant(
        "the prior where the flow starts", LIKELIHOOD, flowing(prior_at_the_start=True), (ON_A_MIXTURE, IN_FLOAT),
    ),
    Mutant(
        "the prior without its constant", LIKELIHOOD, flowing(constant=False),
        (ON_A_MIXTURE, IN_FLOAT, test_likelihood.test_pure_noise_is_worth_what_the_normal_density_says),
    ),
    Mutant(
        "the scale of x_1 forgotten in the volume", LIKELIHOOD, flowing(volume_of=lambda d, ab: 0.0),
        (test_likelihood.test_pure_noise_is_worth_what_the_normal_density_says,
         test_likelihood.test_on_a_grid_that_ends_later_more_is_blurred, test_likelihood.test_a_chain_of_one_step),
    ),
    Mutant(
        "the scale of x_1 counted for one dimension", LIKELIHOOD, flowing(volume_of=lambda d, ab: 0.5 * math.log(ab)),
        (test_likelihood.test_pure_noise_is_worth_what_the_normal_density_says,
         test_likelihood.test_on_a_grid_that_ends_later_more_is_blurred),
    ),
    Mutant(
        "x_0 stands for x_1", LIKELIHOOD, flowing(enter=lambda ab: 1.0),
        (test_likelihood.test_pure_noise_is_worth_what_the_normal_density_says,
         test_likelihood.test_on_a_grid_that_ends_later_more_is_blurred),
    ),
    Mutant(
        "Euler's steps in place of Heun's", LIKELIHOOD, flowing(heun=False, trapezium=False),
        (ORDER, test_likelihood.test_latents_are_those_of_a_fine_inversion, test_likelihood.test_latents_of_a_gaussian,
         test_likelihood.test_the_times_that_are_asked_about, IN_FLOAT),
    ),
    Mutant("the divergence by Euler's rule", LIKELIHOOD, flowing(trapezium=False), (ORDER, ON_A_GAUSSIAN)),
    Mutant(
        "the divergence of one dimension for all", EXACT, first_dimension_alone,
        (test_likelihood.test_the_exact_divergence, ON_A_MIXTURE),
    ),
    Mutant(
        "all derivatives in place of the diagonal", EXACT, all_derivatives,
        (test_likelihood.test_the_exact_divergence, ON_A_MIXTURE),
    ),
    Mutant(
        "Hutchinson's probes are normal, not signs", HUTCHINSON, guessing(normal=True),
        (test_likelihood.test_hutchinsons_is_unbiased,
         test_likelihood.test_hutchinsons_is_exact_where_the_dimensions_do_not_mix),
    ),
    Mutant(
        "Hutchinson's probes are added up", HUTCHINSON, guessing(total=torch.sum),
        (test_likelihood.test_hutchinsons_is_unbiased,
         test_likelihood.test_log_p_with_many_probes_comes_near_the_exact),
    ),
    Mutant(
        "Hutchinson's signs are drawn anew at every step", HUTCHINSON, guessing(keep=False),
        (test_likelihood.test_the_generator_decides_and_the_signs_are_kept,
         test_likelihood.test_log_p_with_many_probes_comes_near_the_exact),
    ),
    Mutant(
        "Hutchinson's signs do not come from the generator", HUTCHINSON, guessing(seeded=False),
        (test_likelihood.test_the_generator_decides_and_the_signs_are_kept,),
    ),
    Mutant(
        "one probe, however many are asked for", HUTCHINSON,
        lambda probes=1, generator=None: ORIGINAL_HUTCHINSON(1, generator),
        (test_likelihood.test_hutchinsons_is_unbiased,
         test_likelihood.test_log_p_with_many_probes_comes_near_the_exact),
    ),
)  # fmt: skip


# ---------------------------------------------------------------- steps of the solver's own choosing


def trying(result, error=None):
    """A try with another ``result(euler, better)``, and another ``error(euler, better)`` (N,)."""

    def try_(denoise, s, x, t, s_):
        time = t.clamp(min=1)
        denoised = loop.ask(denoise, x, time)
        euler = ddim.step(s, x, time, s_, denoised, x)
        better = heun.step(s, x, time, s_, denoised, x, denoise)
        wrong = (better - euler).flatten(1).square().mean(1).sqrt() if error is None else error(euler, better)
        return result(euler, better), wrong

    return try_


def rms(euler, better):
    return (better - euler).flatten(1).square().mean(1).sqrt()


HEUNS = test_adaptive.test_what_counts_is_heuns_result_and_the_error_is_eulers_distance
TIGHTER = test_adaptive.test_a_tighter_tolerance_costs_more_and_is_nearer
LANDINGS = (
    test_adaptive.test_landing_by_hand,
    test_adaptive.test_landing_is_within_the_length_at_least_one_t_on_and_at_0_from_1_alone,
)


def counting_for_the_batch(*args, **options):
    out = ORIGINAL_ADAPTIVE(*args, **options)
    return out._replace(evaluations=out.evaluations.max().expand_as(out.evaluations))


def counting_one_a_try(*args, callback=None, **options):
    tries = []
    out = ORIGINAL_ADAPTIVE(*args, callback=lambda d: (tries.append(d), callback and callback(d)), **options)
    return out._replace(evaluations=torch.full_like(out.evaluations, len(tries)))


ADAPTIVES = (
    Mutant("every try counts, whatever its error", TRY, trying(lambda e, b: b, lambda e, b: 0 * rms(e, b)),
           (HEUNS, TIGHTER, test_adaptive.test_steps_are_short_where_data_take_shape)),
    Mutant("Euler's result is kept", TRY, trying(lambda e, b: e), (HEUNS,)),
    Mutant("the largest error of a sample", TRY, trying(lambda e, b: b, lambda e, b: (b - e).flatten(1).abs().amax(1)),
           (HEUNS,)),
    Mutant("the error of the whole batch", TRY, trying(lambda e, b: b, lambda e, b: rms(e, b).max().expand(len(e))),
           (HEUNS, test_adaptive.test_evaluations_are_counted,
            test_adaptive.test_an_image_does_not_depend_on_its_batch_though_its_neighbours_take_other_steps)),
    Mutant("a sum of squares for the error", TRY,
           trying(lambda e, b: b, lambda e, b: (b - e).flatten(1).square().sum(1)), (HEUNS,)),
    Mutant("evaluations of the batch, not of the sample", ADAPTIVE, counting_for_the_batch,
           (test_adaptive.test_evaluations_are_counted,)),
    Mutant("one evaluation a try", ADAPTIVE, counting_one_a_try, (test_adaptive.test_evaluations_are_counted,)),
    Mutant("the tolerance is not used", ADAPTIVE,
           lambda denoise, s, shape, tolerance=0.02, *rest, **options: ORIGINAL_ADAPTIVE(
               denoise, s, shape, 0.02, *rest, **options),
           (TIGHTER, test_adaptive.test_at_the_finest_it_takes_every_t)),
    Mutant("a step may land on 0 from anywhere", LANDING,
           lambda s, t, length: torch.where(ORIGINAL_LANDING(s, t, length) == 1, 0, ORIGINAL_LANDING(s, t, length)),
           LANDINGS),
    Mutant("a step may stay where it is", LANDING,
           lambda s, t, length: (s.T + 1 - torch.searchsorted(s.log_snr[1:].flip(0) / 2, s.log_snr[t.clamp(min=1)] / 2
                                                              + length, right=True)).clamp(min=1),
           LANDINGS),
    Mutant("a step lands one t beyond its length", LANDING,
           lambda s, t, length: (ORIGINAL_LANDING(s, t, length) - 1).clamp(min=0), LANDINGS),
    Mutant("a step lands one t before it could", LANDING,
           lambda s, t, length: torch.minimum(ORIGINAL_LANDING(s, t, length) + 1, (t - 1).clamp(min=0)), LANDINGS),
    Mutant("lengths in log SNR, not half of it", LANDING,
           lambda s, t, length: ORIGINAL_LANDING(s, t, length / 2), LANDINGS),
    Mutant("always one t", LANDING, lambda s, t, length: (t - 1).clamp(min=0),
           (*LANDINGS, TIGHTER, test_adaptive.test_steps_are_short_where_data_take_shape)),
)  # fmt: skip


MUTANTS = (
    *GUIDANCE,
    *CLASSIFIER,
    *THRESHOLDING,
    *INVERSION,
    *INPAINTING,
    *INTERPOLATION,
    *LIKELIHOODS,
    *ADAPTIVES,
)
