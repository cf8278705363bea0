"""Mistakes about networks: embeddings, attention, blocks, resampling, checkpointing, and labels in training."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils import checkpoint as torchs

from ddpm_edu.models import (
    attention,
    checkpointing,
    diffusers,
    embeddings,
    initial,
    resample,
    summary,
)
from ddpm_edu.training.randomness import generator
from tests.models import (
    test_attention,
    test_checkpointing,
    test_diffusers,
    test_embeddings,
    test_inputs,
    test_resample,
    test_resblock,
    test_summary,
    test_unet,
)
from tests.mutants import Mutant
from tests.training import test_fit

# ---------------------------------------------------------------- the time, the label

SINUSOIDAL, CONDITION = "ddpm_edu.models.sinusoidal", embeddings.Condition.forward


def waves(t, dim, divisor):
    angles = t[:, None].float() * 10_000 ** (-torch.arange(dim // 2) / divisor)
    return angles.sin(), angles.cos()


def over_rows(t, dim):
    """dataflowr, module 18, before 2023: waves along the batch; the rows of a table, not its columns."""
    table = t[:, None].float() * 10_000 ** (-torch.arange(dim // 2) / (dim // 2 - 1)).repeat(2)
    table[0::2] = table[0::2].sin()
    table[1::2] = table[1::2].flip(0).cos()
    return table


EMBEDDINGS = (
    Mutant(
        "the cosines come first, as in another code",
        SINUSOIDAL,
        lambda t, dim: torch.cat(waves(t, dim, dim // 2 - 1)[::-1], 1),
        (
            test_embeddings.test_values_by_hand,
            test_embeddings.test_time_0_is_zeros_and_ones,
            test_embeddings.test_a_column_is_one_wave_along_the_times,
        ),
    ),
    Mutant(
        "frequencies fall by half of dim, as in another code",
        SINUSOIDAL,
        lambda t, dim: torch.cat(waves(t, dim, dim // 2), 1),
        (test_embeddings.test_values_by_hand, test_embeddings.test_a_column_is_one_wave_along_the_times),
    ),
    Mutant(
        "sines and cosines take turns, column by column",
        SINUSOIDAL,
        lambda t, dim: torch.stack(waves(t, dim, dim // 2 - 1), 2).flatten(1),
        (test_embeddings.test_time_0_is_zeros_and_ones, test_embeddings.test_a_column_is_one_wave_along_the_times),
    ),
    Mutant(
        "stacked along the batch and reshaped: each row holds two times",
        SINUSOIDAL,
        lambda t, dim: torch.stack(waves(t, dim, dim // 2 - 1)).reshape(len(t), dim),
        (
            test_embeddings.test_a_column_is_one_wave_along_the_times,
            test_embeddings.test_a_time_looks_the_same_in_every_batch,
            test_embeddings.test_neighbours_in_time_are_neighbours,
        ),
    ),
    Mutant(
        "sine for even rows and cosine for odd ones, in turned order",
        SINUSOIDAL,
        over_rows,
        (
            test_embeddings.test_inner_products_depend_on_the_difference_alone,
            test_embeddings.test_a_column_is_one_wave_along_the_times,
            test_embeddings.test_a_time_looks_the_same_in_every_batch,
            test_embeddings.test_neighbours_in_time_are_neighbours,
        ),
    ),
    Mutant(
        "frequencies rise with k in place of falling",
        SINUSOIDAL,
        lambda t, dim: torch.cat([part.flip(1) for part in waves(t, dim, dim // 2 - 1)], 1),
        (test_embeddings.test_values_by_hand, test_embeddings.test_a_column_is_one_wave_along_the_times),
    ),
    Mutant(
        "ADM's waves in DDPM's order",
        "ddpm_edu.models.sinusoidal_adm",
        lambda t, dim: torch.cat(waves(t, dim, dim // 2), 1),
        (test_embeddings.test_values_by_hand_as_adm_has_them, test_embeddings.test_time_0_is_zeros_and_ones),
    ),
    Mutant(
        "the label does not reach the network",
        "ddpm_edu.models.embeddings.Condition.forward",
        lambda self, t, labels: CONDITION(self, t, None),
        (test_embeddings.test_a_label_adds_its_vector, test_unet.test_each_image_is_at_its_own_time_and_label),
    ),
    Mutant(
        "all images are at the first one's time",
        "ddpm_edu.models.embeddings.Condition.forward",
        lambda self, t, labels: CONDITION(self, t[:1].expand_as(t), labels),
        (
            test_unet.test_each_image_is_at_its_own_time_and_label,
            test_unet.test_an_image_does_not_depend_on_its_neighbours,
        ),
    ),
    Mutant(
        "t - 1 is embedded",
        "ddpm_edu.models.embeddings.Condition.forward",
        lambda self, t, labels: CONDITION(self, t - 1, labels),
        (test_embeddings.test_a_network_asks_for_the_sinusoid_that_its_configuration_names,),
    ),
)

# ---------------------------------------------------------------- attention

WEIGHTS = "ddpm_edu.models.attention.weights"
BY_HAND = (
    test_attention.test_attend_is_the_softmax_of_the_scaled_products,
    test_attention.test_self_attention_by_hand,
    test_attention.test_cross_attention_by_hand,
)


def keys_and_values_swapped(self, h, tokens):
    self.k, self.v = self.v, self.k
    try:
        return CROSS(self, h, tokens)
    finally:
        self.k, self.v = self.v, self.k


def tokens_ask(self, h, tokens):
    """Rombach's figure read the wrong way round: the text asks, the pixels answer, and the answers are averaged."""
    q = attention._to_heads(self.k(tokens), self.heads)
    k = attention._to_pixels(self.q(self.norm(h)), self.heads)
    said = (attention.weights(q, k) @ k).mean(2).flatten(1)
    return h + self.project(said[:, :, None, None].expand_as(h))


