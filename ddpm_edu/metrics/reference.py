"""What is asked of a reference set again and again, kept in a file: its features, and their moments.

Files are found by what they were computed from, never by a name: the sha256 of the images' bytes, of the extractor's
weights and of its version. Two sets called "test" are two files; weights that were trained on are others. A file tells
the hash of its own content, which is checked when it is read: a damaged one is computed anew, with a warning
(DataWarning). It is safetensors, numbers only, in the user's cache folder or under $DDPM_EDU_DATA, and may be deleted
at any time. Each writer fills a file of its own and then renames it, so many at once do no harm; where nothing can be
written, all is computed each time.
"""

import contextlib
import hashlib
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ddpm_edu import __version__
from ddpm_edu.data.download import cache_folder
from ddpm_edu.errors import DataWarning
from ddpm_edu.metrics import frechet
from ddpm_edu.metrics.frechet import Moments

FORMAT = 1  # of the files: one more where their content changes its meaning


class Extractor(Protocol):
    """What makes features: of ``metrics.features``, ``metrics.inception``, or one's own."""

    @property
    def net(self) -> nn.Module:
        """All that the features depend on beside the class: it is hashed."""

    def features(self, images: Tensor) -> Tensor:
        """Of images (N, C, H, W) as this extractor takes them, (N, D)."""


def features(images: Tensor, extractor: Extractor, folder: Path | None = None) -> Tensor:
    """``extractor.features(images)`` (N, D), computed once for these images and this extractor.

    ``folder``: None for the user's cache folder. Raises what the extractor raises.
    """
    name, folder = f"features-{_key(images, extractor)}", _folder(folder)
    kept = _read(folder, name, ("features",))
    if kept is None:
        kept = {"features": extractor.features(images).cpu()}
        _write(folder, name, kept)
    return kept["features"]


def moments(images: Tensor, extractor: Extractor, folder: Path | None = None) -> Moments:
    """Mean and covariance of the features, float64, computed once: of many images far smaller than the features are.

    As :func:`ddpm_edu.metrics.moments` of :func:`features`, which it neither reads nor keeps. Raises what these raise.
    """
    name, folder = f"moments-{_key(images, extractor)}", _folder(folder)
    kept = _read(folder, name, Moments._fields)
    if kept is None:
        kept = frechet.moments(extractor.features(images))._asdict()
        _write(folder, name, kept)
    return Moments(**kept)


def content_hash(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names, dtypes, shapes and bytes, in the order of the names: 64 hexadecimal digits."""
    content = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        content.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        content.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return content.hexdigest()


def _key(images: Tensor, extractor: Extractor) -> str:
    kind = type(extractor)
    version = f"{kind.__module__}.{kind.__qualname__}, ddpm_edu {__version__}, format {FORMAT}"
    parts = (content_hash({"images": images}), content_hash(extractor.net.state_dict()), version)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _folder(given: Path | None) -> Path:
    return cache_folder("reference") if given is None else given


def _read(folder: Path, name: str, wanted: tuple[str, ...]) -> dict[str, Tensor] | None:
    """The ``wanted`` tensors of the file ``name``; None where there is none, or with a warning, where it is damaged."""
    path = folder / f"{name}.safetensors"
    try:
        if not path.exists():
            return None
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 (no mapping)
        problem = "its content is not what it was"
    except (OSError, SafetensorError) as cause:
        about, tensors, problem = {}, {}, str(cause)
    if about.get("name") == name and about.get("sha256") == content_hash(tensors) and tensors.keys() == {*wanted}:
        return tensors
    warnings.warn(
        f"{path} cannot be used ({problem}) and is computed anew. Usual cause: a failing disk, or another program that "
        "wrote there. Fix: none is needed; where this comes again, delete the file.",
        DataWarning,
        stacklevel=3,
    )
    return None


def _write(folder: Path, name: str, tensors: dict[str, Tensor]) -> None:
    """Whole or not at all, and silently not at all: a cache is no reason to stop."""
    content = save(tensors, {"name": name, "sha256": content_hash(tensors)})
    part = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{name[:16]}-", suffix=".part", delete=False) as file:
            part = Path(file.name)
            file.write(content)
        part.chmod(0o644)  # a temporary file is for its owner alone, a cache folder may be for many
        part.replace(folder / f"{name}.safetensors")
    except OSError:
        pass
    finally:
        if part is not None:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
