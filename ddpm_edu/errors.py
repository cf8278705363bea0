"""The errors and warnings of the package: one family, so that a caller can catch all of them at once.

A message says what was given, what is allowed, the usual cause and the fix.
"""

from collections.abc import Iterable


class DDPMError(ValueError):
    """Base of every error that this package raises on purpose."""


class ScheduleError(DDPMError):
    """A noise schedule that cannot be: T, the betas or the alpha-bars are out of range."""


class TimestepError(DDPMError):
    """A time t that is not an int64 tensor of shape (N,) with values in 1..T."""


class ShapeError(DDPMError):
    """Tensors whose shapes, dtypes or devices do not fit each other; nothing broadcasts silently."""


class DataError(DDPMError):
    """Files or images that are missing, damaged, tampered with, or not in the range the models expect."""


class ConfigError(DDPMError):
    """An option that does not exist, or options that cannot go together."""


class NonFiniteLossError(DDPMError):
    """Training that has gone wrong: the loss is NaN or infinite, and every further step would be lost time."""


class ScheduleWarning(UserWarning):
    """A schedule that works but probably not as meant (signal left at T, a chain of one step)."""


class DataWarning(UserWarning):
    """Images that are legal but probably not what was meant (never rescaled, or all of one value)."""


class GuidanceWarning(UserWarning):
    """Guidance that is legal but probably not what was meant (away from the condition)."""


class CheckpointError(DDPMError):
    """A checkpoint that is missing, damaged, of another run, or written by a version that this one cannot read."""


class TrainingWarning(UserWarning):
    """A training that works but probably not as meant (an average that never leaves the first weights)."""


# ---------------------------------------------------------------- what messages have in common


def nearest(given: object, names: Iterable[str]) -> list[str]:
    """Those of ``names`` that ``given`` may be a misspelling of, whatever its case: two at most, the nearest first."""
    import difflib  # only where something went wrong

    return difflib.get_close_matches(str(given).lower(), names, n=2)


def did_you_mean(near: Iterable[str]) -> str:
    """The end of a message: " Did you mean a or b?", or nothing where nothing is near."""
    words = " or ".join(near)
    return f" Did you mean {words}?" if words else ""
