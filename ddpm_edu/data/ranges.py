"""The two doors between stored grey levels and the numbers a model sees, and the check in front of a model.

Stored images hold integers 0..levels-1 (256 levels for photographs, 17 for the 8x8 digits); models and
samplers hold floats in [-1, 1]. Nothing else in the package rescales an image.
"""

import warnings

import torch
from torch import Tensor

from ddpm_edu.errors import DataError, DataWarning, ShapeError

_CHANNEL_COUNTS = (1, 3, 4)  # what an image file can have; used to tell channels from rows
_OVERSHOOT = 1e-3  # float rounding of a legal image stays far below this, a resize's overshoot does not


def to_model_range(k: Tensor, levels: int = 256) -> Tensor:
    """Grey levels to the model's range: x = 2 k / (levels - 1) - 1.

    ``k``: integer tensor of any shape with values 0..levels-1. Result: float32, same shape and device, in
    [-1, 1]. Raises DataError for floats (they may be scaled already) and for levels out of range.
    """
    check_levels(levels)
    _check_tensor(k)
    if k.is_floating_point() or k.is_complex() or k.dtype == torch.bool:
        raise DataError(
            f"to_model_range was given {k.dtype}; it takes integer grey levels 0..{levels - 1}. Usually the "
            "image was scaled already, for instance by torchvision's ToTensor (0..1). Fix: pass the stored "
            "uint8 image; for floats in 0..1 write 2 * x - 1 yourself."
        )
    if (levels < 256 or k.dtype != torch.uint8) and k.numel():
        low, high = int(k.min()), int(k.max())
        if low < 0 or high > levels - 1:
            raise DataError(
                f"grey levels span [{low}, {high}]; with levels={levels} they must lie in 0..{levels - 1}. "
                "Usually the number of levels belongs to another data set. Fix: pass levels=imageset.levels."
            )
    return scaled(k, levels)


def scaled(k: Tensor, levels: int) -> Tensor:
    """:func:`to_model_range` for grey levels that were checked before: no look at the values, so no wait for a GPU."""
    return k.to(torch.float32).div_((levels - 1) / 2).sub_(1)


def to_uint8(x: Tensor, levels: int = 256) -> Tensor:
    """The model's range back to grey levels: k = round((x + 1) (levels - 1) / 2), clamped to 0..levels-1.

    ``x``: floating tensor of any shape, nominally in [-1, 1]; what lies outside (a sampler's overshoot)
    becomes black or white. Result: uint8, same shape and device. The exact inverse of :func:`to_model_range`
    at every level, for bfloat16 and float16 images, too. Raises DataError for integers and for NaN or
    infinity.
    """
    check_levels(levels)
    _check_tensor(x)
    if not x.is_floating_point():
        raise DataError(
            f"to_uint8 was given {x.dtype}; it takes floats in [-1, 1]. Usually the image was never scaled, "
            "or has been converted already. Fix: leave this call out."
        )
    finite = x.isfinite()
    if not bool(finite.all()):
        raise DataError(
            f"{int((~finite).sum())} of {x.numel()} values are NaN or infinite; grey levels must come from "
            "finite numbers. Usually a sampler or a training run has diverged. Fix: look for the first step "
            "whose result is not finite, do not hide it with nan_to_num."
        )
    # In float32 whatever came in: bfloat16 has 8 bits and cannot count to 255 in halves.
    half = (levels - 1) / 2
    return x.to(torch.float32).clamp(-1, 1).add(1).mul(half).round().to(torch.uint8)


def check_images(x: Tensor, channels: int | None = None) -> None:
    """Check the values of a batch that is headed for a model; returns nothing when it is fit.

    ``x``: floating (N, C, H, W) in [-1, 1], any floating dtype. ``channels``: the C that the model expects,
    or None. Raises ShapeError for the layout, DataError for dtype and values; warns (DataWarning) where the
    values are legal but look unscaled. It reads every value, so call it on first batches, not inside a
    compiled step.
    """
    _check_tensor(x)
    _check_image_dtype(x)
    _check_layout(x, channels)
    _check_finite(x)
    _check_span(x)


def check_levels(levels: int) -> None:
    """Raise DataError unless ``levels`` is an integer in 2..256."""
    if not isinstance(levels, int) or not 2 <= levels <= 256:
        raise DataError(
            f"levels={levels!r}; it must be an integer in 2..256, the number of grey levels that one byte "
            "can tell apart. Usually the largest level was given. Fix: levels=256 for ordinary images, 17 "
            "for the 8x8 digits."
        )


def _check_tensor(x: object) -> None:
    if not isinstance(x, Tensor):
        raise DataError(
            f"images are a {type(x).__module__}.{type(x).__name__}; a torch.Tensor is expected. Usually they "
            "come straight from numpy or Pillow. Fix: torch.from_numpy(numpy.asarray(images))."
        )


