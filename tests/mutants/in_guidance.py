"""Mistakes in guidance without a classifier: what is mixed, when, for whom, and the contrast after it."""

import torch

from ddpm_edu import parameterization
from ddpm_edu.sampling import guidance
from tests.mutants import Mutant
from tests.sampling import test_guidance, test_guided_gaussians

GUIDED = "ddpm_edu.sampling.guidance.Guided.beside_conditional"
RESCALED = "ddpm_edu.sampling.guidance.Rescaled.__call__"
OF_NETWORK = "ddpm_edu.sampling.guidance.of_network"

ORIGINAL_GUIDED = guidance.Guided.beside_conditional


def column(values, x):
    return values.reshape(-1, *[1] * (x.ndim - 1))


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


def of_network(none, always_first_t=None):
    """Guidance of one network, with another label for "none", or always the same first time."""

    def make(net, s, predicts, labels, w, interval=None, first_t=1):
        pair = (
            parameterization.denoiser(net, s, predicts, first_t=always_first_t or first_t, labels=which)
            for which in (labels, none(net, labels))
        )
        return guidance.classifier_free(*pair, s, w, interval)

    return make


def its_no_label(net, labels):
    return torch.full_like(labels, net.no_label)


MUTANTS = (
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
        of_network(its_no_label, always_first_t=1),
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
