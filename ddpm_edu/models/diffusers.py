"""The same weights here and in diffusers' UNet2DModel: published DDPM checkpoints load, and ours can be used there.

Only names and shapes change: a convolution of one pixel here is a linear layer there. diffusers itself is not imported.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ddpm_edu.errors import ConfigError, DataError
from ddpm_edu.models.config import UNetConfig
from ddpm_edu.models.unet import UNet

# What the tensors do not tell, as in the published DDPM checkpoints (google/ddpm-cifar10-32 and its siblings).
DDPM_SETTINGS: dict[str, Any] = {
    "norm_num_groups": 32,
    "norm_eps": 1e-6,
    "attention_head_dim": None,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "resnet_time_scale_shift": "default",
    "dropout": 0.0,
}
# What changes the result and leaves no trace in the tensors: the values that this package has a U-Net for.
_KNOWN: dict[str, tuple[Any, ...]] = {
    "act_fn": ("silu", "swish"),
    "center_input_sample": (False,),
    "class_embed_type": (None,),
    "downsample_padding": (0, 1),
    "mid_block_scale_factor": (1,),
    "resnet_time_scale_shift": ("default", "scale_shift"),
    "time_embedding_type": ("positional",),
}
# Checkpoints from before 2023 call the parts of attention by other names.
_OLD = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
_RES = {
    "norm1": "norm1",
    "conv1": "conv1",
    "told.linear": "time_emb_proj",
    "told.norm": "norm2",
    "conv2": "conv2",
    "shortcut": "conv_shortcut",
}
_ATTEND = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "project": "to_out.0"}


def from_diffusers(state: Mapping[str, Tensor], config: Mapping[str, Any] | None = None) -> UNet:
    """A U-Net with the weights of a UNet2DModel, in eval mode; DDPM's count times from 0: denoiser(..., first_t=0).

    ``state``: its ``state_dict()``. ``config``: its configuration (config.json); what it leaves out, or all of it where
    it is None, is taken as in the published DDPM checkpoints. The last row of a class embedding is taken for "no
    label". Raises ConfigError for a kind of network that this package has no U-Net for, DataError for tensors that
    are missing or left over.
    """
    state = {_renamed(key): tensor for key, tensor in state.items()}
    net = UNet(_our_config(state, {**DDPM_SETTINGS, **(config or {})}))
    own, found = net.state_dict(), {}
    for ours, theirs in _names(net.config):
        if theirs not in state:
            raise DataError(f"there is no tensor {theirs}. Usual cause: another kind of network, or half a checkpoint.")
        given, wanted = state[theirs].shape, own[ours].shape
        if given not in (wanted, wanted[:2]) or given.numel() != wanted.numel():
            raise DataError(f"{theirs} is {tuple(given)}, and {tuple(wanted)} is needed.")
        found[ours] = state.pop(theirs).reshape(own[ours].shape)
    if state:
        raise DataError(
            f"{len(state)} tensors are left over, the first is {next(iter(state))}: another kind of network."
        )
    net.load_state_dict(found)
    return net.eval()


def to_diffusers(net: UNet) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(config, state): ``UNet2DModel(**config).load_state_dict(state)`` is then the same network.

    Raises ConfigError where diffusers has none like it: patches, tokens, resampling inside blocks, several heads whose
    width differs by level.
    """
    config = _their_config(net.config)
    own, found = net.state_dict(), {}
    for ours, theirs in _names(net.config):
        linear = ".attentions." in theirs and own[ours].ndim == 4
        found[theirs] = own[ours].flatten(1).clone() if linear else own[ours].clone()
    return config, found


# ---------------------------------------------------------------- names


def _names(config: UNetConfig) -> Iterator[tuple[str, str]]:
    """(name here, name there) of every tensor."""
    for ours, theirs, kinds in _parts(config):
        for kind in kinds:
            yield f"{ours}.{kind}", f"{theirs}.{kind}"