CROSS = attention.CrossAttention.forward

ATTENTION = (
    Mutant("the products are not scaled", WEIGHTS, lambda q, k: torch.softmax(q @ k.mT, -1), BY_HAND),
    Mutant(
        "the products are divided by d, not by its root",
        WEIGHTS,
        lambda q, k: torch.softmax(q @ k.mT / q.shape[-1], -1),
        (*BY_HAND, test_attention.test_both_ways_have_the_same_gradients),
    ),
    Mutant(
        "the softmax runs over the pixels that ask",
        WEIGHTS,
        lambda q, k: torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, -2),
        (*BY_HAND, test_attention.test_weights_are_shares, test_attention.test_attention_to_one_token_is_an_addition),
    ),
    Mutant(
        "the scale is that of all heads together",
        WEIGHTS,
        lambda q, k: torch.softmax(q @ k.mT * (q.shape[1] * q.shape[-1]) ** -0.5, -1),
        BY_HAND,
    ),
    Mutant(
        "heads are dealt channel by channel in place of block by block",
        "ddpm_edu.models.attention._to_pixels",
        lambda x, heads: x.reshape(len(x), x.shape[1] // heads, heads, -1).permute(0, 2, 3, 1),
        (test_attention.test_self_attention_by_hand,),
    ),
    Mutant(
        "the result is reshaped into an image without putting its channels first",
        "ddpm_edu.models.attention._to_image",
        lambda x, like: x.reshape(like.shape),
        (
            test_attention.test_self_attention_by_hand,
            test_attention.test_cross_attention_by_hand,
            test_attention.test_pixels_in_another_order_give_the_result_in_that_order,
        ),
    ),
    Mutant(
        "the shortcut around attention is forgotten",
        "ddpm_edu.models.attention.SelfAttention.forward",
        lambda self, h: self.project(attention._to_image(attention.attend(*self.queries_keys_values(h)), h)),
        (
            test_attention.test_attention_starts_as_if_it_were_not_there,
            test_attention.test_self_attention_by_hand,
        ),
    ),
    Mutant(
        "keys and values change places",
        "ddpm_edu.models.attention.CrossAttention.forward",
        keys_and_values_swapped,
        (
            test_attention.test_attention_to_one_token_is_an_addition,
            test_attention.test_cross_attention_by_hand,
        ),
    ),
    Mutant(
        "the text asks and the pixels answer",
        "ddpm_edu.models.attention.CrossAttention.forward",
        tokens_ask,
        (
            test_attention.test_attention_to_one_token_is_an_addition,
            test_attention.test_cross_attention_by_hand,
        ),
    ),
)

# ---------------------------------------------------------------- blocks


def resampled_first(self, x, told):
    h = self.conv1(F.silu(self.norm1(self.resample(x))))
    h = self.conv2(self.dropout(F.silu(self.told(h, told))))
    return self.shortcut(self.resample(x)) + h


