"""Checks of notebook 04, each where its oracle is: the time, attention, what is counted, and a block to mend."""

from ddpm_edu.exercises.unet_attention import attention
from ddpm_edu.exercises.unet_bugs import mended_block
from ddpm_edu.exercises.unet_counts import best_checkpoints, block_parameters, receptive_field
from ddpm_edu.exercises.unet_time import scale_shift, tell_time, time_embedding

__all__ = [
    "attention",
    "best_checkpoints",
    "block_parameters",
    "mended_block",
    "receptive_field",
    "scale_shift",
    "tell_time",
    "time_embedding",
]
