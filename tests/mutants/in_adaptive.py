"""Mistakes of a solver that chooses its own steps: what counts as an error, where a step may land."""

import torch

from ddpm_edu.sampling import adaptive, ddim, heun, loop
from tests.mutants import Mutant
from tests.sampling import test_adaptive

ADAPTIVE, LANDING, TRY = (f"ddpm_edu.sampling.adaptive.{name}" for name in ("sample", "landing", "_try"))

ORIGINAL_ADAPTIVE, ORIGINAL_LANDING = adaptive.sample, adaptive.landing


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


MUTANTS = (
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
