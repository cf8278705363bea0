"""Mistakes about averaged weights, and about the rate of learning."""

import torch

from ddpm_edu.training import ema
from tests.mutants import Mutant
from tests.training import test_config, test_ema, test_posthoc

NET, ORIGINAL_NET = "ddpm_edu.training.ema.Averages.net", ema.Averages.net


def in_the_networks_numbers(averages, net):
    averages.updates += 1
    with torch.no_grad():
        for name, rate in averages.rates.items():
            for key, p in net.named_parameters():
                old = averages.weights[name][key]
                old.copy_(old.to(p.dtype).lerp(p, 1 - rate(averages.updates)))


def buffers_stand_still(averages, like, name):
    averaged = ORIGINAL_NET(averages, like, name)
    for buffer in averaged.buffers():
        buffer.fill_(1)
    return averaged


def swapped_in_place(averages, like, name):
    with torch.no_grad():
        for key, p in like.named_parameters():
            p.copy_(averages.weights[name][key])
    return like.requires_grad_(False).eval()


def first_update_copies(averages, net):
    """torch's AveragedModel, whose average begins at the weights after the first step."""
    averages.updates += 1
    new = [p.detach().float() for p in net.parameters()]
    for name, rate in averages.rates.items():
        share = 1.0 if averages.updates == 1 else 1 - rate(averages.updates)
        torch._foreach_lerp_(list(averages.weights[name].values()), new, share)


def between_the_last_two(steps, widths, step, width):
    """A line through the last snapshots of the two widths."""
    low, high = min(widths), max(widths)
    share = torch.zeros(len(steps), dtype=torch.float64)
    for number, (at, kept) in enumerate(zip(steps, widths, strict=True)):
        if at == max(steps):
            share[number] = (width - low) / (high - low) if kept == high else (high - width) / (high - low)
    return share


def of_the_shorter(t_a, gamma_a, t_b, gamma_b):
    shorter = torch.where(t_a < t_b, gamma_a, gamma_b)
    short, long = torch.minimum(t_a, t_b), torch.maximum(t_a, t_b)
    return (gamma_a + 1) * (gamma_b + 1) / (gamma_a + gamma_b + 1) / long * (short / long) ** shorter


MUTANTS = (
    Mutant(
        "the average of a bfloat16 network is computed in bfloat16",
        "ddpm_edu.training.ema.Averages.update",
        in_the_networks_numbers,
        (test_ema.test_the_average_of_a_bfloat16_network_moves,),
    ),
    Mutant(
        "buffers are averaged: a count of batches stands still",
        NET,
        buffers_stand_still,
        (test_ema.test_buffers_are_those_of_the_network_not_averages,),
    ),
    Mutant(
        "the average is put into the network that is trained",
        NET,
        swapped_in_place,
        (test_ema.test_the_network_is_not_touched_nor_the_average_by_its_copy,),
    ),
    Mutant(
        "the first update copies",
        "ddpm_edu.training.ema.Averages.update",
        first_update_copies,
        (test_ema.test_closed_form_after_n_steps,),
    ),
    Mutant(
        "no warm-up: the first weights stay in the average",
        "ddpm_edu.training.ema.warmed_up",
        ema.constant,
        (test_ema.test_warm_up_forgets_the_first_weights,),
    ),
    Mutant(
        "the power function without the 1 in its exponent",
        "ddpm_edu.training.ema.power",
        lambda width: lambda n: (1 - 1 / n) ** ema.gamma_of(width),
        (test_ema.test_a_power_function_average_is_its_integral,),
    ),
    Mutant(
        "a width between two is a line between their averages",
        "ddpm_edu.training.posthoc.coefficients",
        between_the_last_two,
        (test_posthoc.test_any_width_out_of_two,),
    ),
    Mutant(
        "two profiles overlap as if the shorter went on",
        "ddpm_edu.training.posthoc.inner",
        of_the_shorter,
        (test_posthoc.test_inner_products_by_quadrature, test_posthoc.test_any_width_out_of_two),
    ),
    Mutant(
        "the warm-up of the rate begins at nothing",
        "ddpm_edu.training.config.TrainConfig.lr_at",
        lambda config, step: config.lr * min(1.0, step / config.warmup) if config.warmup else config.lr,
        (test_config.test_it_rises_and_then_stays,),
    ),
)
