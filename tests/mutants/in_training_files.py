"""Mistakes about checkpoints and other files: written in place, deleted too early, believed without a look."""

import contextlib
import os
from unittest import mock

from ddpm_edu import models
from ddpm_edu.errors import CheckpointError
from ddpm_edu.training import checkpoint, ema
from tests import test_whole
from tests.mutants import Mutant
from tests.training import test_alone, test_checkpoint, test_room, test_state, test_weights

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


def nearest_kept(folder, width, step=None):
    """The weights of the kept average whose width is nearest."""
    kept = checkpoint.newest(folder / "checkpoints").state["averages"]["weights"]
    widths = [float(name.removeprefix(ema.power_name(""))) for name in kept if name.startswith("power")]
    return kept[ema.power_name(min(widths, key=lambda other: abs(other - width)))]


ALONE = (
    Mutant(
        "nobody looks whether another training runs in the folder",
        "ddpm_edu.training.loop.alone_in",
        lambda folder, team: contextlib.nullcontext(),
        (
            test_alone.test_a_second_process_is_refused_and_a_killed_first_locks_nothing,
            test_alone.test_a_second_in_this_process_too_and_it_touches_nothing,
            test_alone.test_it_is_held_before_anybody_looks_for_checkpoints,
        ),
    ),
    Mutant(
        "the file is the lock: what a killed process has left locks the folder for ever",
        "ddpm_edu.training.alone._locked",
        lambda file, folder: os.fstat(file.fileno()).st_size == 0,
        (test_alone.test_a_second_process_is_refused_and_a_killed_first_locks_nothing,),
    ),
    Mutant(
        "a lock on a file that was deleted in the meantime counts",
        "ddpm_edu.training.alone._is_there",
        lambda path, file: True,
        (test_alone.test_the_file_of_one_who_has_just_left_is_no_lock,),
    ),
)

WHOLE = (
    Mutant(
        "a file takes its name before it is on the disk",
        "ddpm_edu.whole._flush",
        lambda path, how: None,
        (test_whole.test_it_is_on_the_disk_before_it_takes_the_name,),
    ),
    Mutant(
        "a file is written under its own name",
        "ddpm_edu.whole.replacing",
        contextlib.nullcontext,
        (
            test_whole.test_killed_between_any_two_calls_it_is_the_old_file_or_the_new_one,
            test_whole.test_where_there_is_no_room_the_old_file_stays_and_no_part,
        ),
    ),
    Mutant(
        "weights are written in place",
        "ddpm_edu.training.weights.write",
        lambda path, net, about: models.save(path, net, about),
        (test_weights.test_killed_while_it_is_written_the_old_one_is_whole,),
    ),
)

GIVEN = (
    Mutant(
        "a run that goes on does not look at the images",
        "ddpm_edu.training.state.fingerprint",
        lambda images: "0" * 64,
        (test_state.test_a_run_is_held_to_given_images_too,),
    ),
    Mutant(
        "a run that goes on looks at the bytes of images, and not at their shape and grey levels",
        "ddpm_edu.training.state.seen",
        lambda images: {"name": images.name, "size": None, "levels": None},
        (test_state.test_a_run_is_held_to_given_images_too,),
    ),
    Mutant(
        "a width that was not kept becomes the nearest that was",
        "ddpm_edu.training.posthoc.average",
        nearest_kept,
        (test_weights.test_a_width_that_was_not_kept_is_put_together_from_snapshots,),
    ),
)

MUTANTS = (
    *ALONE,
    *WHOLE,
    *GIVEN,
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
