"""Mistakes in log p: the density that the flow carries along, and how its divergence is guessed."""

import math
from itertools import pairwise

import torch

from ddpm_edu.sampling import grids, likelihood, loop
from tests.mutants import Mutant
from tests.sampling import test_likelihood

LIKELIHOOD, EXACT, HUTCHINSON = (
    f"ddpm_edu.sampling.likelihood.{name}" for name in ("log_likelihood", "exact", "hutchinson")
)

ORIGINAL_HUTCHINSON = likelihood.hutchinson


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
        for earlier, t in pairwise(times):
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

MUTANTS = (
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
