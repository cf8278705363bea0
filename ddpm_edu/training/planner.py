"""What a training will need before it is begun: memory, arithmetic, hours. All of it **estimates**.

Memory and FLOPs are counted operation by operation on torch's meta device, where nothing is computed. A step on a GPU
takes its FLOPs over a published peak times an assumed utilisation, the share of the peak that a training reaches; or,
where that is longer (small networks), as long as the host needs to start its operations one by one. On this machine's
CPU the rate can be measured in a few steps, by :func:`measured`.

Units: bytes, FLOP (2 for a multiply-add), seconds unless a name says hours.
"""

import contextlib
import math
import time
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ddpm_edu import losses, models, schedules
from ddpm_edu.errors import ConfigError
from ddpm_edu.models import checkpointing, summary
from ddpm_edu.training.config import TrainConfig
from ddpm_edu.training.counting import InHalf, Operations
from ddpm_edu.training.precision import choose

SIZES = {"digits": 8, "fashion_mnist": 28, "cifar10": 32}  # pixels a side
BYTES = 4  # of a float32: weights, gradients, averages and Adam's two moments are kept in it, whatever computes
EAGER, COMPILED = 0.15, 0.30
"""The utilisation that is assumed without and with torch.compile.

Small U-Nets of others reach 5 % where nothing was done for speed (an A100) and 25 % where much was; the memory's
bandwidth alone allows about 40 %. Ours, uncompiled, reached 12 % at a batch of 512, on one H200 (docs/benchmarks.md).
"""
LAUNCH_EAGER, LAUNCH_COMPILED = 8e-6, 8e-6 / 3
"""Seconds of the host for an operation (8 to 13 ms for 1,300 of them have been seen), and a third where they are fused.

On a virtual machine it was 60 to 80 us (docs/benchmarks.md): then small batches take far longer than is said here. The
optimiser, the averages and precision's casts are not among the operations that are counted.
"""
SECONDS_MEASURED, WORK_OF_A_STEP = 5.0, 2e10  # how long to measure, and the FLOPs of a step in it, about


@dataclass(frozen=True)
class GPU:
    """Published numbers of a GPU. ``half``: the kind of 16 bits that its tensor cores are for. Peaks: dense, FLOP/s."""

    name: str
    memory: float  # bytes
    half: str  # "bf16" or "fp16"
    half_peak: float
    single_peak: float  # float32 as torch computes it unless told otherwise: convolutions in TF32, where there is TF32

    def precision(self, wanted: str) -> str:
        """What a training with the setting ``wanted`` computes in, here: see :func:`training.precision.choose`."""
        return "fp32" if wanted == "fp32" else "fp16" if "fp16" in (wanted, self.half) else "bf16"

    def peak(self, precision: str) -> float:
        """FLOP/s."""
        return self.single_peak if precision == "fp32" else self.half_peak


GPUS = (
    GPU("H100 SXM", 80e9, "bf16", 989e12, 494e12),
    GPU("A100 80G", 80e9, "bf16", 312e12, 156e12),
    GPU("RTX 4090", 24e9, "bf16", 165e12, 82.6e12),
    GPU("T4", 16e9, "fp16", 65e12, 8.1e12),
)


@dataclass(frozen=True)
class Memory:
    """Bytes at the fullest moment, and what they are for.

    That is between the forward and the backward pass, or, with gradient checkpointing, while the largest block is
    computed again. Not in it: the driver and the kernels' work space (0.5 to 1 GB on a GPU), the data set.
    """

    weights: int
    gradients: int
    optimiser: int  # two moments for each weight
    averages: int
    saved: int  # for the backward pass, of one part of the batch

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimiser + self.averages + self.saved


@dataclass(frozen=True)
class Cost:
    """What a training asks for, wherever it runs."""

    parameters: int
    flops_per_image: int  # forward and backward, with what gradient checkpointing computes twice
    operations: int  # of a forward and a backward pass, views not counted
    memory: Memory


@dataclass(frozen=True)
class Plan:
    """An estimate for one device. ``utilisation``: of ``peak`` FLOP/s, assumed; None where the rate was measured.

    ``limit``: what the rate was taken from, "arithmetic", "launches" (the host is slower than the GPU) or "measured".
    """

    device: str
    precision: str
    config: TrainConfig
    cost: Cost
    images_per_second: float
    limit: str
    peak: float | None = None
    utilisation: float | None = None
    room: float | None = None  # the device's memory, where it is known

    @property
    def flops_per_step(self) -> int:
        """Of the whole batch."""
        return self.cost.flops_per_image * self.config.batch

    @property
    def seconds_per_step(self) -> float:
        """One update of the weights."""
        return self.config.batch / self.images_per_second

    @property
    def hours(self) -> float:
        """All steps, without samples, checkpoints and compiling."""
        return self.config.steps * self.seconds_per_step / 3600

    @property
    def fits(self) -> bool | None:
        """Whether the memory suffices; None where the device's is not known."""
        return None if self.room is None else self.cost.memory.total < self.room


