"""Mistakes with many processes: each runs, and most of them even learn something."""

import torch

from ddpm_edu.training import loop
from tests.mutants import Mutant
from tests.training_distributed import test_shares

ROWS = "ddpm_edu.training.draws.rows"
_loss_of = loop.loss_of


def _without_remainder(batch, rank, world, accumulate):
    """As many rows for each, as DistributedSampler(drop_last=True) has it: what is left over nobody sees."""
    rows = torch.arange(rank, batch - batch % world, world)
    return [part for part in rows.tensor_split(accumulate) if len(part)]


def _parts_without_remainder(batch, rank, world, accumulate):
    """Parts of one size, batch // (world * accumulate)."""
    each = batch // (world * accumulate)
    return list(torch.arange(rank, batch, world)[: each * accumulate].split(each))


def _padded(batch, rank, world, accumulate):
    """As many rows for each, as DistributedSampler has it by default: the first rows come twice."""
    rows = torch.arange(rank, -(-batch // world) * world, world) % batch
    return [part for part in rows.tensor_split(accumulate) if len(part)]


MUTANTS = (
    Mutant(
        "a batch that does not divide loses its remainder",
        ROWS,
        _without_remainder,
        (
            test_shares.test_every_row_is_somebodys_and_nobodys_twice,
            test_shares.test_in_an_epoch_every_image_comes_once,
            test_shares.test_the_shares_average_to_the_gradient_of_the_mean,
        ),
    ),
    Mutant(
        "parts of one size, and the remainder is lost",
        ROWS,
        _parts_without_remainder,
        (
            test_shares.test_every_row_is_somebodys_and_nobodys_twice,
            test_shares.test_the_shares_average_to_the_gradient_of_the_mean,
        ),
    ),
    Mutant(
        "a batch that does not divide is filled up with its first rows",
        ROWS,
        _padded,
        (
            test_shares.test_every_row_is_somebodys_and_nobodys_twice,
            test_shares.test_in_an_epoch_every_image_comes_once,
            test_shares.test_the_shares_average_to_the_gradient_of_the_mean,
        ),
    ),
    Mutant(
        "all processes take the first rows: the same images, times and noise",
        ROWS,
        lambda batch, rank, world, accumulate: list(torch.arange(0, batch, world).tensor_split(accumulate)),
        (
            test_shares.test_every_row_is_somebodys_and_nobodys_twice,
            test_shares.test_all_processes_draw_the_same_and_take_different_rows,
            test_shares.test_the_shares_average_to_the_gradient_of_the_mean,
        ),
    ),
    Mutant(
        "each process draws from a generator seeded alike, for as many rows as it has: half the information",
        ROWS,
        lambda batch, rank, world, accumulate: list(
            torch.arange(len(range(rank, batch, world))).tensor_split(accumulate)
        ),
        (
            test_shares.test_all_processes_draw_the_same_and_take_different_rows,
            test_shares.test_the_shares_average_to_the_gradient_of_the_mean,
        ),
    ),
    Mutant(
        "the mean loss of each process, whatever its number of rows",
        "ddpm_edu.training.loop.loss_of",
        lambda run, images, drawn: _loss_of(run, images, drawn).mean() * (run.config.batch / run.team.world),
        (test_shares.test_the_shares_average_to_the_gradient_of_the_mean,),
    ),
    Mutant(
        "the last images of an epoch are left out",
        "ddpm_edu.training.draws.order",
        lambda seed, step, batch, n: torch.arange(step * batch, (step + 1) * batch) % (n - n % batch),
        (test_shares.test_in_an_epoch_every_image_comes_once,),
    ),
    Mutant(
        "whether any process was told to stop: looks at the own flag",
        "ddpm_edu.training.distributed.Team.any",
        lambda self, flag: flag,
        (test_shares.test_the_flag_of_another_counts,),
    ),
    Mutant(
        "whether all have found the same: nobody is asked",
        "ddpm_edu.training.distributed.Team.same",
        lambda self, value: True,
        (test_shares.test_a_difference_is_seen_by_both,),
    ),
    Mutant(
        "alone, and still asks the others",
        "ddpm_edu.training.distributed.Team.any",
        lambda self, flag: bool(torch.distributed.all_reduce(torch.tensor(float(flag))) or flag),
        (test_shares.test_alone_nobody_is_asked,),
    ),
)
