"""Mistakes about checkpoints: written in place, deleted too early, believed without a look."""

from unittest import mock

from ddpm_edu.errors import CheckpointError
from ddpm_edu.training import checkpoint
from tests.mutants import Mutant
from tests.training import test_checkpoint, test_room

WRITE, SAVE, READ = (f"ddpm_edu.training.checkpoint.{name}" for name in ("write", "save", "load"))
ORIGINAL_SAVE, ORIGINAL_READ = checkpoint.save, checkpoint.load


def in_place(folder, stem, suffix, content):
    path = folder / f"{stem}-{checkpoint.digest(content)}{suffix}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        path.write_bytes(content)
    except OSError as cause:
        raise CheckpointError(checkpoint._advice(path, len(content), cause)) from cause
    return path


def old_one_first(folder, step, state, keep=3):
    for path in checkpoint.listed(folder)[keep - 1 :]:
        path.unlink()
    return ORIGINAL_SAVE(folder, step, state, keep)


def all_old_ones_first(folder, step, state, keep=3):
    for path in checkpoint.listed(folder):
        path.unlink()
    return ORIGINAL_SAVE(folder, step, state, keep)


def hash_not_looked_at(path, device="cpu"):
    with mock.patch.object(checkpoint, "digest", return_value=path.stem.split("-")[2]):
        return ORIGINAL_READ(path, device)


def damage_ends_the_run(path, device="cpu"):
    try:
        return ORIGINAL_READ(path, device)
    except checkpoint.DamagedCheckpointError as error:
        raise CheckpointError(str(error)) from error


def falls_back_behind_a_newer_format(path, device="cpu"):
    try:
        return ORIGINAL_READ(path, device)
    except CheckpointError as error:
        raise checkpoint.DamagedCheckpointError(str(error)) from error


def damaged_ones_are_kept(folder, new, keep):
    for path in checkpoint.listed(folder)[keep:]:
        if path != new:
            path.unlink()


MUTANTS = (
    Mutant(
        "a checkpoint is written in place: half of it stays where the disk is full",
        WRITE,
        in_place,
        (test_room.test_a_limit_on_the_size_of_files_too,),
    ),
    Mutant(
        "the oldest checkpoint is deleted before the new one is there",
        SAVE,
        old_one_first,
        (test_room.test_a_full_disk_leaves_the_old_ones_and_no_part,),
    ),
    Mutant(
        "all checkpoints are deleted before the new one is there",
        SAVE,
        all_old_ones_first,
        (
            test_room.test_at_no_instant_is_there_no_good_file,
            test_room.test_a_full_disk_leaves_the_old_ones_and_no_part,
        ),
    ),
    Mutant(
        "the hash of a checkpoint is not looked at",
        READ,
        hash_not_looked_at,
        (test_checkpoint.test_any_flipped_bit_is_noticed, test_checkpoint.test_the_one_before_a_damaged_one_counts),
    ),
    Mutant(
        "a damaged checkpoint ends the run, though there is a good one before it",
        READ,
        damage_ends_the_run,
        (test_checkpoint.test_the_one_before_a_damaged_one_counts,),
    ),
    Mutant(
        "a checkpoint of a newer version is passed over and its work thrown away",
        READ,
        falls_back_behind_a_newer_format,
        (test_checkpoint.test_the_one_before_a_damaged_one_counts,),
    ),
    Mutant(
        "damaged checkpoints count among those that are kept",
        "ddpm_edu.training.checkpoint._remove_old",
        damaged_ones_are_kept,
        (test_room.test_damaged_ones_do_not_count_as_kept,),
    ),
)
