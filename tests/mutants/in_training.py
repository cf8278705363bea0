"""Mistakes of training loops: most have been reported against published ones, several of them more than once."""

from dataclasses import replace
from unittest import mock

import torch

from ddpm_edu.training import draws, ema, loop
from ddpm_edu.training.meter import Finite
from ddpm_edu.training.state import Run
from tests.mutants import Mutant
from tests.training import test_draws, test_finite, test_precision, test_resume, test_steps

FOUND_AGAIN = test_resume.test_found_again_it_is_the_same_run

# ---------------------------------------------------------------- resumed

LOAD = "ddpm_edu.training.state.Run.load_state_dict"
LOAD_AVERAGES, ORIGINAL_LOAD_AVERAGES = "ddpm_edu.training.ema.Averages.load_state_dict", ema.Averages.load_state_dict
ORIGINAL_LOAD = Run.load_state_dict


def without_the_optimiser(run, state):
    ORIGINAL_LOAD(run, {**state, "optimiser": run.optimiser.state_dict()})


def average_begins_anew(run, state):
    ORIGINAL_LOAD(run, state)
    run.averages = ema.Averages(run.net, run.averages.rates)


def goes_on_from_the_average(run, state):
    ORIGINAL_LOAD(run, {**state, "net": {**state["net"], **state["averages"]["weights"]["0.9"]}})


def without_the_count(averages, state):
    ORIGINAL_LOAD_AVERAGES(averages, {**state, "updates": 0})


RESUMED = (
    Mutant("a resumed run has no optimiser state", LOAD, without_the_optimiser, (FOUND_AGAIN,)),
    Mutant("a resumed run overwrites the average with the weights", LOAD, average_begins_anew, (FOUND_AGAIN,)),
    Mutant("a resumed run goes on from the average", LOAD, goes_on_from_the_average, (FOUND_AGAIN,)),
    Mutant("a resumed average warms up again", LOAD_AVERAGES, without_the_count, (FOUND_AGAIN,)),
    Mutant(
        "a resumed run counts its steps from 0",
        LOAD,
        lambda run, state: ORIGINAL_LOAD(run, {**state, "step": 0}),
        (FOUND_AGAIN, test_resume.test_killed_once_it_goes_on_bit_for_bit),
    ),
    Mutant(
        "a resumed run has lost the scale of fp16",
        LOAD,
        lambda run, state: ORIGINAL_LOAD(run, {**state, "scaler": {}}),
        (test_precision.test_the_scale_travels_with_the_run,),
    ),
    Mutant(
        "dropout draws from whatever torch's generator is at",
        "ddpm_edu.training.draws.seed_dropout",
        lambda *key: None,
        (FOUND_AGAIN, test_steps.test_dropout_is_of_the_step_the_process_and_the_part),
    ),
)

# ---------------------------------------------------------------- not finite, and fp16

UPDATE, ORIGINAL_UPDATE = "ddpm_edu.training.loop._update", loop._update


def nan_to_num(run):
    for p in run.net.parameters():
        torch.nan_to_num(p.grad, nan=0, posinf=1e5, neginf=-1e5, out=p.grad)
    return ORIGINAL_UPDATE(run)


def looked_at_after_the_update(run):
    with mock.patch.object(Finite, "note"):
        ORIGINAL_UPDATE(run)
    run.finite.note(torch.nn.utils.get_total_norm([p.grad for p in run.net.parameters()]), run.step)
    run.finite.check(run.meter, run.folder)
    return True


def skipped_steps_count(run):
    ORIGINAL_UPDATE(run)
    return True


def skipped_steps_are_averaged(run):
    done = ORIGINAL_UPDATE(run)
    if not done:
        run.averages.update(run.net)
    return done


def clipped_before_unscaling(run):
    limit = run.config.clip or float("inf")
    torch.nn.utils.clip_grad_norm_(run.net.parameters(), limit)
    config, run.config = run.config, replace(run.config, clip=None)
    done = ORIGINAL_UPDATE(run)
    run.config = config
    return done


SKIP = (test_precision.test_an_overflow_halves_the_scale_and_changes_nothing_else,)
NUMBERS = (
    Mutant(
        "NaN in the gradient becomes 0",
        UPDATE,
        nan_to_num,
        (
            test_finite.test_nan_raises_at_its_step_and_changes_nothing,
            test_finite.test_an_infinite_gradient_too,
        ),
    ),
    Mutant(
        "whether all is finite is looked at after the update",
        UPDATE,
        looked_at_after_the_update,
        (test_finite.test_an_infinite_gradient_too,),
    ),
    Mutant(
        "only the gradient is looked at, not the loss",
        "ddpm_edu.training.loop._seen_in_the_gradient",
        lambda loss: loss,
        (test_finite.test_nan_raises_at_its_step_and_changes_nothing,),
    ),
    Mutant(
        "the flag falls again with the next good step",
        "ddpm_edu.training.meter.Finite.note",
        lambda finite, norm, step: setattr(finite, "flag", (~norm.isfinite()).float()),
        (test_finite.test_where_nobody_looks_for_some_steps_the_weights_are_those_before_the_first,),
    ),
    Mutant("a step that fp16 skipped counts: the rate of learning moves on", UPDATE, skipped_steps_count, SKIP),
    Mutant("a step that fp16 skipped is averaged", UPDATE, skipped_steps_are_averaged, SKIP),
    Mutant(
        "the gradient is clipped while it is scaled",
        UPDATE,
        clipped_before_unscaling,
        (test_precision.test_scaled_gradients_are_clipped_in_their_own_units,),
    ),
)

