"""FID itself, with the features of the Inception network, as published numbers are: pip install ddpm-edu[fid].

The network comes from torch-fidelity, whose features equal those of the first FID code (TensorFlow's) to rounding, its
way of resizing included; torchmetrics would be a second layer around the same package. Its weights, 96 MB, are
downloaded when first asked for, held to their sha256, and read without running anything in them.

This module is a thin layer, and our tests see it with a stand-in for the network only: they have not run it with the
real weights, which are too large to carry. So hold your first number to a published one.

A FID is of 50,000 samples, mostly, against the moments of one training set; with fewer it is larger (see
``metrics.floor``). Source: Heusel et al. 2017.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ddpm_edu.data.download import RemoteFile, cache_folder, fetch_file
from ddpm_edu.errors import ConfigError, ShapeError
from ddpm_edu.metrics import reference
from ddpm_edu.metrics.frechet import frechet_distance_of, moments

WEIGHTS = RemoteFile(
    "weights-inception-2015-12-05-6726825d.pth",
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    100 * 2**20,
    (
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    ),
)
LAYER = "2048"  # the last before the classes, averaged over places


@dataclass(frozen=True, eq=False)
class Inception:
    """The Inception network as a measuring device for images as they are stored.

    ``net`` takes uint8 (N, 3, H, W), resizes them itself to 299x299, and returns a tuple with the features (N, 2048).
    """

    net: nn.Module
    batch_size: int = 50

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Float32 (N, 2048) on the CPU, of uint8 (N, 1 or 3, H, W); grey is repeated to three channels.

        Raises ShapeError for other images.
        """
        if not isinstance(images, Tensor) or images.dtype != torch.uint8 or images.ndim != 4 or not len(images):
            given = f"{images.dtype} {tuple(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
            raise ShapeError(
                f"the Inception network takes uint8 (N, 1 or 3, H, W), N >= 1, got {given}. Usual cause: images in "
                "[-1, 1]. Fix: data.to_uint8(images)."
            )
        if images.shape[1] not in (1, 3):
            raise ShapeError(
                f"images have {images.shape[1]} channels; 1 (grey) or 3 (colour) are needed. Usual cause: channels "
                "behind, or transparency. Fix: images.permute(0, 3, 1, 2), images[:, :3]."
            )
        place = next(self.net.parameters()).device
        batches = images.expand(-1, 3, -1, -1).split(self.batch_size)
        return torch.cat([self.net(batch.contiguous().to(place))[0].float().cpu() for batch in batches])


def load(weights: Path | None = None, device: torch.device | str = "cpu") -> Inception:
    """The network with its weights, eval mode; ``weights``: None to download them once to the user's cache folder.

    Raises ConfigError where torch-fidelity is not installed, DataError where the weights cannot be fetched.
    """
    try:
        package = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    except ImportError as cause:
        raise ConfigError(
            f"FID needs the Inception network of torch-fidelity, which does not import here ({cause}). Usual cause: "
            "the extra is not installed. Fix: pip install 'ddpm-edu[fid]', with a torchvision that fits your torch; "
            "without it, metrics.features.load has features for digits and Fashion-MNIST."
        ) from cause
    path = fetch_file(WEIGHTS, cache_folder("inception")) if weights is None else weights
    # A path, for two reasons: its own download checks no hash, and torch reads a path as weights_only by itself.
    net = package.FeatureExtractorInceptionV3("inception-v3-compat", [LAYER], str(path))
    return Inception(net.to(device).eval())


def fid(images: Tensor, real: Tensor, extractor: reference.Extractor, folder: Path | None = None) -> float:
    """The FID of ``images`` (N, C, H, W) from ``real`` (M, C, H, W), uint8 both; ``extractor`` from :func:`load`.

    The moments of ``real`` are kept, in ``folder`` or the user's cache folder: see ``metrics.reference``. State N, M
    and the split of the real images with the number. Raises as :meth:`Inception.features` and ``frechet_distance``.
    """
    own = moments(extractor.features(images))
    return frechet_distance_of(*own, *reference.moments(real, extractor, folder))