def plan(config: TrainConfig, gpu: GPU, utilisation: float | None = None) -> Plan:
    """An estimate for ``config`` on one ``gpu``, at a ``utilisation`` in (0, 1] (None: :func:`assumed`).

    Raises ConfigError for another utilisation, and what the network raises for the size of the images.
    """
    share = assumed(config) if utilisation is None else utilisation
    if not 0 < share <= 1:
        raise ConfigError(
            f"utilisation is the share of the peak that is reached, in (0, 1], got {share!r}. Usual cause: a "
            "percentage. Fix: 0.3 for 30 %."
        )
    precision = gpu.precision(config.precision)
    found, peak = cost(config, precision), gpu.peak(precision)
    computing = config.batch * found.flops_per_image / (peak * share)
    starting = config.accumulate * found.operations * (LAUNCH_COMPILED if config.compile else LAUNCH_EAGER)
    rate, limit = config.batch / max(computing, starting), "arithmetic" if computing >= starting else "launches"
    return Plan(gpu.name, precision, config, found, rate, limit, peak, share, gpu.memory)


def plan_here(config: TrainConfig, seconds: float = SECONDS_MEASURED) -> Plan:
    """An estimate for this machine's CPU, from a rate that is measured for about ``seconds``. Raises ConfigError."""
    precision = choose(config.precision, torch.device("cpu")).name
    name = f"this CPU, {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"
    return Plan(name, precision, config, cost(config, precision), measured(config, seconds), "measured")


def assumed(config: TrainConfig) -> float:
    """The utilisation that is assumed where none is given."""
    return COMPILED if config.compile else EAGER


def gpu_by_name(name: str) -> GPU:
    """The GPU that ``name`` means, in any case, in part ("h100"). Raises ConfigError, which names those there are."""
    found = [gpu for gpu in GPUS if name.strip() and name.strip().lower() in gpu.name.lower()]
    if len(found) != 1:
        raise ConfigError(
            f"{'several GPUs are' if found else 'no GPU is'} called {name!r}; the table has "
            f"{', '.join(gpu.name for gpu in GPUS)}. Fix: one of these, or none for all of them."
        )
    return found[0]


@lru_cache(maxsize=16)
def cost(config: TrainConfig, precision: str = "fp32") -> Cost:
    """Parameters, FLOPs an image, and memory of one process in ``precision`` ("fp32", "bf16", "fp16").

    Raises what the network raises for images of this size.
    """
    net = _network(config)
    with torch.device("meta"):
        inputs = summary.example(config.net, size(config))
    with FlopCounterMode(display=False) as arithmetic, Operations() as seen:
        net(**inputs).sum().backward()
    weights = BYTES * sum(p.numel() for p in net.parameters())
    averages = (len(config.ema) + len(config.ema_widths)) * weights
    memory = Memory(weights, weights, 2 * weights, averages, saved(config, precision))
    return Cost(weights // BYTES, int(arithmetic.get_total_flops()), seen.count, memory)


def saved(config: TrainConfig, precision: str = "fp32") -> int:
    """Bytes for the backward pass of one part of the batch. Raises what the network raises for this size.

    With gradient checkpointing: what is kept, and what the largest block keeps while it is computed again. The
    gradients on their way through that block do not count: on an H200 the whole memory was 15 % more.
    """
    kept = _summary(config, precision).saved
    if not config.checkpointing:
        return kept
    return kept + max(stage.saved for stage in _summary(replace(config, checkpointing=False), precision).stages)


@lru_cache(maxsize=64)
def _summary(config: TrainConfig, precision: str) -> summary.Summary:
    """Of one part of the batch."""
    part = math.ceil(config.batch / config.accumulate)
    with contextlib.nullcontext() if precision == "fp32" else InHalf():
        return summary.summary(_network(config), size(config), part)


def _network(config: TrainConfig) -> models.UNet:
    """On torch's meta device, with its blocks run as the configuration wants."""
    with torch.device("meta"):
        net = models.UNet(config.net)
    if config.checkpointing:
        checkpointing.enable(net)
    return net


def size(config: TrainConfig) -> int:
    """Pixels a side of a configuration's images."""
    return SIZES[config.data] if config.size is None else config.size


@torch.random.fork_rng([])  # the caller's own random numbers stay as they were
def measured(config: TrainConfig, seconds: float = SECONDS_MEASURED) -> float:
    """Images a second on this machine's CPU: forward, backward and Adam on noise, as often as ``seconds`` allow.

    The batch is the configuration's, or smaller where a step of it would take long; the first step does not count.
    """
    cheap = int(WORK_OF_A_STEP / cost(config).flops_per_image)
    batch, pixels = max(1, min(config.batch // config.accumulate, cheap)), size(config)
    net, s = models.UNet(config.net), schedules.by_name(config.schedule, config.net.T)
    optimiser, autocast = torch.optim.Adam(net.parameters(), fused=True), choose(config.precision, torch.device("cpu"))
    if config.checkpointing:
        checkpointing.enable(net)
    inputs = summary.example(config.net, pixels, batch)
    x0, t, told = inputs.pop("x_bchw"), inputs.pop("t"), inputs
    weight = losses.uniform(s, config.predicts)

    def in_precision(x_t: Tensor, t: Tensor) -> Tensor:
        with autocast.autocast():
            out: Tensor = net(x_t, t, **told)
        return out.float()

    steps, since = -1, time.perf_counter()
    while steps < 1 or time.perf_counter() - since < seconds:
        losses.simple(in_precision, s, x0, t, torch.zeros_like(x0), config.predicts, weight).mean().backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        steps += 1
        if steps == 0:
            since = time.perf_counter()
    return steps * batch / (time.perf_counter() - since)
