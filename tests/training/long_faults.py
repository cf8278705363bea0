"""Hundreds of accidents in a row: `make faults` (five minutes), or with ARGS='--accidents 50 --seed 7'.

A run is killed at random moments, by the clock or at a random call of a function; between two kills a byte of its
newest checkpoint may be flipped, the file cut, or the disk full. Then it is called again, until it is done; its end
must be, bit for bit, that of a run that nothing has disturbed. Then the next run, with other settings.
"""

import argparse
import random
import resource
import shutil
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import torch

from ddpm_edu.errors import CheckpointError, TrainingWarning
from ddpm_edu.training import TrainConfig
from tests.training import faults, runs

SETTINGS: tuple[dict[str, object], ...] = (
    {},
    {"accumulate": 3, "clip": None},
    {"keep": 2, "save_every": 2},
    {"sample_every": 5, "snapshot_every": 3},
    {"checkpointing": True, "predicts": "v", "weight": "min_snr", "ema": (0.9, 0.5)},
)


def main() -> int:
    """1 where a run has not ended as it should have."""
    arguments = parser().parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", TrainingWarning)  # that a damaged file was passed over
    runs.through()  # imports what is imported late, so that the calls of the next runs can be counted
    choose, done, began = random.Random(arguments.seed), 0, time.monotonic()  # noqa: S311 (no secret)
    while done < arguments.accidents:
        config = runs.TINY.changed({"save_every": 3, "seed": done, **choose.choice(SETTINGS)})
        accidents, different = one_run(choose, config)
        done += len(accidents)
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(Counter(accidents).items()))
        print(f"{done:5d} accidents, {time.monotonic() - began:5.0f} s  ({kinds})", flush=True)
        if different:
            print(f"seed {arguments.seed}, {config}: not the same: {', '.join(different)}")
            return 1
    return 0


def one_run(choose: random.Random, config: TrainConfig) -> tuple[list[str], list[str]]:
    """The accidents of a run, until it is done, and what is not as it should be at its end."""
    with runs.folder() as whole, runs.folder() as out:
        calls, accidents = faults.events(lambda: runs.train(whole, config)), [""]
        while accidents[-1] != "done":
            accidents.append(accident(choose, out, config, calls))
        return accidents[1:-1], runs.differing(runs.state(out), runs.state(whole))


def accident(choose: random.Random, out: Path, config: TrainConfig, calls: int) -> str:
    """Lets one happen to the run in ``out``; its name."""
    kind = choose.choice((by_the_clock, by_the_clock, at_a_call, at_a_call, no_room, flipped, cut))
    return kind(choose, out, config, calls)


def by_the_clock(choose: random.Random, out: Path, config: TrainConfig, calls: int) -> str:
    """Killed from outside, at some time within the length of a run."""
    moment = time.monotonic() + choose.uniform(0, 0.6)
    ended = faults.forked(lambda: runs.train(out, config), lambda: time.monotonic() > moment)
    return expected(ended, ended.killed or ended.well, "killed")


def at_a_call(choose: random.Random, out: Path, config: TrainConfig, calls: int) -> str:
    """Killed from inside, at one of its calls."""
    event = int(choose.uniform(0, 0.6) * calls)
    ended = faults.forked(faults.dies_at(event, lambda: runs.train(out, config)))
    return expected(ended, ended.killed or ended.well, "killed-at-a-call")


def no_room(choose: random.Random, out: Path, config: TrainConfig, calls: int) -> str:
    """A checkpoint does not fit: a clear error. Where the run is done, nothing is to be written."""
    limit = choose.randint(1, 20_000)

    def work() -> None:
        free = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, free[1]))
        try:
            runs.train(out, config)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, free)  # or there is no room for the message

    ended = faults.forked(work)
    return expected(ended, ended.well or "could not be written" in ended.text or "File too large" in ended.text, "full")


def flipped(choose: random.Random, out: Path, config: TrainConfig, calls: int) -> str:
    """A bit of the newest file, where there is an older one."""
    found = runs.files(out)
    if len(found) < 2:
        return "spared"
    runs.flip_byte(found[0], choose.randrange(found[0].stat().st_size))
    return kept_good(out, "flipped")


def cut(choose: random.Random, out: Path, config: TrainConfig, calls: int) -> str:
    """The newest file is shorter, or empty."""
    found = runs.files(out)
    if len(found) < 2:
        return "spared"
    whole = found[0].read_bytes()
    found[0].write_bytes(whole[: choose.randrange(len(whole))])
    return kept_good(out, "cut")


def kept_good(out: Path, name: str) -> str:
    """Damage to all files in turn is no promise of ours: one that leaves none good takes the folder with it."""
    try:
        runs.state(out)
    except CheckpointError:
        shutil.rmtree(out / "checkpoints")
        return f"{name}-to-the-last"
    return name


def expected(ended: faults.Ended, right: bool, name: str) -> str:
    """``name``, or an error with what the child wrote."""
    if not right:
        raise SystemExit(f"{name}: {ended.code} {ended.signal}\n{ended.text}")
    return "done" if ended.well else name


def parser() -> argparse.ArgumentParser:
    """What may be asked for."""
    found = argparse.ArgumentParser(description=__doc__)
    found.add_argument("--accidents", type=int, default=500)
    found.add_argument("--seed", type=int, default=0)
    return found


if __name__ == "__main__":
    sys.exit(main())
