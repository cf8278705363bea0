"""The training loop, from the first line of a run to the last: DDPM (Ho et al. 2020), Algorithm 1, made to last.

Each step is a function of (seed, step) and of the weights: nothing else has to be remembered (see
:mod:`ddpm_edu.training.draws`). So a run that was killed goes on bit for bit as if it had not been, by giving the same
command again (on a CPU with as many threads as before: they share out sums). On a GPU nothing here waits for the
device, except every ``poll_every`` steps and at a log line (and with fp16 in each step: was it skipped?).
"""

import contextlib
import os
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ddpm_edu import cpu, losses
from ddpm_edu.data import ImageSet
from ddpm_edu.data.ranges import scaled
from ddpm_edu.errors import NonFiniteLossError
from ddpm_edu.forward import sent
from ddpm_edu.training import draws, posthoc, samples
from ddpm_edu.training.alone import alone_in
from ddpm_edu.training.config import TrainConfig
from ddpm_edu.training.distributed import together
from ddpm_edu.training.interruptions import StopRequest
from ddpm_edu.training.meter import Log
from ddpm_edu.training.state import Run, start

SMALLEST_SCALE = 2.0**-10  # of fp16's gradients: below it every step has overflowed for long


class Report(NamedTuple):
    """How a run has ended: at which step, where its weights are (None: it is to go on), and which signal ended it.

    ``weights`` and ``signal`` are both None where it was asked to stop by :meth:`StopRequest.ask`.
    """

    step: int
    weights: Path | None
    signal: int | None


def train(
    config: TrainConfig,
    out: Path | str,
    *,
    resume: str = "auto",
    allow: Collection[str] = (),
    images: ImageSet | None = None,
    device: str | torch.device | None = None,
    progress: bool = True,
    watch: Callable[[Run], None] | None = None,
    stop: StopRequest | None = None,
) -> Report:
    """Trains as ``config`` says, in the folder ``out``: checkpoints, log.jsonl, and at the end weights.safetensors.

    Run again, it goes on. SIGTERM or Ctrl-C (once) finish the step, save and return. ``watch`` is called after each
    step, in every process; it may look at everything and should change nothing. ``stop``: a request of your own, new
    for each training: ``stop.ask()``, from any thread and in any one of the processes, does what SIGTERM does.
    ``resume``, ``allow``: see :func:`ddpm_edu.training.state.start`. ``images``: your own (with torchrun all of them in
    each process), in place of those that ``config.data`` names; a run that goes on is held to the same ones.
    Raises ConfigError, CheckpointError (also where another training runs in ``out``), DataError, NonFiniteLossError
    before an update with NaN, and torch's own OutOfMemoryError with advice.
    """
    cpu.keep_memory()
    folder, asked = Path(out), StopRequest() if stop is None else stop
    with (
        together(device) as team,
        asked,
        _surroundings(config, team.device),
        alone_in(folder, team),  # before anybody looks what there is
    ):
        run = start(config, folder, team, resume, allow, images)
        pixels = _resident(run)
        if run.step == 0:
            run.save()  # a full disk or a wrong folder shows now, not after the first hours
        log = Log(folder / "log.jsonl")
        _settle(run, pixels)
        with tqdm(total=config.steps, initial=run.step, disable=not (progress and team.is_main), unit="step") as bar:
            while run.step < config.steps:
                if one_step(run, pixels):
                    run.step += 1
                    bar.update()
                    _look(run, log, bar)
                    if watch is not None:
                        watch(run)
                if run.step < config.steps and _asked_to_stop(run, asked):
                    run.finite.check(run.meter, run.folder)
                    run.save()
                    team.wait()  # who leaves now is taken for a failure by torchrun, which ends the one that writes
                    return Report(run.step, None, asked.signal)
        run.finite.check(run.meter, run.folder)
        run.save()
        weights = run.export()
        team.wait()
        return Report(run.step, weights, None)


def one_step(run: Run, images: Tensor) -> bool:
    """One update of the weights and their averages; False where fp16 overflowed and only its scale has changed."""
    for group in run.optimiser.param_groups:
        group["lr"] = run.config.lr_at(run.step)
    run.optimiser.zero_grad(set_to_none=True)
    _backward(run, images)
    return _update(run)


def _backward(run: Run, images: Tensor) -> None:
    """Adds up the gradients of a step: over the parts of this process, then over processes."""
    c, team = run.config, run.team
    shape, n = tuple(images.shape[1:]), len(images)
    drawn = draws.draw(c.seed, run.step, c.batch, n, run.s.T, shape, c.label_dropout, team.device)
    parts = draws.rows(c.batch, team.rank, team.world, c.accumulate)
    for number, rows in enumerate(parts):
        draws.seed_dropout(c.seed, run.step, team.rank, number)
        with _gradients_shared(run, number == len(parts) - 1):
            loss = loss_of(run, images, draws.Draws(*(values[sent(rows, values.device)] for values in drawn)))
            # Gradients are averaged over processes, so this is the sum over all samples, over their number
            run.scaler.scale(_seen_in_the_gradient(loss.sum() * (team.world / c.batch))).backward()


def loss_of(run: Run, images: Tensor, drawn: draws.Draws) -> Tensor:
    """The loss of each sample (n,), in float32 at least: DDPM, Eq. 14, with the configuration's weight."""
    x0, labels = _batch(run, images, drawn)
    condition = {} if labels is None else {"labels": labels}

    def net(x_t: Tensor, t: Tensor) -> Tensor:
        with run.precision.autocast():
            out: Tensor = run.model(x_t, t, **condition)
        return out.to(torch.promote_types(out.dtype, torch.float32))

    loss = losses.simple(net, run.s, x0, drawn.t, drawn.noise, run.config.predicts, run.weight)
    run.meter.add(drawn.t, loss)
    return loss


