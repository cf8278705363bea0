"""What a training run consists of, how it is made, saved, and found again."""

import platform
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ddpm_edu import __version__, losses, models, schedules, whole
from ddpm_edu.data import ImageSet
from ddpm_edu.errors import CheckpointError, ConfigError
from ddpm_edu.models import checkpointing
from ddpm_edu.schedules import Schedule
from ddpm_edu.training import checkpoint, ema, weights
from ddpm_edu.training.config import FREE, TrainConfig
from ddpm_edu.training.distributed import Team
from ddpm_edu.training.image_sets import fingerprint, fitting, load_images, seen
from ddpm_edu.training.meter import Finite, Meter
from ddpm_edu.training.precision import Precision, choose

GAMMA = 5.0  # of min-SNR
RESUME = ("auto", "must", "never")


@dataclass
class Run:
    """All that changes in training, and what does not but is needed at each step."""

    config: TrainConfig
    team: Team
    folder: Path
    images: ImageSet
    s: Schedule
    weight: Tensor
    net: nn.Module  # as it is saved
    model: nn.Module  # as it is called: the same, or wrapped for many processes
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    averages: ema.Averages
    precision: Precision
    meter: Meter
    finite: Finite
    fingerprint: str  # of the data
    step: int = 0
    saved: int | None = None  # the step of the newest checkpoint

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, and what a reader of the file wants to know."""
        return {
            "config": self.config.to_json(),
            "net": self.net.state_dict(),
            "averages": self.averages.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "data": self.fingerprint,
            "images": seen(self.images),
            "versions": {"ddpm_edu": __version__, "torch": str(torch.__version__), "python": platform.python_version()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The other way, under the configuration of now. Raises KeyError, RuntimeError, ConfigError for another net."""
        self.net.load_state_dict(state["net"])
        self.averages.load_state_dict(state["averages"])
        self.optimiser.load_state_dict(state["optimiser"])
        for group in self.optimiser.param_groups:
            group["betas"] = self.config.betas  # the optimiser's state brings those of then
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        self.step = self.saved = int(state["step"])

    def save(self) -> Path | None:
        """Writes a checkpoint, in the main process, unless there is one of this step. Raises CheckpointError."""
        if not self.team.is_main or self.saved == self.step:
            return None
        path = checkpoint.save(self.folder / "checkpoints", self.step, self.state_dict(), self.config.keep)
        self.saved = self.step
        return path

    def export(self) -> Path | None:
        """Writes the first average as weights.safetensors, which models.load reads. Raises CheckpointError."""
        if not self.team.is_main:
            return None
        first, path, images = next(iter(self.averages.rates)), self.folder / weights.FILE, self.images
        whole.remove_parts(self.folder, weights.FILE)
        about = weights.about(self.config, images.name, images.images.shape[1:], self.step, first)
        weights.write(path, self.averages.net(self.net, first), about)
        return path


def start(
    config: TrainConfig,
    folder: Path,
    team: Team,
    resume: str = "auto",
    allow: Collection[str] = (),
    images: ImageSet | None = None,
) -> Run:
    """A run at step 0, or where its newest good checkpoint stands.

    ``resume``: "auto" goes on where there is something to go on from, "must" refuses to begin anew, "never" to go on.
    ``allow``: settings that may differ from those of the checkpoint, also as one string "lr,clip".
    ``images``: those to learn from, all of them in each process; None: those that ``config.data`` names.
    Raises ConfigError, CheckpointError, DataError.
    """
    if isinstance(allow, str):
        allow = allow.split(",")  # a string is a collection of letters, and "ema" is in "ema_warmup"
    if resume not in RESUME:
        raise ConfigError(f"resume must be one of {', '.join(RESUME)}, got {resume!r}.")
    run = _fresh(config, folder, team, images)
    if not team.same(int(run.fingerprint[:15], 16)):
        raise ConfigError(
            f"the {team.world} processes hold different images. Usual cause: each was given its share of them. Fix: "
            "all images in each process; the loop shares out the batches."
        )
    found = checkpoint.newest(folder / "checkpoints", team.device)
    if not team.same(-1 if found is None else found.state["step"]):  # also: nobody writes before all have looked
        raise CheckpointError(
            f"the {team.world} processes do not find the same checkpoint in {folder / 'checkpoints'}; this one finds "
            f"{None if found is None else found.path.name}. Usual cause: machines that do not share this folder. "
            "Fix: one on a disk that all of them see."
        )
    if found is None and resume == "must":
        raise CheckpointError(
            f'there is no checkpoint in {folder / "checkpoints"}, and resume="must". Usual cause: another --out than '
            'before. Fix: that folder, or resume="auto" for a new run.'
        )
    if found is not None and resume == "never":
        raise CheckpointError(f'{found.path} is there, and resume="never". Fix: another folder, or resume="auto".')
    if found is not None:
        _go_on(run, found, allow)
    return run


