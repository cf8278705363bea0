"""What a U-Net refuses, with the usual cause: torch's own messages name a convolution, not the mistake.

Values (t, labels) are looked at on a CPU only: on a GPU that would wait for it at every step, and under torch.compile
it would break the graph. Shapes and types are looked at everywhere.
"""

import torch
from torch import Tensor

from ddpm_edu.errors import ConfigError, ShapeError, TimestepError
from ddpm_edu.models.config import UNetConfig


def check_inputs(
    config: UNetConfig, x: Tensor, t: Tensor, labels: Tensor | None, tokens: Tensor | None, extra: Tensor | None
) -> None:
    """Raises ShapeError, TimestepError or ConfigError where an input does not fit the network or the others."""
    check_image(config, x)
    check_times(config, x, t)
    check_labels(config, x, labels)
    if (tokens is None) != (config.tokens is None):
        raise ConfigError(
            f"this network has tokens={config.tokens}, and was called {'without' if tokens is None else 'with'} tokens."
            " Fix: tokens= goes together with UNetConfig(tokens=...)."
        )
    n = x.shape[0]  # not len(x): that would tie an exported network to one size of batch
    wanted = (n, config.extra_channels, *x.shape[2:])
    if (tuple(extra.shape) if extra is not None else (n, 0, *x.shape[2:])) != wanted:
        raise ShapeError(
            f"this network takes extra of shape {wanted}, got {None if extra is None else tuple(extra.shape)}. "
            "Usual cause: a picture to go by that was not brought to the size of x_t."
        )


def check_image(config: UNetConfig, x: Tensor) -> None:
    """x must be float (b, channels, h, w), with h and w multiples of the divisor."""
    c = config.channels
    if not isinstance(x, Tensor):
        raise ShapeError(f"x_t must be a torch tensor, got {type(x).__name__}. Fix: torch.as_tensor(x).")
    if x.ndim == 3 and x.shape[0] == c:
        raise ShapeError(
            f"x_t has shape {tuple(x.shape)}: an image without a batch. Fix: x[None], and t of shape (1,)."
        )
    if x.ndim != 4 or x.shape[1] != c:
        raise ShapeError(f"this network takes x_t of shape (N, {c}, height, width), got {tuple(x.shape)}. {_why(x, c)}")
    if x.shape[0] == 0:
        raise ShapeError(f"x_t is an empty batch, shape {tuple(x.shape)}. Usual cause: a mask that chose no image.")
    if not x.is_floating_point():
        raise ShapeError(f"x_t must be of floats in [-1, 1], got {x.dtype}. Fix: data.to_model_range(x).")
    for name, size in (("height", x.shape[2]), ("width", x.shape[3])):
        if size < config.divisor or size % config.divisor:
            below = size // config.divisor * config.divisor
            near = f"{below} or {below + config.divisor}" if below else f"{config.divisor}"
            raise ShapeError(
                f"{name} {size} is not a multiple of {config.divisor}, and {config.levels} levels"
                f"{f' behind {config.patch}x{config.patch} patches' if config.patch > 1 else ''} need that. "
                f"The nearest: {near}. Fix: pad or resize the images, or take fewer levels."
            )


def _why(x: Tensor, c: int) -> str:
    if x.ndim == 4 and x.shape[3] == c:
        return "It looks channels-last: x.permute(0, 3, 1, 2)."
    if x.ndim == 3 and c == 1:
        return "Usual cause: grey images without an axis for the channel. Fix: x[:, None]."
    if x.ndim != 4:
        return "Usual cause: images without an axis for the batch or the channel. Fix: see x.shape."
    cause = {1: "grey images", 3: "images in colour"}.get(x.shape[1], "a network made for other data")
    return f"Usual cause: {cause}. Fix: UNetConfig(channels={x.shape[1]})."


def check_times(config: UNetConfig, x: Tensor, t: Tensor) -> None:
    """t must be int64 (b,), in 0..T where that can be seen."""
    if not isinstance(t, Tensor) or t.shape != x.shape[:1]:
        given = tuple(t.shape) if isinstance(t, Tensor) else t
        raise TimestepError(f"t must have shape ({len(x)},), one time an image, got {given}. Fix: torch.full((N,), t).")
    if t.dtype != torch.int64:
        raise TimestepError(
            f"t must be int64, a time is a whole number; got {t.dtype}. Fix: t.long(), or (t * T).round().long() for "
            "shares of T."
        )
    if _can_look_at(t) and len(t) and not 0 <= int(t.min()) <= int(t.max()) <= config.T:
        wrong = int(t[(t < 0) | (t > config.T)][0])
        raise TimestepError(
            f"this network knows times up to T = {config.T}, got t = {wrong}. Usual cause: a schedule with more steps. "
            "Fix: UNetConfig(T=...), and training."
        )


def check_labels(config: UNetConfig, x: Tensor, labels: Tensor | None) -> None:
    """labels must be int64 (b,) in 0..classes where the network has classes, and not be there where it has none."""
    if config.classes is None:
        if labels is not None:
            raise ConfigError("this network knows no classes, but labels were given. Fix: UNetConfig(classes=...).")
        return
    if labels is None:
        raise ConfigError(
            f"this network was made for {config.classes} classes, and no labels were given. "
            f"Fix: labels=..., or {config.classes} (net.no_label) for an image of any class."
        )
    if not isinstance(labels, Tensor) or labels.shape != x.shape[:1] or labels.dtype != torch.int64:
        given = f"{labels.dtype} {tuple(labels.shape)}" if isinstance(labels, Tensor) else repr(labels)
        raise ShapeError(
            f"labels must be int64 of shape ({len(x)},), one an image, got {given}. "
            "Fix: torch.full((N,), label) for one class, labels.long() for floats."
        )
    if _can_look_at(labels) and len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) <= config.classes:
        wrong = int(labels[(labels < 0) | (labels > config.classes)][0])
        raise ConfigError(
            f"labels must lie in 0..{config.classes - 1} ({config.classes}: no label), got {wrong}. "
            "Usual cause: classes counted from 1."
        )


def _can_look_at(values: Tensor) -> bool:
    return values.device.type == "cpu" and not torch.compiler.is_compiling()
