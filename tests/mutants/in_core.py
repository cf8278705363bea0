"""Mistakes about parameterisations, steps back, the bound, the oracles and the losses.

Many are, or were for years, in published courses and libraries; the rest are the ones a derivation invites.
"""

import dataclasses
import math

import torch

from ddpm_edu import elbo, losses, oracles, reverse
from ddpm_edu import parameterization as P
from ddpm_edu.forward import at, q_sample, q_step
from ddpm_edu.reverse import beside
from tests import (
    test_bad_inputs_core,
    test_closed_form,
    test_elbo,
    test_losses,
    test_oracles,
    test_parameterization,
    test_reverse,
)
from tests.mutants import Mutant
from tests.training import test_meter

# ---------------------------------------------------------------- parameterisations

EPS_FROM_X0, X0_FROM_EPS, CALL = P.eps_from_x0, P.x0_from_eps, P.NetworkDenoiser.__call__


def call_without_shift(self, x_t, t):
    return CALL(dataclasses.replace(self, first_t=1), x_t, t)


def rounded_eps(s, x_t, t, x0):
    ab = s.alpha_bar.to(x_t.dtype)[t].reshape(-1, *[1] * (x_t.ndim - 1))
    return (x_t - ab.sqrt() * x0) / (1 - ab).sqrt()


PARAMETERIZATION = (
    Mutant(
        "x_0 from eps with a plus: the noise is added once more",
        "ddpm_edu.parameterization.x0_from_eps",
        lambda s, x, t, eps: (x + at(1 - s.alpha_bar, t, x).sqrt() * eps) / at(s.alpha_bar, t, x).sqrt(),
        (test_parameterization.test_every_meaning_gives_back_x0_and_eps_at_every_t,),
    ),
    Mutant(
        "x_0 from eps without dividing by sqrt(alpha_bar)",
        "ddpm_edu.parameterization.x0_from_eps",
        lambda s, x, t, eps: x - at(1 - s.alpha_bar, t, x).sqrt() * eps,
        (test_parameterization.test_every_meaning_gives_back_x0_and_eps_at_every_t,),
    ),
    Mutant(
        "x_0 from eps is infinite at zero terminal SNR, without a word",
        "ddpm_edu.parameterization.x0_from_eps",
        lambda s, x, t, eps: (x - at(1 - s.alpha_bar, t, x).sqrt() * eps) / at(s.alpha_bar, t, x).sqrt(),
        (test_parameterization.test_at_zero_snr_eps_says_nothing_about_x0,),
    ),
    Mutant(
        "v with its sign turned: v_T = +x_0",
        "ddpm_edu.parameterization.v_from",
        lambda s, x0, t, eps: at(1 - s.alpha_bar, t, x0).sqrt() * x0 - at(s.alpha_bar, t, x0).sqrt() * eps,
        (test_parameterization.test_identities_of_v,),
    ),
    Mutant(
        "the score has the sign of eps",
        "ddpm_edu.parameterization.score_from_eps",
        lambda s, t, eps: eps / at(1 - s.alpha_bar, t, eps).sqrt(),
        (test_parameterization.test_the_score_of_noise_alone,),
    ),
    Mutant(
        "the score is divided by the variance, not its root",
        "ddpm_edu.parameterization.score_from_eps",
        lambda s, t, eps: -eps / at(1 - s.alpha_bar, t, eps),
        (test_parameterization.test_the_score_of_noise_alone,),
    ),
    Mutant(
        "x_0 is clipped and eps left as it was",
        "ddpm_edu.parameterization.clipped",
        lambda s, x_t, t, denoised, clip: denoised._replace(x0=clip(denoised.x0)),
        (test_parameterization.test_clipping_derives_eps_anew,),
    ),
    Mutant(
        "a network that counts from 0 is given t",
        "ddpm_edu.parameterization.NetworkDenoiser.__call__",
        call_without_shift,
        (test_parameterization.test_the_network_sees_its_own_numbering_and_its_condition,),
    ),
    Mutant(
        "the condition does not reach the network",
        "ddpm_edu.parameterization.NetworkDenoiser.__call__",
        lambda self, x_t, t: CALL(dataclasses.replace(self, condition={}), x_t, t),
        (test_parameterization.test_the_network_sees_its_own_numbering_and_its_condition,),
    ),
    Mutant(
        "a denoiser is used with any schedule",
        "ddpm_edu.parameterization.check_schedule",
        lambda denoise, s: None,
        (test_parameterization.test_a_denoiser_belongs_to_its_schedule,),
    ),
    Mutant(
        "eps from x_0 worked out in half precision",
        "ddpm_edu.parameterization.eps_from_x0",
        rounded_eps,
        (test_parameterization.test_the_first_steps_in_bfloat16,),
    ),
)