def _check_image_dtype(x: Tensor) -> None:
    if x.dtype == torch.uint8:
        raise DataError(
            "images are uint8 0..255; a model takes floats in [-1, 1]. Usually the stored images went in "
            "unscaled, and noise added to integers is cut off. Fix: x = data.to_model_range(x)."
        )
    if not x.is_floating_point():
        raise DataError(
            f"images are {x.dtype}; a model takes floats in [-1, 1]. Usually labels and images were swapped, "
            "or a conversion is missing. Fix: x = data.to_model_range(x.to(torch.uint8)) for grey levels "
            "0..255."
        )


def _check_layout(x: Tensor, channels: int | None) -> None:
    shape = tuple(x.shape)
    if x.ndim == 3 and shape[-1] in _CHANNEL_COUNTS and shape[0] not in _CHANNEL_COUNTS:
        raise ShapeError(
            f"images have shape {shape}; (N, C, H, W) is expected. This looks channels-last and unbatched, "
            "as Pillow and matplotlib hold one picture. Fix: x.permute(2, 0, 1)[None]."
        )
    if x.ndim in (2, 3):
        raise ShapeError(
            f"images have shape {shape}; (N, C, H, W) is expected. Usually one image was taken out of a "
            f"batch. Fix: add a batch dimension: {'x[None]' if x.ndim == 3 else 'x[None, None]'}."
        )
    if x.ndim != 4:
        raise ShapeError(
            f"images have shape {shape}; (N, C, H, W) is expected. Usually they were flattened or stacked "
            "twice. Fix: x.reshape(N, C, H, W) with the sizes of your images."
        )
    if x.numel() == 0:
        raise DataError(
            f"empty batch: images have shape {shape}; at least one image of one pixel is expected, a mean "
            "over none is NaN. Usually an index or a filter selected nothing. Fix: skip empty selections, or "
            "drop the last batch."
        )
    _check_channels(shape, channels)


def _check_channels(shape: tuple[int, ...], channels: int | None) -> None:
    expected = _CHANNEL_COUNTS if channels is None else (channels,)
    if shape[1] in expected:
        return
    if shape[-1] in expected:
        raise ShapeError(
            f"images have shape {shape}; (N, C, H, W) is expected. This looks channels-last, as numpy and "
            "Pillow store images. Fix: x.permute(0, 3, 1, 2)."
        )
    if channels is None:
        return  # a latent or another stack of maps: any C is legal where the model names none
    causes = {
        (3, 1): ("greyscale images?", "x.expand(-1, 3, -1, -1)"),
        (1, 3): ("colour images?", "x.mean(1, keepdim=True)"),
        (3, 4): ("an alpha channel?", "x[:, :3]"),
    }
    other = ("another data set?", f"a model built for {shape[1]} channels")
    cause, fix = causes.get((channels, shape[1]), other)
    raise ShapeError(
        f"model expects {channels} channel{'s' if channels != 1 else ''}, got {shape[1]} in images of shape "
        f"{shape} ({cause}). Fix: {fix}."
    )


def _check_finite(x: Tensor) -> None:
    bad = (~x.isfinite()).flatten(1).any(1)
    if bool(bad.any()):
        where = bad.nonzero().flatten().tolist()
        raise DataError(
            f"NaN or infinity in {len(where)} of {len(x)} images, first at index {where[0]} of the batch; "
            "all values must be finite. Usually a division by a zero spread, or a diverged model that made "
            f"the images. Fix: inspect x[{where[0]}] and the file or step it came from."
        )


def _check_span(x: Tensor) -> None:
    low, high = (float(v) for v in x.aminmax())
    span = f"images span [{low:.4g}, {high:.4g}], expected [-1, 1]"
    if low >= 0 and high > 2:
        raise DataError(
            f"{span}. Usually grey levels 0..255 were turned into floats without scaling. "
            "Fix: x = data.to_model_range(x.to(torch.uint8))."
        )
    if low < -1 - _OVERSHOOT or high > 1 + _OVERSHOOT:
        raise DataError(
            f"{span}. Usually they were divided by a mean and spread of another convention, or a resize "
            "overshot. Fix: start from the stored uint8 image and data.to_model_range, or x.clamp(-1, 1) for "
            "a small overshoot."
        )
    if low == high and x.numel() > len(x):
        blank = f"every value of the batch is {low:.4g}: are the images blank? Fix: look at them."
        warnings.warn(blank, DataWarning, stacklevel=3)
    elif low >= 0:
        warnings.warn(
            f"{span}: no value is below 0. Usually images in 0..1 (torchvision's ToTensor) were not scaled. "
            "Fix: x = 2 * x - 1.",
            DataWarning,
            stacklevel=3,
        )
