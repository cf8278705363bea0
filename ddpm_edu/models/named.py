"""The networks of the papers, and small ones for a laptop, by name. Each returns an untrained :class:`UNet`.

All settings are read from the papers' code; the counts of parameters are held by tests.
"""

from dataclasses import replace

from ddpm_edu.models.config import UNetConfig
from ddpm_edu.models.unet import UNet

CIFAR10 = UNetConfig()
IMPROVED_CIFAR10 = UNetConfig(
    out_channels=6,
    blocks=3,
    attention=(1, 2),
    heads=4,
    dropout=0.3,
    told="scale_shift",
    sinusoid="adm",
    resample="padded",
    eps=1e-5,
    T=4000,
)
IMPROVED_IMAGENET64 = replace(IMPROVED_CIFAR10, multipliers=(1, 2, 3, 4), attention=(2, 3), dropout=0.0)
ADM_IMAGENET256 = UNetConfig(
    out_channels=6,
    width=256,
    multipliers=(1, 1, 2, 2, 4, 4),
    attention=(3, 4, 5),
    heads=None,
    head_width=64,
    dropout=0.0,
    told="scale_shift",
    sinusoid="adm",
    resample="in_block",
    eps=1e-5,
    classes=1000,
)
ADM_IMAGENET128 = replace(ADM_IMAGENET256, multipliers=(1, 1, 2, 3, 4), attention=(2, 3, 4), heads=4, head_width=None)
ADM_IMAGENET64 = replace(
    ADM_IMAGENET256, width=192, blocks=3, multipliers=(1, 2, 3, 4), attention=(1, 2, 3), dropout=0.1
)
DIGITS = UNetConfig(channels=1, width=32, multipliers=(1, 2), blocks=1, groups=8, classes=10)
FASHION = replace(DIGITS, patch=2, dropout=0.0)


def unet_cifar10(out_channels: int = 3) -> UNet:
    """DDPM's network for CIFAR-10: 35,746,307 parameters (35,749,766 with 6 channels out). Ho et al. 2020, app. B."""
    return UNet(replace(CIFAR10, out_channels=out_channels))


def unet_improved_cifar10() -> UNet:
    """Improved DDPM's network for CIFAR-10: 52,546,438 parameters, with a learned variance. Nichol & Dhariwal 2021."""
    return UNet(IMPROVED_CIFAR10)


def unet_improved_imagenet64() -> UNet:
    """Improved DDPM's network for ImageNet at 64 pixels: 121,063,942 parameters."""
    return UNet(IMPROVED_IMAGENET64)


def unet_adm_imagenet64() -> UNet:
    """ADM's network for ImageNet at 64 pixels, class-conditional: 296 million parameters. Dhariwal & Nichol 2021."""
    return UNet(ADM_IMAGENET64)


def unet_adm_imagenet128() -> UNet:
    """ADM's network for ImageNet at 128 pixels, class-conditional: 422 million parameters."""
    return UNet(ADM_IMAGENET128)


def unet_adm_imagenet256() -> UNet:
    """ADM's network for ImageNet at 256 pixels, class-conditional: 554 million parameters."""
    return UNet(ADM_IMAGENET256)


def unet_digits() -> UNet:
    """For the 8x8 digits with their ten classes: 702,753 parameters; a CPU trains it in minutes."""
    return UNet(DIGITS)


def unet_fashion() -> UNet:
    """For Fashion-MNIST (28x28, ten classes): 704,484 parameters. It sees 2x2 patches: a CPU trains it in minutes."""
    return UNet(FASHION)