# ---------------------------------------------------------------- steps back

PAIR_MEAN, BOUND_VARIANCE = reverse.pair_mean, reverse.bound_variance


def mean_with_alpha_bar(s, x0, x_t, t, s_):
    rest, before, now = (beside(v, x_t) for v in (1 - s.alpha_bar[t], s.alpha_bar[s_], s.alpha_bar[t]))
    beta = 1 - now / before
    return before.sqrt() * beta / rest * x0 + now.sqrt() * (1 - before) / rest * x_t


def clamped_at_1e_20(s, t, choice, fraction=None):
    if isinstance(choice, torch.Tensor) or choice == "beta":
        return BOUND_VARIANCE(s, t, choice, fraction)
    low = s.posterior_variance.clamp(min=1e-20)[t]
    if choice == "posterior":
        return low
    return reverse.interpolate(beside(low, fraction.double()), beside(s.beta[t], fraction.double()), fraction.double())


def optimal_from_error_of_x0(s, eps_mse):
    table = s.posterior_variance.clone()
    table[1:] += s.alpha_bar[:-1] * (s.beta[1:] / (1 - s.alpha_bar[1:])) ** 2 * eps_mse.double()[1:]
    return table


REVERSE = (
    Mutant(
        "the mean back has sqrt(alpha_bar_t) for sqrt(alpha_t)",
        "ddpm_edu.reverse.pair_mean",
        mean_with_alpha_bar,
        (
            test_reverse.test_any_pair_against_bayes_on_a_grid,
            test_reverse.test_neighbours_are_the_posterior_of_the_forward_room,
        ),
    ),
    Mutant(
        "a longer step back with the coefficients of a single one",
        "ddpm_edu.reverse.pair_mean",
        lambda s, x0, x_t, t, s_: PAIR_MEAN(s, x0, x_t, t, t - 1),
        (test_reverse.test_any_pair_against_bayes_on_a_grid, test_reverse.test_at_the_end_only_x0_is_left),
    ),
    Mutant(
        "the noise of a jump is that of its last step",
        "ddpm_edu.reverse.pair_beta",
        lambda s, t, s_: s.beta[t],
        (
            test_reverse.test_the_noise_of_a_jump_is_what_its_steps_add,
            test_reverse.test_any_pair_against_bayes_on_a_grid,
        ),
    ),
    Mutant(
        "the posterior variance of a pair is beta",
        "ddpm_edu.reverse.pair_posterior_variance",
        lambda s, t, s_: 1 - s.alpha_bar[t] / s.alpha_bar[s_],
        (test_reverse.test_any_pair_against_bayes_on_a_grid, test_reverse.test_names_of_the_variances),
    ),
    Mutant(
        "noise is drawn in the last step too",
        "ddpm_edu.reverse.pair_variance",
        lambda s, t, s_, choice, fraction=None: reverse.pair_beta(s, t, s_),
        (test_reverse.test_nothing_is_drawn_into_the_clean_image,),
    ),
    Mutant(
        "the posterior variance at t = 1 is 1e-20",
        "ddpm_edu.reverse.bound_variance",
        clamped_at_1e_20,
        (
            test_elbo.test_learned_variance_at_the_first_step_starts_from_entry_two,
            test_reverse.test_the_bound_never_has_width_zero,
        ),
    ),
    Mutant(
        "the posterior variance at t = 1 is 1e-20, in the bound",
        "ddpm_edu.elbo.bound_variance",
        clamped_at_1e_20,
        (
            test_elbo.test_the_decoder_is_not_saturated_half_way_between_the_variances,
            test_elbo.test_golden_table_of_the_general_code,
        ),
    ),
    Mutant(
        "variances are interpolated, not their logarithms",
        "ddpm_edu.reverse.interpolate",
        lambda low, high, f: f * high + (1 - f) * low,
        (
            test_reverse.test_interpolation_ends_and_middle,
            test_elbo.test_learned_variance_between_is_the_geometric_mean,
        ),
    ),
    Mutant(
        "the fraction counts from beta",
        "ddpm_edu.reverse.interpolate",
        lambda low, high, f: torch.exp(f * low.log() + (1 - f) * high.log()),
        (test_elbo.test_learned_variance_ends_are_the_posterior_and_beta,),
    ),
    Mutant(
        "the optimal variance takes the error of eps for that of x_0",
        "ddpm_edu.reverse.optimal",
        optimal_from_error_of_x0,
        (
            test_reverse.test_optimal_is_the_variance_of_the_true_step_back,
            test_reverse.test_optimal_against_simulation,
        ),
    ),
)