def _parts(config: UNetConfig) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(layer here, layer there, its tensors)."""
    both = ("weight", "bias")
    for ours, theirs in (("told.first", "time_embedding.linear_1"), ("told.second", "time_embedding.linear_2")):
        yield ours, theirs, both
    if config.classes is not None:
        yield "told.label", "class_embedding", ("weight",)
    for ours, theirs in (("stem", "conv_in"), ("norm", "conv_norm_out"), ("head", "conv_out")):
        yield ours, theirs, both
    with torch.device("meta"):  # the layers that there are, without their numbers
        layers = {name.rpartition(".")[0] for name, _ in UNet(config).named_parameters()}
    for ours in sorted(layers):
        inside = _their_layer(ours)
        if inside is not None:
            yield ours, inside, both


def _their_layer(ours: str) -> str | None:
    """The name there of a layer inside a level or the middle; None for one that is elsewhere."""
    if found := re.fullmatch(r"(down|up)\.(\d+)\.blocks\.(\d+)\.(res|attend)\.(.+)", ours):
        way, level, i, kind, layer = found.groups()
        return f"{way}_blocks.{level}.{_inside(kind, i, layer)}"
    if found := re.fullmatch(r"middle\.(\d+)\.(res|attend)\.(.+)", ours):
        i, kind, layer = found.groups()
        return f"mid_block.{_inside(kind, i, layer)}"
    if found := re.fullmatch(r"(down|up)\.(\d+)\.(shrink|grow)\.resampler\.conv", ours):
        return f"{found[1]}_blocks.{found[2]}.{found[1]}samplers.0.conv"
    return None


def _inside(kind: str, i: str, layer: str) -> str:
    return f"resnets.{i}.{_RES[layer]}" if kind == "res" else f"attentions.{i}.{_ATTEND[layer]}"


def _renamed(key: str) -> str:
    for old, new in _OLD.items():
        key = key.replace(old, new)
    return key


# ---------------------------------------------------------------- configurations


def _our_config(state: Mapping[str, Tensor], theirs: Mapping[str, Any]) -> UNetConfig:
    """Widths, blocks and attention from the tensors, the rest from their configuration."""
    widths = [tensor.shape[0] for key, tensor in _sorted(state, r"down_blocks\.\d+\.resnets\.0\.conv1\.weight")]
    if not widths or "conv_in.weight" not in state:
        raise DataError("these are not the tensors of a UNet2DModel: down_blocks or conv_in is missing.")
    base = state["conv_in.weight"].shape[0]
    if any(width % base for width in widths):
        raise ConfigError(f"the levels have {widths} channels, which are no multiples of the first layer's {base}.")
    _refuse_unknown(state, theirs)
    head_width, labels = theirs["attention_head_dim"], state.get("class_embedding.weight")
    out = state["conv_out.weight"].shape[0]
    return UNetConfig(
        channels=state["conv_in.weight"].shape[1],
        out_channels=None if out == state["conv_in.weight"].shape[1] else out,
        width=base,
        multipliers=tuple(width // base for width in widths),
        blocks=len(_sorted(state, r"down_blocks\.0\.resnets\.\d+\.conv1\.weight")),
        attention=tuple(
            int(key.split(".")[1]) for key, _ in _sorted(state, r"down_blocks\.\d+\.attentions\.0\.to_q\.weight")
        ),
        heads=1 if head_width is None else None,
        head_width=head_width,
        dropout=theirs["dropout"],
        told="scale_shift" if theirs["resnet_time_scale_shift"] == "scale_shift" else "add",
        sinusoid="adm" if theirs["flip_sin_to_cos"] else "ddpm",
        resample="padded" if theirs["downsample_padding"] == 1 else "down_right",
        groups=theirs["norm_num_groups"],
        eps=theirs["norm_eps"],
        classes=None if labels is None else labels.shape[0] - 1,
    )


def _refuse_unknown(state: Mapping[str, Tensor], theirs: Mapping[str, Any]) -> None:
    waves = (theirs["flip_sin_to_cos"], theirs["freq_shift"])
    if waves not in ((False, 1), (True, 0)):
        raise ConfigError(
            f"flip_sin_to_cos, freq_shift = {waves}: there are (False, 1), DDPM's order, and (True, 0), ADM's."
        )
    if any(".downsamplers.0.conv1." in key for key in state):
        raise ConfigError("this network resamples inside residual blocks in diffusers' way, which is not read here.")
    for name, known in {**_KNOWN, "attn_norm_num_groups": (None, theirs["norm_num_groups"])}.items():
        if theirs.get(name, known[0]) not in known:
            raise ConfigError(f"{name}={theirs[name]!r} is not read here, only {' or '.join(map(repr, known))}.")


def _sorted(state: Mapping[str, Tensor], pattern: str) -> list[tuple[str, Tensor]]:
    found = [(key, tensor) for key, tensor in state.items() if re.fullmatch(pattern, key)]
    return sorted(found, key=lambda item: [int(number) for number in re.findall(r"\d+", item[0])])


def _their_config(config: UNetConfig) -> dict[str, Any]:
    many_heads = config.heads not in (None, 1) and len(set(config.multipliers)) > 1
    strange = {
        "patch": config.patch > 1,
        "tokens": config.tokens is not None,
        "extra_channels": config.extra_channels > 0,
        "resample": config.resample == "in_block",
        "heads": many_heads,
    }
    if wrong := [name for name, is_strange in strange.items() if is_strange]:
        raise ConfigError(f"UNet2DModel has nothing like {wrong[0]}={getattr(config, wrong[0])!r}.")
    widths = [config.width_at(level) for level in range(config.levels)]
    attends = [level in config.attention for level in range(config.levels)]
    head_width = config.head_width if config.heads is None else widths[-1] // config.heads
    return {
        "in_channels": config.channels,
        "out_channels": config.outputs,
        "block_out_channels": tuple(widths),
        "layers_per_block": config.blocks,
        "down_block_types": tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
        "up_block_types": tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
        "attention_head_dim": None if config.heads == 1 else head_width,
        "norm_num_groups": config.groups,
        "attn_norm_num_groups": config.groups,  # else the middle has no norm there under "scale_shift"
        "norm_eps": config.eps,
        "dropout": config.dropout,
        "downsample_padding": 1 if config.resample == "padded" else 0,
        "flip_sin_to_cos": config.sinusoid == "adm",
        "freq_shift": 0 if config.sinusoid == "adm" else 1,
        "resnet_time_scale_shift": "scale_shift" if config.told == "scale_shift" else "default",
        **({} if config.classes is None else {"num_class_embeds": config.classes + 1}),
    }