def _fresh(config: TrainConfig, folder: Path, team: Team, given: ImageSet | None) -> Run:
    if config.batch < team.world * config.accumulate:
        raise ConfigError(
            f"a batch of {config.batch} images for {team.world} processes in {config.accumulate} parts each: some "
            f"would get none. Fix: batch={team.world * config.accumulate} or more."
        )
    images = load_images(config) if given is None else fitting(config, given)
    precision = choose(config.precision, team.device)
    s = schedules.by_name(config.schedule, config.net.T)
    weigh = losses.min_snr(GAMMA) if config.weight == "min_snr" else losses.uniform
    torch.manual_seed(config.seed)
    net = models.UNet(config.net).to(team.device).train()
    if config.checkpointing:
        checkpointing.enable(net)
    rates = ema.rates(config.ema, config.ema_warmup, config.ema_widths)
    ema.warn_if_slow(rates, config.steps)
    optimiser = torch.optim.Adam(net.parameters(), config.lr, config.betas, fused=True)
    averages, held = ema.Averages(net, rates), fingerprint(images)
    if config.compile:
        net.compile()
    model = nn.parallel.DistributedDataParallel(net) if team.world > 1 else net
    return Run(
        config,
        team,
        folder,
        images,
        s,
        weigh(s, config.predicts).float().to(team.device),  # once, and not at every step
        net,
        model,
        optimiser,
        precision.scaler(),
        averages,
        precision,
        Meter(s.T, team.device),
        Finite(team.device),
        held,
    )


def _go_on(run: Run, found: checkpoint.Loaded, allow: Collection[str]) -> None:
    """Puts ``run`` where the checkpoint stands. Raises CheckpointError where that belongs to another run."""
    try:
        saved, data_then = TrainConfig.from_json(found.state["config"]), found.state["data"]
    except (KeyError, TypeError, ConfigError) as cause:
        raise CheckpointError(f"{found.path.name} is of no training that this version knows: {cause}") from cause
    _check_same(run.config, saved, allow)
    _check_data(run, data_then, found)
    try:
        run.load_state_dict(found.state)
    except torch.OutOfMemoryError:
        raise
    except (KeyError, TypeError, RuntimeError, ConfigError) as cause:
        raise CheckpointError(
            f"{found.path.name} does not fit this run: {' '.join(str(cause).split())[:300]} ... Usual cause: another "
            "network or other averages, which cannot be allowed. Fix: the settings of then, or another folder for a "
            "new run."
        ) from cause


def _check_same(config: TrainConfig, saved: TrainConfig, allow: Collection[str]) -> None:
    free = FREE - {"steps"} if config.decay == "cosine" else FREE  # a cosine ends at the last step: it would move
    different = {k: v for k, v in config.differences(saved).items() if k not in free and k not in allow}
    if different:
        rows = "\n".join(
            f"  {name}: now {now!r}, in the checkpoint {then!r}" for name, (now, then) in different.items()
        )
        raise CheckpointError(
            f"the checkpoint belongs to a run with other settings:\n{rows}\nFix: those of then, another folder for a "
            f"new run, or --allow-change {','.join(different)} if you mean it."
        )


def _check_data(run: Run, then: str, found: checkpoint.Loaded) -> None:
    own = seen(run.images)
    saved = found.state.get("images", own)  # which older checkpoints have not
    if run.fingerprint != then or any(saved[key] != own[key] for key in ("size", "levels")):
        raise CheckpointError(
            f"{found.path.name} was made with other images (sha256 {then[:16]}, now {run.fingerprint[:16]}). Usual "
            "cause: a folder that has changed. Fix: the images of then, or another folder for a new run."
        )