# ---------------------------------------------------------------- the bound

PRIOR, DENOISING, BOUND, DISCRETIZED = elbo.prior_term, elbo.denoising_term, elbo.variational_bound, elbo.discretized


def parts(s, x0, x0_hat, t, variance):
    """Posterior variance, model variance and squared distance of the means, as denoising_term has them."""
    b = beside(s.posterior_variance[t], x0.double()).clamp(min=1e-300)
    wide = beside(variance, x0.double()).expand(x0.shape)
    share = beside(s.alpha_bar[t - 1].sqrt() * s.beta[t] / (1 - s.alpha_bar[t]), x0.double())
    return b, wide, (share * (x0.double() - x0_hat.double())).square()


def reversed_kl(s, x0, x0_hat, t, variance):
    b, wide, gap = parts(s, x0, x0_hat, t, variance)
    return 0.5 * (b.log() - wide.log() + (wide + gap) / b - 1).flatten(1).sum(1)


def kl_without_logarithm(s, x0, x0_hat, t, variance):
    _, wide, gap = parts(s, x0, x0_hat, t, variance)
    return 0.5 * (gap / wide).flatten(1).sum(1)


def kl_of_standard_deviations(s, x0, x0_hat, t, variance):
    b, wide, gap = parts(s, x0, x0_hat, t, variance)
    return 0.5 * (0.5 * (wide.log() - b.log()) + (b + gap) / wide - 1).flatten(1).sum(1)


def kl_of_x0(s, x0, x0_hat, t, variance):
    b, wide, _ = parts(s, x0, x0_hat, t, variance)
    gap = (x0.double() - x0_hat.double()).square()
    return 0.5 * (wide.log() - b.log() + (b + gap) / wide - 1).flatten(1).sum(1)


def first_step_twice(*args, **options):
    b = BOUND(*args, **options)
    denoising = b.denoising.clone()
    denoising[:, 1] = b.reconstruction
    return dataclasses.replace(b, denoising=denoising)


def last_step_forgotten(*args, **options):
    b = BOUND(*args, **options)
    denoising = b.denoising.clone()
    denoising[:, -1] = 0
    return dataclasses.replace(b, denoising=denoising)


def table_one_place_early(*args, **options):
    b = BOUND(*args, **options)
    return dataclasses.replace(b, denoising=torch.cat([b.denoising[:, 1:], b.denoising[:, :1]], 1))


def tanh_cdf(x):
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def tanh_mass(low, high):
    return (tanh_cdf(high) - tanh_cdf(low)).clamp(min=1e-12).log()


def clamped_mass(low, high):
    return (torch.special.ndtr(high) - torch.special.ndtr(low)).clamp(min=1e-12).log()


def mass_without_mirror(low, high):
    log_low, log_high = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
    return log_high + (-torch.expm1(log_low - log_high)).log()


def bins_of(half, open_ends=True):
    """The decoder with bins of a given half width, whatever the number of levels."""

    def make(levels):
        def log_prob(x0, mean, variance):
            ends = (math.inf if open_ends else half) + torch.zeros_like(x0)
            low = (x0 - torch.where(x0 <= -1 + 1e-9, ends, half) - mean) / variance.sqrt()
            high = (x0 + torch.where(x0 >= 1 - 1e-9, ends, half) - mean) / variance.sqrt()
            return elbo._log_mass(low, high)

        return elbo.Decoder("wrong", log_prob, 0.0)

    return make


def weight_as(power_alpha=1.0, power_rest=1.0, half=2.0):
    def weight(s, variance):
        w = torch.zeros_like(s.beta)
        rest = (1 - s.alpha_bar[1:]) ** power_rest
        w[1:] = s.beta[1:] ** 2 / (half * variance[1:] * s.alpha[1:] ** power_alpha * rest)
        return w

    return weight


