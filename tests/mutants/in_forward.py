"""Mistakes about the forward process. Most are, or were for years, in published courses and libraries."""

import torch

from ddpm_edu import forward
from ddpm_edu.exercises import forward_noising
from ddpm_edu.forward import at
from tests import test_forward
from tests.mutants import Mutant

STEP = "ddpm_edu.forward.q_step"
SAMPLE = "ddpm_edu.forward.q_sample"
POSTERIOR = "ddpm_edu.forward.q_posterior"
WALK = "ddpm_edu.forward.walk"


def in_place_step(s, x, t, noise):
    x *= at(s.alpha, t, x).sqrt()
    x += at(s.beta, t, x).sqrt() * noise
    return x


def cast_before_the_arithmetic(s, x0, t, noise):
    ab = at(s.alpha_bar.to(x0.dtype), t, x0).to(x0.dtype)
    return ab**0.5 * x0 + (1 - ab) ** 0.5 * noise


def walk_with_uniform_noise(s, x0, generator=None):
    yield 0, x0
    x = x0
    for t in range(1, s.T + 1):
        noise = torch.rand(x.shape, generator=generator, dtype=x.dtype)
        x = forward.q_step(s, x, torch.full((len(x),), t), noise)
        yield t, x


def walk_from_one_to_T_minus_one(s, x0, generator=None):
    for t, x in ORIGINAL_WALK(s, x0, generator):
        if t < s.T:
            yield t, x


ORIGINAL_WALK = forward.walk


def mean_with_alpha_bar(s, x0, x_t, t):
    mean, variance = ORIGINAL_POSTERIOR(s, x0, x_t, t)
    a, ab, before = at(s.alpha, t, x_t), at(s.alpha_bar, t, x_t), at(s.alpha_bar, t - 1, x_t)
    return mean + (ab.sqrt() - a.sqrt()) * (1 - before) / (1 - ab) * x_t, variance


ORIGINAL_POSTERIOR = forward.q_posterior


def article_loop(s, x0, noises):
    x = x0
    for t in range(1, s.T + 1):
        x = s.alpha_bar[t].sqrt() * x + (1 - s.alpha_bar[t]).sqrt() * noises[t - 1]
    return x


