"""One step of the loop: against the same step written out, in parts, by several processes, and what it costs."""

import traceback
from dataclasses import replace
from functools import partial
from unittest import mock

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ddpm_edu.data import digits
from ddpm_edu.errors import ConfigError
from ddpm_edu.training import draws, loop
from ddpm_edu.training.distributed import Team
from tests.training import runs
from tests.training.runs import CPU, NET, TINY

CALM = replace(TINY, net=replace(NET, dropout=0.0), warmup=0)
"""Without dropout, whose draws alone depend on how a batch is cut."""


def awake(run):
    """With no layer at zero, so that every gradient is one."""
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in run.net.parameters():
            p.normal_(0, 0.3, generator=g)
    return run


def in_float64(run):
    """The network computes in float64; images and noise are the same float32 numbers in every arrangement."""
    net = awake(run).net.double()
    run.model = lambda x_t, t, **condition: net(x_t.double(), t, **condition)
    return run


def stepped(run):
    with torch.random.fork_rng([]):
        assert loop.one_step(run, run.images.images)
    run.step += 1


def gradient(run):
    """That of one step, which is not taken."""
    with mock.patch.object(loop, "_update", return_value=True):
        stepped(run)
    return torch.cat([p.grad.flatten() for p in run.net.parameters()])


# ---------------------------------------------------------------- written out


def test_three_steps_written_out():
    """DDPM's Algorithm 1 with Adam, clipping, labels, flips and an average, none of it from the package."""
    with runs.folder() as out:
        run = awake(runs.begun(out, CALM))
        with runs.folder() as other:
            net = awake(runs.begun(other, CALM)).net
        adam, s = torch.optim.Adam(net.parameters(), betas=(0.9, 0.999)), run.s
        average = [p.clone() for p in run.averages.weights["0.9"].values()]
        data = digits()
        for step in range(3):
            stepped(run)
            d = draws.draw(0, step, 8, 1797, 50, (1, 8, 8), 0.1, CPU)
            x0 = data.images[d.image].float() / 8 - 1  # grey levels 0..16
            x0 = torch.stack([x.flip(2) if mirrored else x for x, mirrored in zip(x0, d.flip, strict=True)])
            labels = [10 if hidden else int(data.labels[i]) for i, hidden in zip(d.image, d.hide, strict=True)]
            ab = s.alpha_bar[d.t].view(-1, 1, 1, 1)
            x_t = (ab.sqrt() * x0 + (1 - ab).sqrt() * d.noise).float()
            loss = (net(x_t, d.t, labels=torch.tensor(labels)) - d.noise).square().mean()
            adam.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            adam.param_groups[0]["lr"] = 1e-3 * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * step / 24)).item())
            adam.step()
            decay = min(0.9, (2 + step) / (11 + step))
            average = [decay * a + (1 - decay) * p.detach() for a, p in zip(average, net.parameters(), strict=True)]
        for ours, theirs in zip(run.net.parameters(), net.parameters(), strict=True):
            assert torch.allclose(ours, theirs, atol=2e-6)
        for ours, theirs in zip(run.averages.weights["0.9"].values(), average, strict=True):
            assert torch.allclose(ours, theirs, atol=2e-6)


def test_the_gradient_is_clipped_by_its_norm():
    with runs.folder() as out, runs.folder() as other:
        free, clipped = (awake(runs.begun(at, replace(CALM, clip=clip))) for at, clip in ((out, None), (other, 0.01)))
        stepped(free), stepped(clipped)
        norms = [torch.cat([p.grad.flatten() for p in run.net.parameters()]).norm().item() for run in (free, clipped)]
        assert norms[0] > 0.1 and norms[1] == pytest.approx(0.01, rel=1e-3)


def test_min_snr_and_v_reach_the_loss():
    from ddpm_edu import losses

    config = replace(CALM, weight="min_snr", predicts="v", flip=False)
    with runs.folder() as out:
        run = awake(runs.begun(out, config))
        d = draws.draw(0, 0, 8, 1797, 50, (1, 8, 8), 0.1, CPU)
        found = loop.loss_of(run, run.images.images, d)
        x0 = run.images.model_range()[d.image]
        labels = torch.where(d.hide, 10, run.images.labels[d.image])
        table = losses.min_snr(5.0)(run.s, "v")
        want = losses.simple(partial(run.net, labels=labels), run.s, x0, d.t, d.noise, "v", table)
        assert torch.allclose(found, want)


# ---------------------------------------------------------------- R9: in parts, and by several processes


PARTS = [(16, 1), (16, 2), (16, 4), (16, 5), (5, 3), (7, 2), (3, 3)]