PRIOR_TESTS = (test_elbo.test_the_prior_of_each_sample, test_elbo.test_the_prior_has_no_parameters)
KL_TESTS = (
    test_elbo.test_each_denoising_term_of_each_sample,
    test_elbo.test_the_three_terms_are_the_bound_as_it_is_defined,
)
WEIGHT_TESTS = (
    test_elbo.test_the_weighted_error_of_eps_is_the_kl,
    test_elbo.test_the_weight_is_half_the_drop_in_snr,
    test_elbo.test_the_weight_at_t_1_is_that_of_the_density_decoder,
)

ELBO = (
    Mutant(
        "L_T with the wrong sign before the logarithm",
        "ddpm_edu.elbo.prior_term",
        lambda s, x0: PRIOR(s, x0) + math.log1p(-s.alpha_bar[-1].item()) * x0[0].numel(),
        (*PRIOR_TESTS, test_elbo.test_golden_table_of_the_general_code),
    ),
    Mutant(
        "L_T without its 1/2",
        "ddpm_edu.elbo.prior_term",
        lambda s, x0: 2 * PRIOR(s, x0),
        (*PRIOR_TESTS, test_elbo.test_the_three_terms_are_the_bound_as_it_is_defined),
    ),
    Mutant(
        "L_T taken at T - 1",
        "ddpm_edu.elbo.prior_term",
        lambda s, x0: PRIOR(dataclasses.replace(s, beta=s.beta[:-1], alpha_bar=s.alpha_bar[:-1]), x0),
        (test_elbo.test_the_prior_has_no_parameters, test_elbo.test_golden_table_of_the_general_code),
    ),
    Mutant(
        "L_T is a mean over dimensions",
        "ddpm_edu.elbo.prior_term",
        lambda s, x0: PRIOR(s, x0) / x0[0].numel(),
        (test_elbo.test_terms_are_sums_over_dimensions,),
    ),
    Mutant("the KL the other way round", "ddpm_edu.elbo.denoising_term", reversed_kl, KL_TESTS),
    Mutant(
        "the KL without its 1/2",
        "ddpm_edu.elbo.denoising_term",
        lambda *args: 2 * DENOISING(*args),
        (*KL_TESTS, test_elbo.test_the_weighted_error_of_eps_is_the_kl),
    ),
    Mutant(
        "the KL without what does not depend on the network",
        "ddpm_edu.elbo.denoising_term",
        kl_without_logarithm,
        (*KL_TESTS, test_elbo.test_what_beta_costs_beside_the_posterior),
    ),
    Mutant(
        "the KL with the logarithm of a ratio of standard deviations under the 1/2",
        "ddpm_edu.elbo.denoising_term",
        kl_of_standard_deviations,
        KL_TESTS,
    ),
    Mutant("the KL with the distance of x_0, not of the means", "ddpm_edu.elbo.denoising_term", kl_of_x0, KL_TESTS),
    Mutant(
        "the KL is a mean over dimensions",
        "ddpm_edu.elbo.denoising_term",
        lambda s, x0, x0_hat, t, variance: DENOISING(s, x0, x0_hat, t, variance) / x0[0].numel(),
        (test_elbo.test_terms_are_sums_over_dimensions, test_elbo.test_the_weighted_error_of_eps_is_the_kl),
    ),
    Mutant(
        "t = 1 is counted twice",
        "ddpm_edu.elbo.variational_bound",
        first_step_twice,
        (
            test_elbo.test_columns_zero_and_one_of_denoising_are_empty,
            test_elbo.test_the_three_terms_are_the_bound_as_it_is_defined,
        ),
    ),
    Mutant(
        "the step from T is forgotten",
        "ddpm_edu.elbo.variational_bound",
        last_step_forgotten,
        (
            test_elbo.test_columns_zero_and_one_of_denoising_are_empty,
            test_elbo.test_the_three_terms_are_the_bound_as_it_is_defined,
        ),
    ),
    Mutant(
        "L_{t-1} in column t - 1",
        "ddpm_edu.elbo.variational_bound",
        table_one_place_early,
        (test_elbo.test_each_denoising_term_of_each_sample, test_closed_form.test_each_term_against_the_general_code),
    ),
    Mutant(
        "a bound of the samples is made of single-precision sums",
        "ddpm_edu.elbo.variational_bound",
        lambda *a, **k: dataclasses.replace(BOUND(*a, **k), prior=BOUND(*a, **k).prior.float()),
        (test_elbo.test_columns_zero_and_one_of_denoising_are_empty,),
    ),
    Mutant(
        "one draw of noise for every t",
        "ddpm_edu.elbo._noise",
        lambda x0, noise, generator: torch.ones_like(x0) if noise is None else noise,
        (test_elbo.test_the_generator_decides_and_each_t_has_its_own_draw,),
    ),
    Mutant(
        "bits per dimension without the number of dimensions",
        "ddpm_edu.elbo.Bound.bits_per_dim",
        property(lambda self: self.total / math.log(2) + self.bits_shift),
        (test_elbo.test_bits_per_dim_of_pixels, test_elbo.test_terms_are_sums_over_dimensions),
    ),
    Mutant(
        "bits per dimension in nats",
        "ddpm_edu.elbo.Bound.bits_per_dim",
        property(lambda self: self.total / self.dimensions + self.bits_shift),
        (test_elbo.test_bits_per_dim_of_pixels,),
    ),
    Mutant(
        "bits per dimension of a density without its unit",
        "ddpm_edu.elbo.Bound.bits_per_dim",
        property(lambda self: self.total / (self.dimensions * math.log(2))),
        (test_elbo.test_units_of_the_decoders, test_elbo.test_terms_are_sums_over_dimensions),
    ),
    Mutant(
        "a density of K levels adds log2(K)",
        "ddpm_edu.elbo.density_of",
        lambda levels: dataclasses.replace(elbo.density, bits_shift=math.log2(levels)),
        (test_elbo.test_units_of_the_decoders, test_elbo.test_many_levels_are_a_density),
    ),
    Mutant(
        "the tanh approximation of the normal distribution",
        "ddpm_edu.elbo._log_mass",
        tanh_mass,
        (
            test_elbo.test_the_mass_of_a_level_against_scipy,
            test_elbo.test_far_tails_are_exact_and_symmetric,
            test_elbo.test_the_tanh_approximation_is_off_by_what_is_said_of_it,
        ),
    ),
    Mutant(
        "a mass never below 1e-12",
        "ddpm_edu.elbo._log_mass",
        clamped_mass,
        (test_elbo.test_the_mass_of_a_level_against_scipy, test_elbo.test_far_tails_are_exact_and_symmetric),
    ),
    Mutant(
        "the upper tail as a difference of ones",
        "ddpm_edu.elbo._log_mass",
        mass_without_mirror,
        (test_elbo.test_far_tails_are_exact_and_symmetric,),
    ),
    Mutant(
        "bins of 1/255 on 17 grey levels",
        "ddpm_edu.elbo.discretized",
        bins_of(1 / 255),
        (
            test_elbo.test_masses_of_all_levels_add_up_to_one,
            test_elbo.test_the_mass_of_a_level_against_scipy,
            test_elbo.test_bins_of_photographs_lose_most_of_a_digit,
        ),
    ),
    Mutant(
        "the outer bins do not reach to infinity",
        "ddpm_edu.elbo.discretized",
        lambda levels: bins_of(1 / (levels - 1), open_ends=False)(levels),
        (test_elbo.test_masses_of_all_levels_add_up_to_one, test_elbo.test_the_mass_of_a_level_against_scipy),
    ),
    Mutant(
        "bins of 1 / levels",
        "ddpm_edu.elbo.discretized",
        lambda levels: bins_of(1 / levels)(levels),
        (test_elbo.test_masses_of_all_levels_add_up_to_one,),
    ),
    Mutant(
        "data off the levels are rounded onto them",
        "ddpm_edu.elbo._check_on_levels",
        lambda x0, k, half, levels: None,
        (test_elbo.test_data_off_the_levels_are_refused,),
    ),
    Mutant("the weight of eps without alpha_t", "ddpm_edu.elbo.eps_weight", weight_as(power_alpha=0), WEIGHT_TESTS),
    Mutant("the weight of eps without its 1/2", "ddpm_edu.elbo.eps_weight", weight_as(half=1.0), WEIGHT_TESTS),
    Mutant(
        "the weight of eps has the root of 1 - alpha_bar",
        "ddpm_edu.elbo.eps_weight",
        weight_as(power_rest=0.5),
        WEIGHT_TESTS,
    ),
)

