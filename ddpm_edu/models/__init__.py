"""Networks. They know nothing of diffusion but t: ``net(x_t, t, **condition) -> tensor``, t int64 (N,)."""

from ddpm_edu.models.config import UNetConfig
from ddpm_edu.models.embeddings import sinusoidal, sinusoidal_adm
from ddpm_edu.models.mlp import MLP
from ddpm_edu.models.named import (
    ADM_IMAGENET64,
    ADM_IMAGENET128,
    ADM_IMAGENET256,
    CIFAR10,
    DIGITS,
    FASHION,
    IMPROVED_CIFAR10,
    IMPROVED_IMAGENET64,
    unet_adm_imagenet64,
    unet_adm_imagenet128,
    unet_adm_imagenet256,
    unet_cifar10,
    unet_digits,
    unet_fashion,
    unet_improved_cifar10,
    unet_improved_imagenet64,
)
from ddpm_edu.models.pretrained import load, save
from ddpm_edu.models.unet import UNet

__all__ = [
    "ADM_IMAGENET64",
    "ADM_IMAGENET128",
    "ADM_IMAGENET256",
    "CIFAR10",
    "DIGITS",
    "FASHION",
    "IMPROVED_CIFAR10",
    "IMPROVED_IMAGENET64",
    "MLP",
    "UNet",
    "UNetConfig",
    "load",
    "save",
    "sinusoidal",
    "sinusoidal_adm",
    "unet_adm_imagenet64",
    "unet_adm_imagenet128",
    "unet_adm_imagenet256",
    "unet_cifar10",
    "unet_digits",
    "unet_fashion",
    "unet_improved_cifar10",
    "unet_improved_imagenet64",
]
