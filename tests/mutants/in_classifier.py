"""Mistakes in guidance by a classifier, and in the limits of x0."""

import torch

from ddpm_edu import parameterization
from ddpm_edu.forward import at
from ddpm_edu.parameterization import x0_from_eps
from ddpm_edu.reverse import beside
from ddpm_edu.sampling import guidance
from tests.mutants import Mutant
from tests.sampling import test_classifier_guidance, test_thresholding

CLASSIFIED = "ddpm_edu.sampling.guidance.Classified.__call__"
DYNAMIC = "ddpm_edu.sampling.thresholding.dynamic"
CLIPPED = "ddpm_edu.sampling.thresholding.clipped"


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
        r = beside(limit(flat if x0.dtype == torch.float64 else flat.float(), percentile), x0).to(x0.dtype)
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
        lambda x0, percentile=0.995: x0.clamp(*(sign * beside(per_sample(x0.flatten(1), percentile).clamp(min=1), x0)
                                                for sign in (-1, 1))),
        (test_thresholding.test_by_hand, test_thresholding.test_samples_of_strong_guidance_stay_in_the_range),
    ),
    Mutant(
        "the limited x0 keeps the old eps", CLIPPED,
        lambda s, x_t, t, denoised, clip: denoised._replace(x0=clip(denoised.x0)),
        (test_thresholding.test_x_t_is_still_the_sum,),
    ),
    Mutant(
        "the limited x0 is not the one that is passed on", CLIPPED,
        lambda s, x_t, t, denoised, clip: denoised,
        (test_thresholding.test_x_t_is_still_the_sum, test_thresholding.test_limits_come_last,
         test_thresholding.test_samples_of_strong_guidance_stay_in_the_range),
    ),
    Mutant(
        "a limited denoiser forgets the learned variance", CLIPPED,
        lambda s, x_t, t, denoised, clip: parameterization.Denoised(clip(denoised.x0), denoised.eps),
        (test_thresholding.test_what_else_the_denoiser_says_is_passed_on,),
    ),
)  # fmt: skip


MUTANTS = (*CLASSIFIER, *THRESHOLDING)