# ---------------------------------------------------------------- oracles


def undiffused_score(self, s, x_t, t):
    return SCORE(self, s, x_t, torch.ones_like(t))


def score_uphill(self, s, x_t, t):
    return -SCORE(self, s, x_t, t)


def posterior_of_equal_classes(self, s, x_t, t):
    return torch.softmax(self._parts(s, x_t, t)[3] - self.weights.log(), 1)


def covariance_between_only(self, s, x_t, t):
    same = oracles.Mixture(self.weights, self.means, self.stds)
    total = COVARIANCE(same, s, x_t, t)
    ab, v, _, log = self._parts(s, x_t, t)
    within = (torch.softmax(log, 1) * (1 - ab) * self.stds**2 / v).sum(1)
    return total - within[:, None, None] * torch.eye(total.shape[1])


def nearest_sample(self, s, x_t, t):
    w = WEIGHTS(self, s, x_t, t)
    return torch.nn.functional.one_hot(w.argmax(1), w.shape[1]).double()


SCORE, COVARIANCE = oracles.Mixture.score, oracles.Mixture.posterior_covariance
WEIGHTS, GAUSSIAN_MEAN = oracles.FiniteDataset.weights, oracles.Gaussian.posterior_mean

ORACLES = (
    Mutant(
        "the score of the data at every t",
        "ddpm_edu.oracles.Mixture.score",
        undiffused_score,
        (
            test_oracles.test_the_score_of_a_mixture_is_the_gradient_of_its_log_density,
            test_oracles.test_at_large_t_the_score_is_that_of_pure_noise,
        ),
    ),
    Mutant(
        "the score points away from the data",
        "ddpm_edu.oracles.Mixture.score",
        score_uphill,
        (
            test_oracles.test_the_score_of_a_mixture_is_the_gradient_of_its_log_density,
            test_oracles.test_the_score_of_a_mixture_by_finite_differences,
            test_oracles.test_tweedie_links_score_and_denoiser,
        ),
    ),
    Mutant(
        "the class posterior forgets how common a class is",
        "ddpm_edu.oracles.Mixture.class_posterior",
        posterior_of_equal_classes,
        (test_oracles.test_the_class_posterior_by_enumeration,),
    ),
    Mutant(
        "the posterior covariance between the modes only",
        "ddpm_edu.oracles.Mixture.posterior_covariance",
        covariance_between_only,
        (
            test_oracles.test_tweedie_of_second_order,
            test_oracles.test_the_posterior_of_a_mixture_against_bayes_on_a_grid,
            test_oracles.test_the_error_of_eps_is_the_posterior_covariance,
        ),
    ),
    Mutant(
        "the best guess is x_t, scaled back",
        "ddpm_edu.oracles.Gaussian.posterior_mean",
        lambda self, s, x, t: x / at(s.alpha_bar, t, x).sqrt(),
        (
            test_oracles.test_the_posterior_mean_of_a_gaussian_against_bayes_on_a_grid,
            test_oracles.test_a_mixture_of_one_is_a_gaussian,
            test_oracles.test_floors_against_monte_carlo,
        ),
    ),
    Mutant(
        "the floor of eps is that of x_0",
        "ddpm_edu.oracles.Gaussian.eps_floor",
        lambda self, s: (1 - s.alpha_bar) * self.std**2 / (s.alpha_bar * self.std**2 + 1 - s.alpha_bar),
        (test_oracles.test_the_floor_of_a_gaussian_by_hand,),
    ),
    Mutant(
        "the nearest sample, not the average",
        "ddpm_edu.oracles.FiniteDataset.weights",
        nearest_sample,
        (
            test_oracles.test_a_finite_data_set_is_a_mixture_of_points,
            test_oracles.test_a_finite_data_set_by_hand,
        ),
    ),
    Mutant(
        "the finite data set's weights without their 2",
        "ddpm_edu.oracles.FiniteDataset.weights",
        lambda self, s, x, t: torch.softmax(2 * WEIGHTS(self, s, x, t).log(), 1),
        (
            test_oracles.test_a_finite_data_set_is_a_mixture_of_points,
            test_oracles.test_a_finite_data_set_by_hand,
        ),
    ),
)

