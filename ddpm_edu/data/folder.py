"""A folder of the user's own images, read into memory at one size."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ddpm_edu.data.base import ImageSet
from ddpm_edu.errors import DataError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")  # by content: a renamed PostScript file stays shut
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
MAX_PIXELS = 64_000_000  # a small file can announce billions of pixels; a large camera has some 50 million


def stop_at_bad_image(error: DataError) -> None:
    """The default for ``on_bad``: raise the error of the first image that cannot be used."""
    raise error


def folder(
    path: Path | str,
    size: int,
    channels: Literal[1, 3] = 3,
    on_bad: Callable[[DataError], None] = stop_at_bad_image,
) -> ImageSet:
    """All images below ``path``, cropped at the centre to a square and resized (Lanczos) to ``size`` x ``size``.

    Result: images uint8 (N, channels, size, size) in the order of their paths. Where every image lies in a
    sub-folder, the sub-folders' names are the classes; otherwise there are no labels. Photographs are turned
    as their camera says; what is transparent becomes white.

    ``on_bad`` receives a DataError, which names the file, for each image that is corrupt, CMYK, 16-bit,
    animated or too large. If it returns, the image is left out: ``problems = []; folder(path, 64,
    on_bad=problems.append)`` skips and collects. Raises DataError where the path is no folder or no usable
    image is left.
    """
    root = Path(path)
    _check_size(size, channels)
    files = _image_files(root)
    kept: list[tuple[Path, Tensor]] = []
    for file in files:
        try:
            kept.append((file, load_image(file, size, channels)))
        except DataError as error:
            on_bad(error)
    if not kept:
        raise DataError(
            f"0 usable images in {root}: all {len(files)} were refused. Usually they share one unsupported "
            "kind, such as CMYK. Fix: leave on_bad out to see the first reason."
        )
    classes, labels = _labels(root, [file for file, _ in kept])
    return ImageSet(root.name or str(root), torch.stack([image for _, image in kept]), labels, classes)


def load_image(file: Path, size: int, channels: Literal[1, 3] = 3) -> Tensor:
    """One image file as uint8 (channels, size, size): centre crop, Lanczos. DataErrors name the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS is stricter
            with Image.open(file, formats=_FORMATS) as image:
                _check_kind(file, image)
                return _to_square(image, size, channels)
    except DataError:
        raise
    except Exception as error:  # a damaged file can raise anything, from SyntaxError to struct.error
        raise DataError(
            f"{file}: cannot be decoded ({type(error).__name__}: {error}). Usually the file is cut short, "
            "damaged, or not an image. Fix: remove it, or skip it with on_bad=problems.append."
        ) from error


def _check_size(size: int, channels: int) -> None:
    if not isinstance(size, int) or size < 1:
        raise DataError(f"size={size!r}; it must be an integer >= 1, in pixels. Fix: size=32 or size=64.")
    if channels not in (1, 3):
        raise DataError(
            f"channels={channels!r}; 1 (grey) or 3 (colour) is possible. Usually alpha was to be kept; it is "
            "not supported. Fix: channels=3."
        )


def _image_files(root: Path) -> list[Path]:
    if not root.is_dir():
        raise DataError(
            f"{root} is not a folder. Usually the path is mistyped or relative to another place "
            f"(this is {Path.cwd()}). Fix: give the full path of a folder with images."
        )
    files = [
        file
        for file in sorted(root.rglob("*"))
        if file.suffix.lower() in SUFFIXES
        and file.is_file()
        # hidden: thumbnails, and the ._ files that macOS leaves beside real ones
        and not any(part.startswith(".") for part in file.relative_to(root).parts)
    ]
    if not files:
        raise DataError(
            f"0 images found in {root}; looked for {', '.join(SUFFIXES)} in it and in its sub-folders. "
            "Usually the path is one folder off, or the images are of another kind. Fix: check the path, or "
            "convert to .png."
        )
    return files


def _labels(root: Path, files: list[Path]) -> tuple[tuple[str, ...], Tensor | None]:
    parts = [file.relative_to(root).parts for file in files]
    if any(len(part) == 1 for part in parts):
        return (), None
    classes = sorted({part[0] for part in parts})
    return tuple(classes), torch.tensor([classes.index(part[0]) for part in parts])


def _check_kind(file: Path, image: Image.Image) -> None:
    """Refuse what would convert wrongly or without end; only the file's header has been read so far."""
    if image.width * image.height > MAX_PIXELS:
        raise DataError(
            f"{file}: {image.width}x{image.height} pixels, at most {MAX_PIXELS} are accepted. Usually a "
            "scan, or a decompression bomb. Fix: make it smaller in an image editor, or skip it with "
            "on_bad=problems.append."
        )
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise DataError(
            f"{file}: animated or many pages ({frames}); single images are accepted. Usually a GIF. "
            "Fix: save one frame as .png, or skip it with on_bad=problems.append."
        )
    # A 16-bit RGB file decodes to mode RGB, its lower bytes thrown away; only the decoder's recipe tells.
    deep = ";16" in image.mode + str(getattr(image, "tile", ""))
    if deep or image.mode not in _MODES:
        raise DataError(
            f"{file}: {'16-bit' if deep else image.mode} image; 8-bit grey or RGB is accepted. Usually made for "
            "print (CMYK) or by an instrument (16-bit); a silent conversion would change its values. Fix: "
            "convert it to 8-bit RGB in an image editor, or skip it with on_bad=problems.append."
        )


def _to_square(image: Image.Image, size: int, channels: int) -> Tensor:
    rgba = ImageOps.exif_transpose(image).convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    flat = Image.alpha_composite(white, rgba).convert("L" if channels == 1 else "RGB")
    square = ImageOps.fit(flat, (size, size), method=Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.array(square, dtype=np.uint8))
    return pixels[None] if channels == 1 else pixels.permute(2, 0, 1).contiguous()
