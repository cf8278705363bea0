"""What one start of two processes finds out: each writes what it has seen, and test_two_processes.py judges it.

Several runs share the one process group, since it can be made but once in a process.
"""

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.distributed.tensor import DTensor

from ddpm_edu import data, losses, models, schedules, training
from ddpm_edu.data import to_model_range
from ddpm_edu.errors import DDPMError
from ddpm_edu.training import TrainConfig, alone, checkpoint, draws, sharded
from ddpm_edu.training.distributed import Team, together
from tests.training_distributed import setting
from tests.training_distributed.setting import CONFIG, NET


def train(config: TrainConfig, out: Path, team: Team, **options: Any) -> training.Report:
    """training.train in a team that is there already."""

    @contextlib.contextmanager
    def there(device: object) -> Iterator[Team]:
        yield team

    with mock.patch("ddpm_edu.training.loop.together", there):
        return training.train(config, out, progress=False, **options)


def words(team: Team) -> dict[str, Any]:
    """What the processes tell each other."""
    return {
        "any": [team.any(flag) for flag in (False, team.rank == 0, team.rank == 1, True)],
        "sum": team.sum(torch.tensor([1.0, 10.0]) * (team.rank + 1)),
    }


def other_world_sizes(folder: Path, team: Team) -> dict[str, Any]:
    """The same run: by two from beginning to end, and by two, one, two in turn."""
    packed: list[bool] = []

    def watch(run: Any) -> None:
        packed.append(bool(run.model._get_ddp_logging_data().get("has_rebuilt_buckets")))

    train(CONFIG, folder / "by two", team, watch=watch)
    train(replace(CONFIG, steps=4), folder / "in turn", team)
    if team.is_main:
        train(replace(CONFIG, steps=9), folder / "in turn", Team(0, 1, team.device))
    team.wait()
    train(CONFIG, folder / "in turn", team)
    return {"packed": packed}


def files_written(folder: Path, team: Team) -> dict[str, Any]:
    """Where this process wrote in a run with all the trimmings, by Python's own account."""
    written: list[str] = []

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str) and set(str(arguments[1])) & set("wax+"):
            written.append(arguments[0])
        elif event in ("os.rename", "os.mkdir", "os.remove"):
            written.append(str(arguments[0]))

    sys.addaudithook(heard)
    warned = replace(CONFIG, steps=6, sample_every=3, ema=(0.9999,), ema_warmup=False)
    train(warned, folder / "written", team)
    mine, written = list(written), []
    return {"files": [name for name in mine if str(folder) in name]}


def one_bad_process(folder: Path, team: Team) -> dict[str, Any]:
    """NaN in what the second process sees at the sixth step, and nowhere else."""
    seen: list[Any] = []

    def spoilt(x: torch.Tensor, levels: int) -> torch.Tensor:
        bad = team.rank == 1 and seen and seen[0].step == 5
        return to_model_range(x, levels) * (float("nan") if bad else 1.0)

    def watch(run: Any) -> None:
        seen[:] = [run, setting.fingerprint(setting.tensors(run.state_dict()))]

    with mock.patch("ddpm_edu.training.loop.scaled", spoilt):
        try:
            train(CONFIG, folder / "nan", team, watch=watch)
        except DDPMError as error:
            run, before = seen
            after = setting.fingerprint(setting.tensors(run.state_dict()))
            return {"error": type(error).__name__, "says": str(error), "untouched": before == after, "step": run.step}
    return {"error": None}


def a_late_reader(folder: Path, team: Team) -> dict[str, Any]:
    """The second process looks for checkpoints after the first has begun: they must agree on what there was."""
    look = checkpoint.newest

    def late(*arguments: Any) -> Any:
        time.sleep(1.0 * team.rank)
        return look(*arguments)

    with mock.patch.object(checkpoint, "newest", late):
        report = train(replace(CONFIG, steps=2), folder / "late", team, resume="never")
    return {"step": report.step}


def another_disk(folder: Path, team: Team) -> dict[str, Any]:
    """Each process finds a folder of its own, one with a run that has begun."""
    if team.is_main:
        train(replace(CONFIG, steps=4), folder / "disk 0", Team(0, 1, team.device))
    team.wait()
    try:
        train(replace(CONFIG, steps=5), folder / f"disk {team.rank}", team)
    except DDPMError as error:
        return {"error": type(error).__name__, "says": str(error)}
    return {"error": None}