# ---------------------------------------------------------------- losses

SIMPLE, VLB, HYBRID, P2 = losses.simple, losses.vlb, losses.hybrid, losses.p2


def noise_of_one_step(net, s, x0, t, noise, predicts="eps", weight=None):
    before = torch.where((t == 1)[:, None], x0, q_sample(s, x0, (t - 1).clamp(min=1), noise.flip(0)))
    error = losses.mse(net(q_step(s, before, t, noise), t), noise)
    return error if weight is None else error * weight[t]


def published_min_snr(gamma=5.0):
    """As in several libraries for years: the factor of eps used for v as well."""

    def table(s, predicts):
        factors = {"eps": s.snr.clamp(max=gamma) / s.snr, "x0": s.snr.clamp(max=gamma)}
        out = factors.get(predicts, factors["eps"]).clone()
        out[0] = 0
        return out

    return table


def min_snr_of_x0_on_everything(gamma=5.0):
    def table(s, predicts):
        out = s.snr.clamp(max=gamma)
        out[0] = 0
        return out

    return table


def one_table_for_all(make):
    """A weight known for eps, used for every prediction."""
    return lambda *settings: lambda s, predicts: make(*settings)(s, "eps")


def hybrid_without_stop(prediction, fraction, s, x0, x_t, t, noise, decoder, share=0.001):
    x0_hat = P.x0_from_eps(s, x_t, t, prediction)
    vlb = losses.vlb_term(x0_hat, fraction, s, x0, t, decoder)
    return losses.mse(prediction, noise) + share * s.T * vlb / x0[0].numel()


