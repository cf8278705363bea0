"""One training as a frozen record: what runs, what stands in checkpoints, what a resumed run is held to."""

import json
import math
from dataclasses import asdict, dataclass, field, fields, replace
from numbers import Integral, Real
from typing import Any

from ddpm_edu import schedules
from ddpm_edu.errors import ConfigError, did_you_mean, nearest
from ddpm_edu.models import UNetConfig
from ddpm_edu.training.ema import gamma_of

DATA = ("digits", "fashion_mnist", "cifar10", "folder")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
DECAYS = ("constant", "cosine")
WEIGHTS = ("uniform", "min_snr")
FREE = frozenset({"steps", "save_every", "snapshot_every", "sample_every", "log_every", "keep", "poll_every"})
"""What a resumed run may change unasked: how long it goes on and what it writes, not what it learns.

(Not the steps of a run whose rate falls along a cosine, which ends with the last of them.)
"""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The defaults are DDPM's own for CIFAR-10 (Ho et al. 2020, appendix B). Raises ConfigError."""

    data: str = "cifar10"  # "digits", "fashion_mnist", "cifar10", or "folder":
    folder: str | None = None  # the user's own images, made square and
    size: int | None = None  # this many pixels a side
    net: UNetConfig = field(default_factory=UNetConfig)
    schedule: str = "linear"  # a name of ddpm_edu.schedules
    predicts: str = "eps"
    weight: str = "uniform"  # of the loss by t: "uniform" is L_simple; or "min_snr" (gamma 5)
    label_dropout: float = 0.0  # share of labels to hide, for classifier-free guidance
    flip: bool = False  # mirror half of the images, left to right

    steps: int = 800_000
    batch: int = 128  # images a step, of all processes together
    accumulate: int = 1  # parts that a process works through one after the other, to save memory
    lr: float = 2e-4
    warmup: int = 5000  # steps over which lr rises from 0
    decay: str = "constant"  # of lr afterwards; or "cosine", to 0 at the last step
    betas: tuple[float, float] = (0.9, 0.999)  # of Adam
    clip: float | None = 1.0  # largest norm of the gradient
    ema: tuple[float, ...] = (0.9999,)  # decays, several at once; the first is sampled from
    ema_warmup: bool = True  # see ddpm_edu.training.ema
    ema_widths: tuple[float, ...] = ()  # relative widths of EDM2's power-function averages
    precision: str = "auto"  # bf16 or fp16 where the device is made for it, else fp32
    compile: bool = False  # torch.compile, in place
    checkpointing: bool = False  # compute blocks twice, to save memory
    deterministic: bool = False  # bit for bit the same on one GPU, at some cost; on a CPU it always is
    seed: int = 0

    save_every: int = 5000
    keep: int = 3  # checkpoints
    snapshot_every: int = 0  # keep the averages of ema_widths, for ddpm_edu.training.posthoc; 0: none
    sample_every: int = 0  # a sheet of samples from the EMA; 0: none
    log_every: int = 50
    poll_every: int = 20  # on a GPU: steps between two looks at whether all is finite

    def __post_init__(self) -> None:
        for name in ("betas", "ema", "ema_widths"):  # lists come from JSON
            given = getattr(self, name)
            if not isinstance(given, tuple | list):
                raise ConfigError(f"{name} must be a tuple of numbers, got {given!r}. Fix: ({given!r},) for one.")
            object.__setattr__(self, name, tuple(given))
        self._check_words()
        self._check_counts()
        self._check_numbers()
        self._check_averages()
        self._check_together()

    def to_json(self) -> str:
        """As JSON, the way it stands in a checkpoint."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "TrainConfig":
        """The other way. Raises ConfigError for what is no such JSON, or has settings unknown to this version."""
        try:
            settings: dict[str, Any] = {**json.loads(text)}  # a TypeError for what is no dict
            net = UNetConfig.from_dict(settings.pop("net", {}))
        except (ValueError, TypeError, AttributeError) as cause:
            raise ConfigError(f"this is no training configuration: {cause}.") from cause
        _check_known(settings)
        return cls(net=net, **settings)

    def changed(self, settings: dict[str, Any]) -> "TrainConfig":
        """With ``settings`` by name, those of the network as "net.width". Raises ConfigError for an unknown name."""
        _check_known(settings)
        of_net = {key.removeprefix("net."): value for key, value in settings.items() if key.startswith("net.")}
        own = {key: value for key, value in settings.items() if not key.startswith("net.")}
        return replace(self, net=UNetConfig.from_dict({**self.net.to_dict(), **of_net}), **own)

    def differences(self, other: "TrainConfig") -> dict[str, tuple[Any, Any]]:
        """Settings that differ, by name, (own, other's); those of the network as "net.width"."""
        own, others = self._flat(), other._flat()
        return {key: (value, others[key]) for key, value in own.items() if value != others[key]}

    def lr_at(self, step: int) -> float:
        """The rate of learning of step 0, 1, ..: a function of the step, so that nothing has to be remembered."""
        rising = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        if self.decay == "constant":
            return self.lr * rising
        return self.lr * rising * 0.5 * (1 + math.cos(math.pi * step / self.steps))

    def _flat(self) -> dict[str, Any]:
        own = asdict(self)
        net = own.pop("net")
        return own | {f"net.{key}": value for key, value in net.items()}

    def _check_words(self) -> None:
        choices = {
            "data": DATA,
            "schedule": tuple(schedules.FAMILIES),
            "predicts": ("eps", "x0", "v"),
            "weight": WEIGHTS,
            "decay": DECAYS,
            "precision": PRECISIONS,
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                near = did_you_mean(nearest(getattr(self, name), allowed))
                raise ConfigError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}.{near}")
        for name in ("flip", "ema_warmup", "compile", "checkpointing", "deterministic"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} must be true or false, got {getattr(self, name)!r}.")

    def _check_counts(self) -> None:
        least = {"steps": 1, "batch": 1, "accumulate": 1, "warmup": 0, "seed": 0, "save_every": 1, "keep": 2}
        least |= {"snapshot_every": 0, "sample_every": 0, "log_every": 1, "poll_every": 1}
        for name, low in (least if self.size is None else least | {"size": 1}).items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral) or value < low:
                raise ConfigError(f"{name} must be an integer >= {low}, got {value!r}.")
            if int(value) >= 2**63:
                raise ConfigError(f"{name} must be below 2^63, got {value!r}. Fix: a smaller number.")
            object.__setattr__(self, name, int(value))  # NumPy's are no JSON

    def _check_numbers(self) -> None:
        numbers = {"lr": (self.lr,), "clip": () if self.clip is None else (self.clip,)}
        shares = {"label_dropout": (self.label_dropout,), "betas": self.betas, "ema": self.ema}
        for name, values in {**numbers, **shares, "ema_widths": self.ema_widths}.items():
            if not all(isinstance(value, Real) and not isinstance(value, bool) for value in values):
                raise ConfigError(f"{name} must be a number (or several), got {getattr(self, name)!r}.")
        ranges = {
            "lr": (0, 1, self.lr),
            "clip": (0, math.inf, 1.0 if self.clip is None else self.clip),
        }
        for name, (low, high, value) in ranges.items():
            if not low < value < high:
                raise ConfigError(f"{name} must lie between {low} and {high}, got {value!r}.")
        for name, values in shares.items():
            if not all(0 <= value < 1 for value in values):
                raise ConfigError(
                    f"{name} must lie in [0, 1), got {getattr(self, name)!r}. Usual cause: a percentage (99.99 for "
                    "0.9999). Fix: a share."
                )

    def _check_averages(self) -> None:
        if len(self.betas) != 2 or not self.ema:
            raise ConfigError(f"betas are two numbers and ema at least one, got {self.betas!r} and {self.ema!r}.")
        if len(set(self.ema)) < len(self.ema) or len(set(self.ema_widths)) < len(self.ema_widths):
            raise ConfigError(f"an average stands twice in ema={self.ema!r} or ema_widths={self.ema_widths!r}.")
        for width in self.ema_widths:
            gamma_of(width)
        if self.snapshot_every and not self.ema_widths:
            raise ConfigError(
                f"snapshot_every={self.snapshot_every} keeps the averages of ema_widths, and there are none. "
                "Fix: ema_widths=(0.05, 0.1), or snapshot_every=0."
            )

    def _check_together(self) -> None:
        given = (self.folder is not None, self.size is not None)
        if given != (self.data == "folder",) * 2:
            raise ConfigError(
                'data="folder" needs folder= (a path) and size= (pixels a side), other data have their own; got '
                f"data={self.data!r}, folder={self.folder!r}, size={self.size!r}."
            )
        if not isinstance(self.net, UNetConfig) or not isinstance(self.folder, str | None):
            raise ConfigError(
                f"net must be a UNetConfig and folder a string (both stand in checkpoints), got {self.net!r} and "
                f"{self.folder!r}."
            )
        if self.net.tokens or self.net.extra_channels or self.net.outputs != self.net.channels:
            raise ConfigError(
                "this training tells a network x_t, t and labels, and learns no variance; got tokens="
                f"{self.net.tokens}, extra_channels={self.net.extra_channels}, out_channels={self.net.out_channels}. "
                "Fix: a network without them, or a loop of your own around losses.simple."
            )
        if self.label_dropout and self.net.classes is None:
            raise ConfigError("label_dropout hides labels, and this network takes none. Fix: net.classes=10.")
        if self.accumulate > self.batch:
            raise ConfigError(
                f"a batch of {self.batch} cannot be cut into {self.accumulate} parts. Fix: accumulate={self.batch} or "
                "less."
            )


def _check_known(settings: dict[str, Any]) -> None:
    names = [f.name for f in fields(TrainConfig) if f.name != "net"] + [f"net.{f.name}" for f in fields(UNetConfig)]
    for name in settings:
        if name not in names:
            near = did_you_mean(nearest(name, names))
            raise ConfigError(f"a training has no setting {name!r}; it has {', '.join(names)}.{near}")
