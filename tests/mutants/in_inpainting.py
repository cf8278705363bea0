"""Mistakes in RePaint: the part that is given, the way forward again, and the list of moves."""

import torch

from ddpm_edu import reverse
from ddpm_edu.reverse import beside, pair_beta
from ddpm_edu.sampling import ddpm, grids, inpainting, loop
from tests.mutants import Mutant
from tests.sampling import test_inpainting

REPAINT, NOISED, ITINERARY = (f"ddpm_edu.sampling.inpainting.{name}" for name in ("repaint", "noised", "itinerary"))

ORIGINAL_REPAINT, ORIGINAL_NOISED = inpainting.repaint, inpainting.noised


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
                choice = reverse.Optimal(error) if variance == "optimal" else variance
                x = ddpm.step(s, x, t, s_, loop.ask(denoise, x, t), noise, choice)
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

MUTANTS = (
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