def a_second_training(folder: Path, team: Team) -> dict[str, Any]:
    """Another training holds the folder: the first of the two sees it, and both leave; later both may train."""
    out, found = folder / "taken", {}
    if team.is_main:
        out.mkdir()
    for held in (True, False):
        team.wait()
        with alone.alone_in(out, Team(0, 1, team.device)) if held and team.is_main else contextlib.nullcontext():
            team.wait()
            try:
                found[held] = train(replace(CONFIG, steps=2), out, team).step
            except DDPMError as error:
                found[held] = str(error)
    return found


def other_images(folder: Path, team: Team) -> dict[str, Any]:
    """Each process gives its own share of the images, as a DataLoader would have it; and then all of them."""
    found = {}
    for name, share in (("shares", slice(team.rank, None, 2)), ("all", slice(0, None, 2))):
        try:
            found[name] = train(replace(CONFIG, steps=2), folder / name, team, images=data.digits().subset(share)).step
        except DDPMError as error:
            found[name] = str(error)
    return found


# ---------------------------------------------------------------- sharded


def loss(net: torch.nn.Module, step: int, rank: int, world: int) -> torch.Tensor:
    """This process's share of the loss of a step, scaled so that the average over processes is the mean."""
    images, s, batch = data.digits(), schedules.cosine(NET.T), 8
    drawn = draws.draw(0, step, batch, len(images), s.T, tuple(images.images.shape[1:]), 0.0, setting.CPU)
    (rows,) = draws.rows(batch, rank, world, 1)
    x0, labels = to_model_range(images.images[drawn.image], images.levels)[rows], images.labels[drawn.image][rows]
    each = losses.simple(lambda x, t: net(x, t, labels=labels), s, x0, drawn.t[rows], drawn.noise[rows])
    return each.sum() * (world / batch)


def network() -> models.UNet:
    """The same weights wherever it is made, none of them without a gradient."""
    torch.manual_seed(0)
    net = models.UNet(NET)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn(p.shape))
    return net


def learn(net: models.UNet, optimiser: torch.optim.Adam, average: sharded.State, steps: range, team: Team) -> None:
    """Some steps of Adam and of the average."""
    for step in steps:
        optimiser.zero_grad()
        loss(net, step, team.rank, team.world).backward()
        optimiser.step()
        sharded.follow(average, net, 0.9)


def in_shares(folder: Path, team: Team) -> dict[str, Any]:
    """Three steps with everything cut in two, written; three more; and the first three taken up from the files."""
    net = sharded.shard(network(), team)
    optimiser, average = torch.optim.Adam(net.parameters(), 1e-3), sharded.average(net)
    learn(net, optimiser, average, range(3), team)
    state = sharded.state(net, optimiser, average)
    found: dict[str, Any] = {"three": sharded.whole(state)}
    found["held"] = sum(t.to_local().numel() for t in state.values() if isinstance(t, DTensor))
    found["all"] = sum(t.numel() for t in state.values() if isinstance(t, DTensor))
    sharded.save(folder / "shares", state, team)
    try:
        sharded.save(folder / "shares", state, team)
    except DDPMError as error:
        found["again"] = str(error)

    learn(net, optimiser, average, range(3, 5), team)
    found["five"] = sharded.whole(sharded.state(net, optimiser, average))

    net = sharded.shard(network(), team)
    optimiser, average = torch.optim.Adam(net.parameters(), 1e-3), sharded.average(net)
    sharded.load(folder / "shares", sharded.state(net, optimiser, average), team)
    learn(net, optimiser, average, range(3, 5), team)
    found["five, taken up"] = sharded.whole(sharded.state(net, optimiser, average))
    return found


def main(folder: Path) -> None:
    with together() as team:
        found: dict[str, Any] = {"words": words(team), "clock": {}}
        found["gradients"] = {
            name: setting.gradients(setting.stirred(config, folder / f"steps {name}", team))
            for name, config in setting.STEPS.items()
        }
        found["exact gradients"] = {
            name: setting.exact_gradients(setting.stirred(setting.STEPS[name], folder / f"exact {name}", team))
            for name in ("uneven", "in parts")
        }
        for part in (
            other_world_sizes,
            files_written,
            one_bad_process,
            a_late_reader,
            another_disk,
            a_second_training,
            other_images,
            in_shares,
        ):
            team.wait()
            begun = time.perf_counter()
            found[part.__name__] = part(folder, team)
            found["clock"][part.__name__] = time.perf_counter() - begun
        torch.save(found, folder / f"found-{team.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