def test_a_batch_in_parts_is_the_batch():
    """1 x 16 = 2 x 8 = 4 x 4, and parts of unequal size, in float64; a mean of means would not be."""
    for batch, parts in PARTS:
        with runs.folder() as a, runs.folder() as b:
            config = replace(CALM, batch=batch)
            whole = gradient(in_float64(runs.begun(a, config)))
            cut = gradient(in_float64(runs.begun(b, replace(config, accumulate=parts))))
            assert whole.norm() > 0.1
            assert (cut - whole).abs().max() <= 1e-12, (batch, parts)


def test_parts_of_a_batch_lead_to_the_same_weights():
    with runs.folder() as a, runs.folder() as b:
        one, other = in_float64(runs.begun(a, CALM)), in_float64(runs.begun(b, replace(CALM, accumulate=3)))
        for _ in range(4):
            stepped(one), stepped(other)
        for p, q in zip(one.net.parameters(), other.net.parameters(), strict=True):
            assert (p - q).abs().max() <= 1e-12


def test_several_processes_average_to_the_gradient_of_one():
    """What 2 or 3 processes compute, one after the other here: the mean of their gradients, also of unequal shares."""
    for world, batch, parts in ((2, 8, 1), (2, 7, 2), (3, 8, 1), (3, 8, 2)):
        config = replace(CALM, batch=batch, accumulate=parts)
        with runs.folder() as out:
            alone = gradient(in_float64(runs.begun(out, config)))
        shares = []
        for rank in range(world):
            with runs.folder() as out:
                run = in_float64(runs.begun(out, config))
                run.team = Team(rank, world, CPU)
                shares.append(gradient(run))
        assert (sum(shares) / world - alone).abs().max() <= 1e-12, (world, batch, parts)


def test_processes_without_an_image_are_refused(tmp_path):
    team = Team(0, 4, CPU)
    with pytest.raises(ConfigError, match=r"8 images for 4 processes in 3 parts each.*Fix: batch=12 or more"):
        runs.begun(tmp_path, replace(CALM, accumulate=3), team)


def test_dropout_is_of_the_step_the_process_and_the_part():
    """Equal in equal places, so that a step can be done again; and nowhere else."""
    masks = {}
    for key in ((0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)):
        with torch.random.fork_rng([]):
            for _ in range(2):
                draws.seed_dropout(*key)
                mask = torch.nn.functional.dropout(torch.ones(64), 0.5)
                assert torch.equal(masks.setdefault(key, mask), mask)
    assert len({tuple(mask.tolist()) for mask in masks.values()}) == len(masks)


# ---------------------------------------------------------------- P1: what a step costs


class Costs(TorchDispatchMode):
    """Counts operations and the bytes of their results, and who waits for a number."""

    def __init__(self):
        super().__init__()
        self.operations = self.bytes = 0
        self.waits = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.operations += 1
        if func is torch.ops.aten._local_scalar_dense.default:
            ours = [frame.name for frame in traceback.extract_stack() if "/ddpm_edu/" in frame.filename]
            self.waits.append(ours[-1] if ours else "torch")
        for value in torch.utils._pytree.tree_leaves(result):
            self.bytes += value.nbytes if isinstance(value, torch.Tensor) else 0
        return result


def costs(config):
    """Those of a step that is not the first, in which the optimiser makes its moments."""
    with runs.folder() as out:
        run = runs.begun(out, config)
        stepped(run)
        with Costs() as found:
            stepped(run)
        return found


OPERATIONS, BYTES = 641, 4_926_000  # of one step of TINY; torch 2.13. Whoever makes it cheaper lowers them


def test_a_step_stays_within_its_budget():
    """2 % above what it was is accepted. The network's own budget is in tests/models/test_summary.py."""
    found = costs(TINY)
    assert 0.9 * OPERATIONS <= found.operations <= 1.02 * OPERATIONS, found.operations
    assert 0.9 * BYTES <= found.bytes <= 1.02 * BYTES, found.bytes


LOOK_AT_THE_CPU_ALONE = {"_check_time", "check_times", "check_labels"}  # or not at all
ASKS_WHICH_EPOCHS = {"<listcomp>", "order"}  # of a tensor that is on the CPU; its name is Python's choice


@pytest.mark.parametrize("images", [runs.images(64), digits()], ids=["256 levels", "17 levels"])
def test_the_host_waits_for_nothing_but_the_flag(images):
    """That at each step on a CPU, and every ``poll_every`` on a GPU. The optimiser reads nothing back."""
    with runs.trained_on(images):
        assert {*costs(TINY).waits} - ASKS_WHICH_EPOCHS == {*LOOK_AT_THE_CPU_ALONE, "check"}


def test_another_average_is_one_operation_and_another_part_is_seen():
    """Negative control of the budget."""
    assert costs(replace(TINY, ema=(0.9, 0.99))).operations - costs(TINY).operations == 1
    assert costs(replace(TINY, accumulate=2)).operations > 1.02 * OPERATIONS