def time_after_the_norm(self, h, told):
    return self.norm(h) + self.linear(F.silu(told))[:, :, None, None]


def scale_printed(self, h, told):
    w, b = self.linear(F.silu(told))[:, :, None, None].chunk(2, 1)
    return self.norm(h) * w + b


def shift_before_scale(self, h, told):
    b, w = self.linear(F.silu(told))[:, :, None, None].chunk(2, 1)
    return self.norm(h) * (1 + w) + b


def nearly_silent(layer):
    """DDPM's own code: uniform of scale 1e-10 in place of 0."""
    nn.init.normal_(layer.weight, std=1e-10**0.5)
    nn.init.zeros_(layer.bias)
    return layer


BLOCKS = (
    Mutant(
        "AdaGN as it is printed: w norm(h) + b without 1 +",
        "ddpm_edu.models.resblock.ScaleShift.forward",
        scale_printed,
        (
            test_resblock.test_with_both_zeros_at_the_start_conv2_can_learn,
            test_resblock.test_scale_and_shift_come_after_it,
        ),
    ),
    Mutant(
        "shift and scale read in the other order",
        "ddpm_edu.models.resblock.ScaleShift.forward",
        shift_before_scale,
        (test_resblock.test_scale_and_shift_come_after_it,),
    ),
    Mutant(
        "the time is added after the normalisation",
        "ddpm_edu.models.resblock.AddTime.forward",
        time_after_the_norm,
        (test_resblock.test_time_is_added_before_the_second_normalisation,),
    ),
    Mutant(
        "the embedding goes in without its SiLU",
        "ddpm_edu.models.resblock.AddTime.forward",
        lambda self, h, told: self.norm(h + self.linear(told)[:, :, None, None]),
        (test_resblock.test_time_is_added_before_the_second_normalisation,),
    ),
    Mutant(
        "a block changes size before it normalises",
        "ddpm_edu.models.resblock.ResBlock.forward",
        resampled_first,
        (test_resblock.test_both_branches_change_size_and_the_inner_one_after_its_activation,),
    ),
    Mutant(
        "the last layer of a branch starts like any other",
        "ddpm_edu.models.resblock.silent",
        initial.spread,
        (
            test_resblock.test_a_block_starts_as_its_shortcut,
            test_unet.test_every_block_of_an_untrained_network_is_its_shortcut,
            test_unet.test_a_fresh_network_has_ddpms_spread,
        ),
    ),
    Mutant(
        "the last layer of a branch starts at almost zero",
        "ddpm_edu.models.resblock.silent",
        nearly_silent,
        (test_resblock.test_a_block_starts_as_its_shortcut, test_unet.test_a_fresh_network_has_ddpms_spread),
    ),
    Mutant(
        "the network's last layer starts like any other",
        "ddpm_edu.models.unet.silent",
        initial.spread,
        (test_unet.test_an_untrained_network_says_zero_and_its_loss_is_that_of_the_noise,),
    ),
    Mutant(
        "layers start with torch's own spread",
        "ddpm_edu.models.resblock.spread",
        lambda layer: layer,
        (test_unet.test_a_fresh_network_has_ddpms_spread,),
    ),
)

# ---------------------------------------------------------------- resampling

FOUR, RIGHT = resample.four_kernels, resample.DownRightPadded.forward


def swapped(w):
    """Upper right and lower left change places."""
    return FOUR(w.transpose(2, 3)).transpose(2, 3)


def middle_to_the_wrong_side(w):
    first, middle, last = w.unbind(2)
    kernels = []
    for half in (torch.stack([first + middle, last], 2), torch.stack([first, middle + last], 2)):
        left, centre, right = half.unbind(3)
        kernels += [torch.stack([left + centre, right], 3), torch.stack([left, centre + right], 3)]
    return torch.cat(kernels)


def middle_halved(w):
    """As if the image were enlarged by interpolation between pixels."""
    first, middle, last = w.unbind(2)
    rows = torch.stack([first + middle / 2, middle / 2 + last], 2)
    left, centre, right = rows.unbind(3)
    return torch.cat([torch.stack([left + centre / 2, centre / 2 + right], 3)] * 4)


UP = test_resample.test_up_is_the_convolution_of_the_enlarged_image