def vlb_term_kl_only(x0_hat, fraction, s, x0, t, decoder):
    return elbo.denoising_term(s, x0, x0_hat, t, reverse.bound_variance(s, t, "learned", fraction))


def draw_unweighted(self, n, generator=None):
    t, weight = DRAW(self, n, generator)
    return t, torch.ones_like(weight)


def probabilities_by_mean(self):
    p = self.losses.mean(1)
    p[0] = 0
    p = p / p.sum() * (1 - self.uniform_share)
    p[1:] += self.uniform_share / self.T
    return p


def remembers_nothing_new(self, t, loss):
    seen = self.seen.clone()
    UPDATE(self, t[seen[t] < self.losses.shape[1]], loss[seen[t] < self.losses.shape[1]])


DRAW, UPDATE = losses.ImportanceSampler.draw, losses.ImportanceSampler.update
EDM = losses.edm

LOSSES = (
    Mutant(
        "the target is the noise of one step",
        "ddpm_edu.losses.simple",
        noise_of_one_step,
        (
            test_losses.test_the_loss_of_the_best_denoiser_is_its_floor,
            test_losses.test_the_network_is_shown_x_t,
        ),
    ),
    Mutant(
        "unequal shapes are broadcast",
        "ddpm_edu.losses.mse",
        lambda a, b: (a - b).square().flatten(1).mean(1),
        (test_losses.test_mse_does_not_broadcast, test_bad_inputs_core.test_nothing_broadcasts_in_silence),
    ),
    Mutant(
        "the squared error is a sum over dimensions",
        "ddpm_edu.losses.mse",
        lambda a, b: (a - b).square().flatten(1).sum(1),
        (test_losses.test_mse_is_the_mean_over_dimensions_of_each_sample, test_losses.test_the_simple_loss_by_hand),
    ),
    Mutant(
        "one mean over the batch",
        "ddpm_edu.losses.mse",
        lambda a, b: (a - b).square().mean().expand(len(a)),
        (test_losses.test_mse_is_the_mean_over_dimensions_of_each_sample, test_losses.test_the_simple_loss_by_hand),
    ),
    Mutant(
        "min-SNR: eps's factor on v, as published",
        "ddpm_edu.losses.min_snr",
        published_min_snr,
        (test_losses.test_every_weight_is_one_loss_in_three_units, test_losses.test_min_snr_by_its_papers_table),
    ),
    Mutant(
        "min-SNR: x_0's factor on everything",
        "ddpm_edu.losses.min_snr",
        min_snr_of_x0_on_everything,
        (test_losses.test_every_weight_is_one_loss_in_three_units, test_losses.test_min_snr_by_its_papers_table),
    ),
    Mutant(
        "P2's weight the same for every prediction",
        "ddpm_edu.losses.p2",
        one_table_for_all(P2),
        (test_losses.test_every_weight_is_one_loss_in_three_units, test_losses.test_p2_by_hand),
    ),
    Mutant(
        "EDM's weight the same for every prediction",
        "ddpm_edu.losses.edm",
        one_table_for_all(EDM),
        (test_losses.test_every_weight_is_one_loss_in_three_units, test_losses.test_edm_by_hand),
    ),
    Mutant(
        "the bound's weight without T: a mean over t for a sum",
        "ddpm_edu.losses.vlb",
        lambda s, predicts, variance="posterior": VLB(s, predicts, variance) / s.T,
        (
            test_losses.test_the_bounds_weight_is_the_bounds_denoising_sum,
            test_losses.test_the_bounds_weight_by_hand,
        ),
    ),
    Mutant(
        "the bound's weight takes beta for the posterior variance",
        "ddpm_edu.losses.vlb",
        lambda s, predicts, variance="posterior": VLB(s, predicts, "beta"),
        (
            test_losses.test_the_bounds_weight_is_the_bounds_denoising_sum,
            test_losses.test_the_bounds_weight_by_hand,
        ),
    ),
    Mutant(
        "quarters counted from t, not t - 1",
        "ddpm_edu.losses.by_quartile",
        lambda s, t, loss: torch.stack([loss[(t * 4 // s.T).clamp(max=3) == q].mean() for q in range(4)]),
        (test_losses.test_quartiles_by_hand_and_at_their_borders,),
    ),
    Mutant(
        "quarters counted from t, not t - 1, in the log of a training too",
        "ddpm_edu.losses.quarter",
        lambda t, T: (t * 4 // T).clamp(max=3),
        (
            test_losses.test_quartiles_by_hand_and_at_their_borders,
            test_meter.test_the_quarter_of_every_t,
            test_meter.test_a_meter_and_the_losses_by_quartile_agree,
        ),
    ),
    Mutant(
        "the bound's gradient reaches the mean",
        "ddpm_edu.losses.hybrid",
        hybrid_without_stop,
        (test_losses.test_the_mean_learns_from_the_simple_loss_alone,),
    ),
    Mutant(
        "the hybrid's share without T",
        "ddpm_edu.losses.hybrid",
        lambda *args, share=0.001: HYBRID(*args, share=share / args[2].T),
        (test_losses.test_the_hybrid_loss_is_its_two_parts,),
    ),
    Mutant(
        "the KL at t = 1 too",
        "ddpm_edu.losses.vlb_term",
        vlb_term_kl_only,
        (test_losses.test_each_vlb_term_is_the_bounds_column, test_losses.test_the_hybrid_loss_is_its_two_parts),
    ),
    Mutant(
        "importance sampling without its weights",
        "ddpm_edu.losses.ImportanceSampler.draw",
        draw_unweighted,
        (test_losses.test_importance_sampling_keeps_the_mean,),
    ),
    Mutant(
        "importance sampling by the mean loss, from the first loss on",
        "ddpm_edu.losses.ImportanceSampler.probabilities",
        probabilities_by_mean,
        (
            test_losses.test_importance_sampling_goes_by_the_root_mean_square,
            test_losses.test_importance_sampling_is_uniform_until_every_t_was_seen,
        ),
    ),
    Mutant(
        "importance sampling remembers the first losses, not the latest",
        "ddpm_edu.losses.ImportanceSampler.update",
        remembers_nothing_new,
        (test_losses.test_importance_sampling_remembers_the_latest,),
    ),
)

# ---------------------------------------------------------------- the Gaussian chain in closed form


def total_without_the_end(self):
    ratio = self.best_variance()[1:] / self.variance[1:]
    return self.entropy() + 0.5 * (ratio - 1 - ratio.log()).sum().item()


def marginal_from_the_right_end(self):
    return self.mean, self.variance[1].item() + self.std**2


CLOSED_FORM = (
    Mutant(
        "the total forgets what is lost at T",
        "ddpm_edu.closed_form.GaussianChain.total",
        total_without_the_end,
        (
            test_closed_form.test_the_total_is_the_sum_of_its_terms,
            test_closed_form.test_golden_table,
        ),
    ),
    Mutant(
        "the model's marginal is the data's, blurred by the last step",
        "ddpm_edu.closed_form.GaussianChain.marginal",
        marginal_from_the_right_end,
        (
            test_closed_form.test_the_marginal_is_what_a_walk_with_the_general_code_makes,
            test_closed_form.test_with_the_true_variance_only_the_end_of_the_chain_is_lost,
            test_closed_form.test_golden_table,
        ),
    ),
    Mutant(
        "the best variance is the posterior's",
        "ddpm_edu.closed_form.GaussianChain.best_variance",
        lambda self: torch.cat([torch.zeros(1), self.s.posterior_variance[2:3], self.s.posterior_variance[2:]]),
        (
            test_closed_form.test_golden_table,
            test_closed_form.test_the_best_variance_is_best,
        ),
    ),
)

MUTANTS = (*PARAMETERIZATION, *REVERSE, *ELBO, *ORACLES, *LOSSES, *CLOSED_FORM)