# ---------------------------------------------------------------- parts, processes, draws

BACKWARD, DRAW = "ddpm_edu.training.loop._backward", "ddpm_edu.training.draws.draw"
ORIGINAL_BACKWARD, ORIGINAL_DRAW, ORIGINAL_LOSS = loop._backward, draws.draw, loop.loss_of
ORIGINAL_PERMUTATION = draws.permutation


def with_losses(scaled):
    """The backward pass, with the losses of each part multiplied by ``scaled(run, number of rows)``."""

    def backward(run, images):
        def loss_of(run, images, drawn):
            return ORIGINAL_LOSS(run, images, drawn) * scaled(run, len(drawn.t))

        with mock.patch.object(loop, "loss_of", loss_of):
            ORIGINAL_BACKWARD(run, images)

    return backward


def mean_of_means(run, rows):
    return run.config.batch / (run.team.world * rows * run.config.accumulate)


def mean_of_each_process(run, rows):
    own = len(range(run.team.rank, run.config.batch, run.team.world))
    return run.config.batch / (run.team.world * own)


def rank_in_the_noise(run, images):
    def draw(seed, *rest):
        own = ORIGINAL_DRAW(seed + 1000 * run.team.rank, *rest)
        return ORIGINAL_DRAW(seed, *rest)._replace(t=own.t, noise=own.noise)

    with mock.patch.object(draws, "draw", draw):
        ORIGINAL_BACKWARD(run, images)


def hidden_all_or_none(*given):
    drawn = ORIGINAL_DRAW(*given)
    return drawn._replace(hide=drawn.hide[:1].expand(len(drawn.hide)))


def last_images_dropped(seed, step, batch, n):
    whole = n // batch * batch or n
    place = torch.arange(step * batch, (step + 1) * batch)
    return draws.permutation(seed, int(place[0]) // whole, n)[place % whole]


PARTS = (test_steps.test_a_batch_in_parts_is_the_batch,)
PROCESSES = (test_steps.test_several_processes_average_to_the_gradient_of_one,)
ORDER = (test_draws.test_in_another_order_each_epoch_and_for_each_seed,)
DRAWS = (
    Mutant("parts of unequal size: the mean of their means", BACKWARD, with_losses(mean_of_means), PARTS),
    Mutant(
        "each part of a batch counts like a whole one",
        BACKWARD,
        with_losses(lambda run, rows: run.config.accumulate),
        PARTS,
    ),
    Mutant("unequal shares: the mean of the processes' means", BACKWARD, with_losses(mean_of_each_process), PROCESSES),
    Mutant("each process has noise of its own: the rank is in the seed", BACKWARD, rank_in_the_noise, PROCESSES),
    Mutant(
        "the same order in every epoch",
        "ddpm_edu.training.draws.permutation",
        lambda seed, epoch, n: ORIGINAL_PERMUTATION(seed, 0, n),
        ORDER,
    ),
    Mutant(
        "seed and epoch are added: seed 1 begins with the second epoch of seed 0",
        "ddpm_edu.training.draws.permutation",
        lambda seed, epoch, n: ORIGINAL_PERMUTATION(0, seed + epoch, n),
        ORDER,
    ),
    Mutant(
        "images are drawn with replacement",
        "ddpm_edu.training.draws.order",
        lambda seed, step, batch, n: torch.randint(n, (batch,), generator=draws.generator(seed, 0, step)),
        (test_draws.test_every_image_once_an_epoch,),
    ),
    Mutant(
        "the images that fill no batch are left out of each epoch",
        "ddpm_edu.training.draws.order",
        last_images_dropped,
        (test_draws.test_every_image_once_an_epoch,),
    ),
    Mutant(
        "labels are hidden for a whole batch or not at all",
        DRAW,
        hidden_all_or_none,
        (test_draws.test_labels_are_hidden_one_by_one_and_as_often_as_asked,),
    ),
    Mutant(
        "one seed for all that a step draws: t tells which images are mirrored",
        "ddpm_edu.training.draws.on_device",
        lambda device, seed, kind, step: torch.Generator(device).manual_seed(draws.seed_of(seed, step)),
        (test_draws.test_what_is_drawn_is_independent_of_each_other,),
    ),
    Mutant(
        "seed and step are added: neighbouring runs share their noise",
        "ddpm_edu.training.draws.seed_of",
        lambda *key: sum(key),
        (test_draws.test_neighbouring_steps_and_seeds_have_nothing_in_common,),
    ),
)

MUTANTS = (*RESUMED, *NUMBERS, *DRAWS)
