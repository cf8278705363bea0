"""What a U-Net is made of, as one frozen record that travels with its weights."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from ddpm_edu.errors import ConfigError
from ddpm_edu.models.embeddings import SINUSOIDS
from ddpm_edu.models.resblock import TELLS

RESAMPLES = ("down_right", "padded", "in_block")


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """The defaults are DDPM's CIFAR-10 network (Ho et al. 2020, appendix B): 35,746,307 parameters.

    Level 0 has the image's own size, each further level half as many pixels a side. Raises ConfigError.
    """

    channels: int = 3  # of the image
    out_channels: int | None = None  # None: as many as the image; twice as many: a learned variance
    width: int = 128  # channels at level 0, times these:
    multipliers: tuple[int, ...] = (1, 2, 2, 2)  # one a level
    blocks: int = 2  # residual blocks a level on the way down; one more on the way up
    attention: tuple[int, ...] = (1,)  # levels with self-attention after each block; the middle always has it
    heads: int | None = 1  # of attention; or
    head_width: int | None = None  # how many channels a head has (one of the two is None)
    dropout: float = 0.1
    told: str = "add"  # how blocks are told the time: "add" (DDPM) or "scale_shift" (AdaGN)
    sinusoid: str = "ddpm"  # or "adm"
    resample: str = "down_right"  # between levels; or "padded" (improved DDPM), "in_block" (ADM)
    groups: int = 32  # of group normalisation
    eps: float = 1e-6
    classes: int | None = None  # None: no labels
    tokens: int | None = None  # width of the tokens that cross-attention reads; None: there is no cross-attention
    extra_channels: int = 0  # of an image to go by, put beside x_t: a small picture enlarged, a mask
    patch: int = 1  # the image enters as patch x patch squares, each one pixel with patch^2 times the channels
    T: int = 1000  # the largest time the network will be asked about

    def __post_init__(self) -> None:
        for name in ("multipliers", "attention"):  # lists come from JSON
            given = getattr(self, name)
            if not isinstance(given, tuple | list):
                raise ConfigError(f"{name} must be a tuple of integers, got {given!r}. Fix: (1,) for one, () for none.")
            object.__setattr__(self, name, tuple(given))
        self._check_numbers()
        self._check_words()
        for level in range(self.levels):
            self._check_level(level)

    @property
    def levels(self) -> int:
        """How many sizes there are."""
        return len(self.multipliers)

    @property
    def divisor(self) -> int:
        """Height and width of an image must be multiples of this."""
        return int(self.patch * 2 ** (self.levels - 1))

    @property
    def outputs(self) -> int:
        """Channels of the result."""
        return self.channels if self.out_channels is None else self.out_channels

    def width_at(self, level: int) -> int:
        """Channels at this level."""
        return self.width * self.multipliers[level]

    def heads_at(self, level: int) -> int:
        """Attention heads at this level."""
        if self.heads is not None:
            return self.heads
        assert self.head_width is not None  # noqa: S101 (for the type checker; __post_init__ has seen to it)
        return self.width_at(level) // self.head_width

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> "UNetConfig":
        """The inverse of :meth:`to_dict`. Raises ConfigError for a name that is no field."""
        unknown = sorted(set(given) - {field.name for field in fields(cls)})
        if unknown:
            raise ConfigError(f"UNetConfig has no {', '.join(unknown)}. Usual cause: a file of a newer version.")
        return cls(**given)

    def _check_numbers(self) -> None:
        counts = {name: getattr(self, name) for name in ("channels", "width", "blocks", "groups", "patch", "T")}
        counts |= {f"multipliers[{i}]": m for i, m in enumerate(self.multipliers)}
        optional = ("out_channels", "heads", "head_width", "classes", "tokens")
        counts |= {name: getattr(self, name) for name in optional if getattr(self, name) is not None}
        for name, value in counts.items():
            if type(value) is not int or value < 1:
                raise ConfigError(
                    f"{name} must be an integer >= 1, got {value!r}. Fix: see UNetConfig for its meaning."
                )
        if type(self.extra_channels) is not int or self.extra_channels < 0:
            raise ConfigError(f"extra_channels must be an integer >= 0, got {self.extra_channels!r}.")
        if not self.multipliers:
            raise ConfigError("multipliers is empty: a network needs at least one level. Fix: for example (1, 2, 2).")
        if not _is_number(self.dropout) or not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must lie in [0, 1), got {self.dropout!r}. Usual cause: a percentage.")
        if not _is_number(self.eps) or not 0 < self.eps < 1:
            raise ConfigError(f"eps must be a small number > 0, got {self.eps!r}. Fix: 1e-6 (DDPM) or 1e-5.")
        if (self.heads is None) == (self.head_width is None):
            raise ConfigError(
                f"give heads or head_width, one of the two; got heads={self.heads}, head_width={self.head_width}. "
                "Fix: heads=None, head_width=64."
            )
        wrong = [level for level in self.attention if level not in range(self.levels)]
        if wrong:
            raise ConfigError(
                f"attention names level {wrong[0]}, but {self.levels} multipliers make levels 0 to {self.levels - 1}. "
                "Usual cause: a resolution (16) in place of a level (1 of a 32-pixel image)."
            )

    def _check_words(self) -> None:
        for name, allowed in (("told", TELLS), ("sinusoid", SINUSOIDS), ("resample", RESAMPLES)):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name} must be one of {', '.join(allowed)}; got {getattr(self, name)!r}.")
        if self.width < 4 or self.width % 2:
            raise ConfigError(f"width is also that of the time's sinusoids: even and >= 4, got {self.width}.")

    def _check_level(self, level: int) -> None:
        width = self.width_at(level)
        if width % self.groups:
            raise ConfigError(
                f"level {level} has {width} channels, which {self.groups} groups do not divide. "
                f"Fix: groups={_divisor_near(self.groups, width)}, or a width that is a multiple of {self.groups}."
            )
        if level not in (*self.attention, self.levels - 1):
            return
        divisor, what = (self.heads, "heads") if self.heads is not None else (self.head_width, "channels a head")
        assert divisor is not None  # noqa: S101 (for the type checker)
        if width % divisor:
            raise ConfigError(
                f"level {level} has {width} channels, which do not divide into {divisor} {what}. "
                f"Fix: {_divisor_near(divisor, width)}."
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _divisor_near(wanted: int, number: int) -> int:
    """The divisor of ``number`` that is closest to ``wanted``."""
    divisors: Sequence[int] = [d for d in range(1, number + 1) if number % d == 0]
    return min(divisors, key=lambda d: abs(d - wanted))