RESAMPLING = (
    Mutant(
        "upper right and lower left pixels change places",
        "ddpm_edu.models.resample.four_kernels",
        swapped,
        (UP, test_resample.test_up_tells_its_four_pixels_apart),
    ),
    Mutant(
        "the middle row and column are added to the wrong side",
        "ddpm_edu.models.resample.four_kernels",
        middle_to_the_wrong_side,
        (UP, test_resample.test_up_tells_its_four_pixels_apart),
    ),
    Mutant(
        "the middle row and column are shared between both sides",
        "ddpm_edu.models.resample.four_kernels",
        middle_halved,
        (UP, test_resample.test_up_tells_its_four_pixels_apart),
    ),
    Mutant(
        "the middle row is left out",
        "ddpm_edu.models.resample.four_kernels",
        lambda w: torch.cat([w[:, :, ::2, ::2]] * 4),
        (UP, test_resample.test_four_kernels_together_have_the_weight_of_one),
    ),
    Mutant(
        "DDPM's downsampling is padded above and to the left",
        "ddpm_edu.models.resample.DownRightPadded.forward",
        lambda self, h: self.conv(F.pad(h, (1, 0, 1, 0))),
        (
            test_resample.test_down_right_padded_window_by_window,
            test_resample.test_the_two_look_at_different_pixels,
        ),
    ),
    Mutant(
        "DDPM's downsampling is padded on all sides",
        "ddpm_edu.models.resample.DownRightPadded.forward",
        lambda self, h: F.conv2d(h, self.conv.weight, self.conv.bias, stride=2, padding=1),
        (
            test_resample.test_down_right_padded_window_by_window,
            test_resample.test_the_two_look_at_different_pixels,
        ),
    ),
    Mutant(
        "improved DDPM's downsampling is padded as DDPM's",
        "ddpm_edu.models.resample.DownPadded.forward",
        lambda self, h: F.conv2d(F.pad(h, (0, 1, 0, 1)), self.conv.weight, self.conv.bias, stride=2),
        (test_resample.test_down_padded_window_by_window, test_resample.test_the_two_look_at_different_pixels),
    ),
)

# ---------------------------------------------------------------- checkpointing

CHECKPOINT = "ddpm_edu.models.checkpointing.checkpoint"


def reentrant(block, *args, use_reentrant, **options):
    return torchs.checkpoint(block, *args, use_reentrant=True)


def other_masks(block, *args, **options):
    """guided-diffusion's own: the second pass draws other masks for dropout."""
    return torchs.checkpoint(block, *args, **options, preserve_rng_state=False)


CHECKPOINTING = (
    Mutant(
        "the second pass draws other masks for dropout",
        CHECKPOINT,
        other_masks,
        (test_checkpointing.test_gradients_are_the_same_bit_by_bit_with_dropout,),
    ),
    Mutant(
        "the reentrant kind: a block whose input needs no gradient learns nothing",
        CHECKPOINT,
        reentrant,
        (test_checkpointing.test_the_first_block_learns_although_its_input_needs_no_gradient,),
    ),
    Mutant(
        "nothing is checkpointed",
        CHECKPOINT,
        lambda block, *args, **options: block(*args),
        (
            test_checkpointing.test_what_is_saved_falls,
            test_checkpointing.test_only_the_chosen_blocks_run_twice,
            test_checkpointing.test_of_every_block_only_its_input_is_kept,
        ),
    ),
    Mutant(
        "selective keeps nothing",
        "ddpm_edu.models.checkpointing._keep_products",
        lambda *args, **options: torchs.CheckpointPolicy.PREFER_RECOMPUTE,
        (test_checkpointing.test_what_is_saved_falls,),
    ),
    Mutant(
        "selective keeps everything",
        "ddpm_edu.models.checkpointing._keep_products",
        lambda *args, **options: torchs.CheckpointPolicy.MUST_SAVE,
        (test_checkpointing.test_what_is_saved_falls,),
    ),
    Mutant(
        "every block is taken for one with attention",
        "ddpm_edu.models.checkpointing.with_attention",
        lambda block: isinstance(block, checkpointing.Block),
        (test_checkpointing.test_with_attention_means_attention,),
    ),
    Mutant(
        "checkpointed also where nothing is learned",
        "ddpm_edu.models.checkpointing._run",
        lambda which, contexts, block, *args: checkpointing.checkpoint(block, *args, use_reentrant=False),
        (test_checkpointing.test_nothing_is_checkpointed_where_nothing_is_learned,),
    ),
)