MUTANTS = (
    Mutant(
        "a step adds beta times noise, not its root",
        STEP,
        lambda s, x, t, noise: at(s.alpha, t, x).sqrt() * x + at(s.beta, t, x) * noise,
        (test_forward.test_one_step_has_variance_beta,),
        (forward_noising.one_step, "its square root"),
    ),
    Mutant(
        "a step does not shrink the image",
        STEP,
        lambda s, x, t, noise: x + at(s.beta, t, x).sqrt() * noise,
        (
            test_forward.test_one_step_has_variance_beta,
            test_forward.test_steps_compose_to_the_closed_form,
        ),
        (forward_noising.one_step, "not shrunk"),
    ),
    Mutant(
        "one step given with alpha_bar",
        STEP,
        lambda s, x, t, noise: at(s.alpha_bar, t, x).sqrt() * x + at(1 - s.alpha_bar, t, x).sqrt() * noise,
        (
            test_forward.test_steps_compose_to_the_closed_form,
            test_forward.test_the_walk_has_mean_variance_and_correlation_of_the_closed_form,
        ),
        (forward_noising.one_step, "single step uses beta_t"),
    ),
    Mutant(
        "a step changes the caller's image",
        STEP,
        in_place_step,
        (test_forward.test_inputs_are_left_alone, test_forward.test_walk_is_reproducible_and_keeps_what_it_gave),
        (forward_noising.one_step, "in place"),
    ),
    Mutant(
        "a step reads the table one place early",
        STEP,
        lambda s, x, t, noise: at(s.alpha, t - 1, x).sqrt() * x + at(s.beta, t - 1, x).sqrt() * noise,
        (test_forward.test_one_step_has_variance_beta,),
        (forward_noising.one_step, "no t - 1"),
    ),
    Mutant(
        "the jump's variance is sqrt(1 - alpha_bar)",
        SAMPLE,
        lambda s, x, t, noise: at(s.alpha_bar, t, x).sqrt() * x + at(1 - s.alpha_bar, t, x) ** 0.25 * noise,
        (test_forward.test_steps_compose_to_the_closed_form,),
        (forward_noising.jump, "one root too many"),
    ),
    Mutant(
        "the jump adds 1 - alpha_bar times noise, not its root",
        SAMPLE,
        lambda s, x, t, noise: at(s.alpha_bar, t, x).sqrt() * x + at(1 - s.alpha_bar, t, x) * noise,
        (test_forward.test_half_precision_gets_the_right_noise_at_every_t,),
        (forward_noising.jump, "take the square root"),
    ),
    Mutant(
        "alpha_bar_t is the product over all T steps",
        SAMPLE,
        lambda s, x, t, noise: s.alpha_bar[-1].sqrt().to(x) * x + (1 - s.alpha_bar[-1]).sqrt().to(x) * noise,
        (test_forward.test_the_jump_has_the_golden_signal_of_ddpm, test_forward.test_steps_compose_to_the_closed_form),
        (forward_noising.jump, "Every t gets the end"),
    ),
    Mutant(
        "the jump draws uniform noise of its own",
        SAMPLE,
        lambda s, x, t, noise: at(s.alpha_bar, t, x).sqrt() * x + at(1 - s.alpha_bar, t, x).sqrt() * torch.rand_like(x),
        (test_forward.test_steps_compose_to_the_closed_form,),
        (forward_noising.jump, "noise of your own"),
    ),
    Mutant(
        "1 - alpha_bar worked out in the image's half precision",
        SAMPLE,
        cast_before_the_arithmetic,
        (test_forward.test_half_precision_gets_the_right_noise_at_every_t,),
    ),
    Mutant(
        "one t for the whole batch",
        SAMPLE,
        lambda s, x, t, noise: s.alpha_bar[t[0]].sqrt() * x + (1 - s.alpha_bar[t[0]]).sqrt() * noise,
        (test_forward.test_each_sample_gets_its_own_t,),
        (forward_noising.jump, "coefficient"),
    ),
    Mutant(
        "the walk uses rand for randn",
        WALK,
        walk_with_uniform_noise,
        (test_forward.test_walk_noise_is_normal,),
    ),
    Mutant(
        "the walk stops at T - 1, so the t trained and the t sampled differ",
        WALK,
        walk_from_one_to_T_minus_one,
        (
            test_forward.test_walk_visits_every_t_once,
            test_forward.test_random_t_draws_exactly_what_the_walk_visits,
        ),
    ),
    Mutant(
        "t is drawn from 0..T-1",
        "ddpm_edu.forward.random_t",
        lambda s, n, generator=None: torch.randint(0, s.T, (n,), generator=generator),
        (test_forward.test_random_t_draws_exactly_what_the_walk_visits,),
    ),
    Mutant(
        "the article's loop: alpha_bar in every step",
        WALK,
        test_forward.article_walk,
        (test_forward.test_the_walk_has_mean_variance_and_correlation_of_the_closed_form,),
    ),
    Mutant(
        "the article's loop, as an answer to the exercise",
        WALK,
        article_loop,
        refused_by=(forward_noising.mended_loop, "the correlation with x_0 is not"),
    ),
    Mutant(
        "the posterior mean has sqrt(alpha_bar_t) for sqrt(alpha_t)",
        POSTERIOR,
        mean_with_alpha_bar,
        (test_forward.test_posterior_against_bayes_on_a_grid, test_forward.test_posterior_by_simulation),
        (forward_noising.posterior, "sqrt(alpha_bar_t) where sqrt(alpha_t)"),
    ),
    Mutant(
        "the posterior variance is beta_t",
        POSTERIOR,
        lambda s, x0, x_t, t: (ORIGINAL_POSTERIOR(s, x0, x_t, t)[0], at(s.beta, t, x0)),
        (test_forward.test_posterior_against_bayes_on_a_grid, test_forward.test_posterior_by_simulation),
        (forward_noising.posterior, "that of the step forwards"),
    ),
)