def _seen_in_the_gradient(loss: Tensor) -> Tensor:
    """``loss``; where it is not finite, neither is its gradient: so every process learns of it, and none waits."""
    return loss * torch.where(loss.isfinite(), 1.0, torch.nan)


def _batch(run: Run, images: Tensor, drawn: draws.Draws) -> tuple[Tensor, Tensor | None]:
    """Images in [-1, 1], mirrored where it was drawn, and their labels, hidden where it was drawn, on the device."""
    x0 = scaled(sent(images[sent(drawn.image, images.device)], run.team.device), run.images.levels)
    if run.config.flip:
        x0 = torch.where(drawn.flip[:, None, None, None], x0.flip(3), x0)
    if run.config.net.classes is None or run.images.labels is None:
        return x0, None
    labels = sent(run.images.labels[drawn.image], run.team.device)
    return x0, torch.where(drawn.hide, run.net.no_label, labels)  # type: ignore[arg-type]


def _update(run: Run) -> bool:
    """Clip, check, step, average. False where fp16 overflowed."""
    run.scaler.unscale_(run.optimiser)
    limit = float("inf") if run.config.clip is None else run.config.clip
    norm = torch.nn.utils.clip_grad_norm_(run.net.parameters(), limit)
    if run.scaler.is_enabled():
        before = run.scaler.get_scale()
        run.scaler.step(run.optimiser)
        run.scaler.update()
        if run.scaler.get_scale() < before:
            if run.scaler.get_scale() < SMALLEST_SCALE:
                raise NonFiniteLossError(
                    f"step {run.step}: fp16 overflows however small its scale is. Fix: precision=fp32."
                )
            return False
    else:
        run.finite.note(norm, run.step)
        run.optimiser.found_inf = run.finite.flag  # type: ignore[attr-defined] # read on the device: 1 means no step
        run.optimiser.step()
        if run.team.device.type == "cpu" or run.step % run.config.poll_every == 0:
            run.finite.check(run.meter, run.folder)
    run.averages.update(run.net)
    return True


# ---------------------------------------------------------------- around the steps


def _look(run: Run, log: Log, bar: Any) -> None:
    """After a step: log line, sheet of samples, snapshot, checkpoint, each where its time has come."""
    c = run.config
    if any(every and run.step % every == 0 for every in (c.log_every, c.sample_every, c.snapshot_every, c.save_every)):
        run.finite.check(run.meter, run.folder)
    if run.step % c.log_every == 0 or run.step == c.steps:
        read = run.meter.read(run.team.sum(run.meter.sums), run.team.sum(run.meter.counts))
        run.meter.clear()
        if run.team.is_main:
            log.write(kind="loss", step=run.step, lr=c.lr_at(run.step - 1), time=time.time(), **read)
            quarters = " ".join("-" if q is None else f"{q:.3f}" for q in read["by_quarter"])
            bar.set_postfix_str(f"loss {read['loss']:.4f} [{quarters}], {read['images_per_second']:.0f} images/s")
    if c.sample_every and run.step % c.sample_every == 0 and run.team.is_main:
        samples.write(run)
    if c.snapshot_every and run.step % c.snapshot_every == 0 and run.team.is_main:
        posthoc.write(run.folder, run.step, run.averages)
    if run.step % c.save_every == 0:
        run.save()


def _settle(run: Run, images: Tensor) -> None:
    """With many processes, one backward pass for nothing. After its first, DistributedDataParallel packs the gradients
    anew, and with three or more the order in which they are summed depends on that: a run that goes on must not begin
    with another packing than the one it had when it was killed.
    """
    if run.team.world > 1:
        _backward(run, images)
        run.meter.clear()


def _asked_to_stop(run: Run, stop: StopRequest) -> bool:
    """Whether any process was. Asking the others costs a wait, so many processes ask every ``poll_every`` steps."""
    if run.team.world == 1:
        return bool(stop)
    return run.step % run.config.poll_every == 0 and run.team.any(bool(stop))


def _resident(run: Run) -> Tensor:
    """All images as uint8, on the device where they take less than a third of what is free, else on the CPU."""
    images, device = run.images.images, run.team.device
    if device.type == "cuda" and images.numel() * 3 < torch.cuda.mem_get_info(device)[0]:
        return images.to(device)
    return images


def _gradients_shared(run: Run, last: bool) -> contextlib.AbstractContextManager[None]:
    """Gradients of all parts but the last stay with the process: they are added up before they travel."""
    no_sync = getattr(run.model, "no_sync", None)
    return contextlib.nullcontext() if last or no_sync is None else no_sync()


@contextlib.contextmanager
def _surroundings(config: TrainConfig, device: torch.device) -> Any:
    """What a run asks of torch, put back when it is over, and advice where it fails."""
    with _own_randomness(device), _repeatable(config.deterministic), _advice_on_memory(config):
        yield


@contextlib.contextmanager
def _own_randomness(device: torch.device) -> Any:
    """Leaves torch's own generators as they were: a notebook's next cell draws what it would have drawn."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield


@contextlib.contextmanager
def _repeatable(wanted: bool) -> Any:
    """Where it is ``wanted``, only kernels that give the same bits each time; afterwards what was allowed before."""
    before, only_warned = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which cuBLAS asks for, at its first use
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=only_warned)


@contextlib.contextmanager
def _advice_on_memory(config: TrainConfig) -> Any:
    """Out of memory is said together with what helps."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        error.add_note(
            f"A batch of {config.batch} in {config.accumulate} part(s) does not fit. Fix: accumulate="
            f"{2 * config.accumulate} (the same result, part by part), checkpointing=true (blocks computed twice), or "
            "a smaller batch. The last checkpoint is untouched: the same command goes on from it."
        )
        raise