# ---------------------------------------------------------------- what is refused, what is counted, what is read

EVERY_PART = summary.stages


def batch_by_batch(labels, share, net, seed, step):
    """One draw decides for the whole batch."""
    drop = torch.rand(1, generator=generator(seed, step, 1)).item() < share
    return torch.full_like(labels, net.no_label) if drop else labels


def the_share_stays(labels, share, net, seed, step):
    drop = torch.rand(len(labels), generator=generator(seed, step, 1)) >= share
    return torch.where(drop, net.no_label, labels) if share else labels


def as_class_0(labels, share, net, seed, step):
    """No row of its own: what is left out is taken for the first class."""
    drop = torch.rand(len(labels), generator=generator(seed, step, 1)) < share
    return torch.where(drop, 0, labels)


def the_same_places(labels, share, net, seed, step):
    """Drawn from the seed alone, so that each step leaves out the same places of the batch."""
    drop = torch.rand(len(labels), generator=generator(seed, 1)) < share
    return torch.where(drop, net.no_label, labels) if share else labels


def shifted(labels, share, net, seed, step):
    return labels.roll(1)


REST = (
    Mutant(
        "times of any shape and value are taken",
        "ddpm_edu.models.inputs.check_times",
        lambda config, x, t: None,
        (test_inputs.test_no_time_is_shared_cut_or_wrapped_in_silence, test_inputs.test_nothing_broadcasts_in_silence),
    ),
    Mutant(
        "labels of any shape and value are taken",
        "ddpm_edu.models.inputs.check_labels",
        lambda config, x, labels: None,
        (test_inputs.test_no_label_is_shared_or_left_out_in_silence, test_inputs.test_nothing_broadcasts_in_silence),
    ),
    Mutant(
        "images of any size, layout and type are taken",
        "ddpm_edu.models.inputs.check_image",
        lambda config, x: None,
        (
            test_inputs.test_sizes_are_looked_at_before_the_levels_fail,
            test_inputs.test_no_image_is_taken_in_another_layout_or_type,
            test_inputs.test_the_sizes_that_a_message_names_are_right,
        ),
    ),
    Mutant(
        "a stage is left out of the summary",
        "ddpm_edu.models.summary.stages",
        lambda net: list(EVERY_PART(net))[:-1],
        (
            test_summary.test_parameters_are_all_of_the_networks,
            test_summary.test_flops_are_those_of_the_layers_by_hand,
        ),
    ),
    Mutant(
        "what was freed is counted as saved",
        "ddpm_edu.models.memory.StorageWeakRef.expired",
        lambda self: False,
        (test_summary.test_saved_bytes_are_those_of_a_real_run,),
    ),
    Mutant(
        "queries and keys change places on the way to diffusers and back",
        "ddpm_edu.models.diffusers._ATTEND",
        {**diffusers._ATTEND, "q": "to_k", "k": "to_q"},
        (test_diffusers.test_small_networks_agree,),
    ),
    Mutant(
        "labels are left out for the whole batch at once",
        "ddpm_edu.training.fit._dropped",
        batch_by_batch,
        (test_fit.test_labels_are_left_out_one_by_one_and_as_often_as_asked,),
    ),
    Mutant(
        "the share that is asked for stays in place of being left out",
        "ddpm_edu.training.fit._dropped",
        the_share_stays,
        (test_fit.test_labels_are_left_out_one_by_one_and_as_often_as_asked,),
    ),
    Mutant(
        "a label that is left out becomes class 0",
        "ddpm_edu.training.fit._dropped",
        as_class_0,
        (
            test_fit.test_labels_are_left_out_one_by_one_and_as_often_as_asked,
            test_fit.test_labels_that_stay_are_right,
        ),
    ),
    Mutant(
        "each step leaves out the same places of the batch",
        "ddpm_edu.training.fit._dropped",
        the_same_places,
        (test_fit.test_labels_are_left_out_one_by_one_and_as_often_as_asked,),
    ),
    Mutant(
        "each sample is told its neighbour's label",
        "ddpm_edu.training.fit._dropped",
        shifted,
        (test_fit.test_each_sample_is_told_its_own_label, test_fit.test_a_unet_learns_what_labels_say),
    ),
)

MUTANTS = (*EMBEDDINGS, *ATTENTION, *BLOCKS, *RESAMPLING, *CHECKPOINTING, *REST)
