# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,-all
#     notebook_metadata_filter: kernelspec,jupytext,-jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 7. Train the full model
#
# So far a training was a loop of ten lines that ran for a minute. A training that is worth its name runs for hours or days: on a machine that is switched off, next to other
# people's jobs, at a price. This page turns the ten lines into one that lasts, and then trains: digits here and now, Fashion-MNIST in ten minutes, CIFAR-10 where there is a GPU. **The cells are the same on a
# laptop and on an H100.**
#
# **After this page you can**
#
# - train so that a run can be killed at any moment and goes on, bit for bit, when the same command is given again, by one process or by many,
# - say of mixed precision, averaging, clipping, accumulation, checkpointing and compiling what each is for, what it costs, and how it is got wrong,
# - plan a training on a GPU or a cluster before paying for it, and train on a folder of your own images.
#
# *About three hours with the exercises. Computing: 110 seconds of one CPU core, 1.8 GB of memory (measured 2026-11-26); no internet. With a GPU the section "The whole" trains
# CIFAR-10 instead, which takes hours: the page says how many before it starts.*

# %%
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

torch.set_num_threads(1)  # the networks are so small that two threads mostly wait for each other

# %%
from ddpm_edu import data, losses, metrics, models, parameterization, plots, sampling, schedules, training, widgets
from ddpm_edu.exercises import fingerprint, or_library, same, the_training, training_answers, two_processes
from ddpm_edu.training import checkpoint, ema, generator, plan_text, planner, posthoc, presets, weights
from ddpm_edu.training.distributed import Team
from ddpm_edu.training.meter import read_log

work = Path(tempfile.mkdtemp(prefix="ddpm-lesson-"))  # what this page writes
digits = data.digits()
images = digits.model_range()  # (1797, 1, 8, 8), values from -1 to 1
print(f"{len(images)} digits; the folder of this page is new: {not list(work.iterdir())}")

# %% [markdown]
# ## What there is, and what it will cost
#
# First of all: which device, which training, and how long? The library has trainings by name, its *presets*, with every setting that matters in one frozen record. Where there is a GPU, this page takes DDPM's own
# for CIFAR-10; else the digits, with fewer steps than the preset's, so that the page can train while you watch.

# %%
on_gpu = torch.cuda.is_available()
device = torch.device("cuda" if on_gpu else "cpu")
preset = "cifar10" if on_gpu else "digits-cpu"
config = presets.by_name(preset)
if not on_gpu:
    short = {"steps": 600, "batch": 32, "lr": 3e-3, "schedule": "cosine", "predicts": "v", "save_every": 100}
    config = config.changed(short)
config = config.changed({"ema": [0.9999 if on_gpu else 0.999], "ema_widths": [0.05, 0.1]})
config = config.changed({"snapshot_every": config.steps // 20, "log_every": 50 if on_gpu else 10})
print(f"on {device.type}: {preset}, {config.steps:,} steps of {config.batch} images, {config.schedule} schedule")

# %% [markdown]
# How long will it take? On this CPU a few steps tell; for a GPU the library counts operations without computing any (notebook 04), and divides by published speeds.

# %% tags=["nbval-ignore-output"]
plan = planner.plan(config, planner.gpu_by_name("h100")) if on_gpu else planner.plan_here(config, seconds=2)
print(plan_text.table([plan]))

# %% [markdown]
# ## The naive way: save the weights now and then
#
# Here is what most tutorials do. The loop of notebook 03, an average of the weights, and a file with the network's weights, to go on from if need be.

# %%
s = schedules.linear(1000)

def new_run():
    """A small network, its optimiser, and an average of its weights."""
    torch.manual_seed(0)
    net = models.MLP(64, width=64, depth=2)
    average = {name: p.detach().clone() for name, p in net.named_parameters()}
    return net, torch.optim.Adam(net.parameters(), 2e-3), average

def update(run, loss):
    net, optimiser, average = run
    net.zero_grad(), loss.backward(), optimiser.step()
    for name, p in net.named_parameters():
        average[name].lerp_(p.detach(), 0.02)

# %%
def naive_steps(run, first, last):
    """Steps first, .., last - 1, with torch's own random numbers."""
    for _ in range(first, last):
        i, t, noise = torch.randint(len(images), (64,)), torch.randint(1, 1001, (64,)), torch.randn(64, 1, 8, 8)
        update(run, losses.simple(run[0], s, images[i], t, noise).mean())

undisturbed, killed = new_run(), new_run()
torch.manual_seed(1), naive_steps(undisturbed, 0, 300)
torch.manual_seed(1), naive_steps(killed, 0, 200)
torch.save(killed[0].state_dict(), work / "weights.pt")  # and here the machine goes down

# %% [markdown]
# The machine comes up again, the script is started again, finds its file, and does the last hundred steps.

# %%
def off_by(a, b):
    """The largest difference of weights and averages of two runs."""
    pairs = [*zip(a[0].parameters(), b[0].parameters(), strict=True), *zip(a[2].values(), b[2].values(), strict=True)]
    return max((x - y).abs().max().item() for x, y in pairs)

resumed = new_run()
resumed[0].load_state_dict(torch.load(work / "weights.pt", weights_only=True))
torch.manual_seed(1), naive_steps(resumed, 200, 300)
print(f"the run that was killed is the undisturbed one: {off_by(undisturbed, resumed) == 0}")
print(f"weights or averages differ by more than 0.1: {off_by(undisturbed, resumed) > 0.1}")

# %% [markdown]
# No error, no warning, and another run. Three things went wrong, and each is common (the official PyTorch tutorial on fault tolerance saves weights and epoch only):
#
# - *Adam's moments* are gone. It begins with empty ones, and its first steps are as large as they can be, though training is nearly over.
# - *The random numbers* begin anew: the images, times and noises of the first hundred steps are seen twice, and others never.
# - *The average* is gone: it was rebuilt from random weights.
#
# Does it matter? After one interruption hardly anybody notices. But then nobody can tell a bug from bad luck either. If the resumed run must be *equal* to the undisturbed one, a test can say so.
#
# ## The idea: a step is a function of (seed, step) and the weights
#
# One could save the state of each random generator too, of each process, of the data loader and its workers. There is a simpler way, which NVIDIA's EDM2 uses as well: **let nothing remember anything.** All that is random in a step (which
# images, which times, which noise, what is mirrored, which labels are hidden) is drawn from a generator that is made anew from the pair (seed, step). Whoever knows the number of the step can draw the same again.
#
# It has a second use. With $W$ processes, each draws the numbers of the *whole* batch, which costs next to nothing, and takes every $W$-th row. So 1, 2 or 4 GPUs see the same data and the same noise.
#
# ### Exercise 7.1: the draws of a step
#
# *Difficulty 2 of 5, ten minutes.*
#
# Return times `t`, int64 from 1 to T, and normal `noise`, for the rows `rank`, `rank + world`, `rank + 2 world`, ... of the batch of this step. Times and noise come from one generator, one after the other.
#
# <details><summary>Hint 1</summary><code>generator(seed, step)</code> makes a generator from a hash of the pair; <code>torch.randint</code> and <code>torch.randn</code> take <code>generator=g</code>.</details>
# <details><summary>Hint 2</summary>Draw for all <code>batch</code> rows, then slice <code>[rank::world]</code>.</details>

# %% tags=["exercise"]
def draw(seed, step, batch, shape, T, rank, world):
    """(t, noise) of this process: t (n,), noise (n, *shape), the rows rank, rank + world, ... of the step's batch."""
    # BEGIN SOLUTION
    g = generator(seed, step)
    t = torch.randint(1, T + 1, (batch,), generator=g)
    noise = torch.randn(batch, *shape, generator=g)
    return t[rank::world], noise[rank::world]
    # END SOLUTION

# %% tags=["check"]
the_training.draw(draw)

# %% tags=["fallback"]
draw = or_library(draw, training_answers.draw)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *which has gone on meanwhile* | `torch.randn` without `generator=`: it takes torch's own |
# | *seeded or used* | `torch.manual_seed` inside: it changes what everybody else draws |
# | *were added up* | `seed + step`: seed 1 has the numbers of seed 0, one step later |
# | *the rank is in the seed* | then two processes see other data than one |
# | *the same random numbers* | `generator(seed, step)` was made twice: each time then comes with noise of its own for ever |
#
# [One way to solve them, all seven](solutions/07_train_the_full_model.ipynb). Should look like: `[x] 7.1 the draws of a step: right.`
#
# A hash, and not `2**32 * seed + step`? torch's CPU generator looks at the low 32 bits of its seed only: every seed would give the same numbers.
#
# ## What a checkpoint must hold
#
# With that, what is left to save is little. This is the checkpoint of a script that had learnt from the above:

# %%
def careless_state_of(step, net, optimiser, average):
    return {"step": step + 1, "net": average, "average": net.state_dict(), "optimiser": {"lr": 2e-3}}

# %% [markdown]
# ### Exercise 7.2: find the bugs
#
# *Difficulty 2 of 5, ten minutes.*
#
# There are three mistakes in it, of kinds that published code has. Write it as it should be: a dict with the keys `step` (steps that are done), `net`, `optimiser` and `average`, of tensors, numbers, lists and dicts only, so that a reader need not trust
# the file. `average` is a dict of tensors already.
#
# <details><summary>Hint 1</summary>If the next step to do is <code>step</code>, which number goes into the file?</details>
# <details><summary>Hint 2</summary>Modules and optimisers have <code>.state_dict()</code>. Adam keeps two moments for each weight, not only its rate.</details>

# %% tags=["exercise"]
def state_of(step, net, optimiser, average):
    """All that the next step depends on, after `step` steps."""
    # BEGIN SOLUTION
    state = {"step": step, "average": average}
    return state | {"net": net.state_dict(), "optimiser": optimiser.state_dict()}
    # END SOLUTION

# %% tags=["check"]
the_training.state_of(state_of)

# %% tags=["fallback"]
state_of = or_library(state_of, training_answers.state_of)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *one step would be left out* | after 4 steps (0, 1, 2, 3) the next one is 4: store `step` as it is |
# | *has no moments* | only settings of the optimiser were stored |
# | *The run would go on from weights that it never had* | network and average are exchanged, or one of them is stored twice |
# | *holds objects* | a module or an optimiser itself: whoever loads it lets the file run code |
#
# [One way](solutions/07_train_the_full_model.ipynb). The same run again, with your two functions; it should say `[exact]`:

# %%
def lasting_steps(run, first, last):
    for step in range(first, last):
        t, noise = draw(0, step, 64, (1, 8, 8), 1000, 0, 1)
        i = torch.randint(len(images), (64,), generator=generator(0, step, 1))
        update(run, losses.simple(run[0], s, images[i], t, noise).mean())

undisturbed, killed, resumed = new_run(), new_run(), new_run()
lasting_steps(undisturbed, 0, 300), lasting_steps(killed, 0, 200)
path = checkpoint.save(work / "small", 200, state_of(200, *killed))
state = checkpoint.load(path)
resumed[0].load_state_dict(state["net"]), resumed[1].load_state_dict(state["optimiser"])
for name, value in resumed[2].items():
    value.copy_(state["average"][name])
lasting_steps(resumed, state["step"], 300)
same("killed after 200 steps, resumed", off_by(undisturbed, resumed), "undisturbed", 0.0, 0)

# %% [markdown]
# ## Killed for real
#
# `checkpoint.save` is the library's. Beside what the state must hold, there is how it gets onto a disk. A file that is written over the old one is neither of the two while it is being written. So:
#
# - it is written under another name, forced onto the disk, and only then *renamed*, which happens at once or not at all;
# - its name carries a hash of its content, which is checked *before* anything in the file is looked at;
# - the last three are kept, and an old one is deleted only when the new one has been read back. A damaged file is passed over, loudly.
#
# The real loop, in a process of its own, killed without a warning (SIGKILL, the one that no program can catch). Then the same training is asked for again.

# %%
settings = {"net.width": 16, "steps": 100, "batch": 8, "warmup": 10, "save_every": 10, "log_every": 10}
small = presets.DIGITS_CPU.changed(settings)
report = training.train(small, work / "undisturbed", device="cpu", progress=False)
print(f"undisturbed: {report.step} steps")

# %%
command = [sys.executable, "-m", "ddpm_edu", "train", "digits-cpu", "--device", "cpu", "--quiet"]
command += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # as this notebook has
process = subprocess.Popen([*command, "--out", str(work / "killed")], env=one_thread)
while process.poll() is None and len(checkpoint.listed(work / "killed/checkpoints")) < 3:
    time.sleep(0.05)
process.kill()
print("ended by signal", -process.wait())

# %%
left = checkpoint.listed(work / "killed/checkpoints")[0]
print(f"its newest checkpoint is of a step before the last: {0 < checkpoint.step_of(left) < small.steps}")
report = training.train(small, work / "killed", device="cpu", progress=False)  # the same again
one, other = (fingerprint(checkpoint.newest(work / run / "checkpoints").state) for run in ("undisturbed", "killed"))
print(f"after {report.step} steps, a hash of all that the two newest checkpoints hold, the same: {one == other}")

# %% [markdown]
# They hold weights, averages, Adam's moments and the settings. One bit of difference in one of them, and the hash would be another:

# %%
state = checkpoint.newest(work / "killed/checkpoints").state
next(iter(state["net"].values())).view(-1)[0] *= 1 + 2.0**-23
print(f"with the last bit of one weight changed, still the same hash: {fingerprint(state) == one}")

# %% [markdown]
# Here the command line and this notebook were two different processes, and the run did not notice. (The hash in a file's *name* is that of its bytes, and says that the file is whole. torch writes equal states as different bytes, so it is no good for this comparison.)
#
# (Promised is: the same device type, the same version of torch, on a CPU the same number of threads, since they share out sums. On a GPU also `deterministic=true`, at some cost in speed.)
#
# ## A rate of learning without a memory
#
# torch has scheduler objects for the rate of learning. They count, so they must be saved, and in fp16 they count steps that were skipped. A function of the step has none of these troubles. Two factors: it rises over the first steps, since Adam knows
# nothing yet of how large gradients are; and it falls to zero along half a cosine, since at the end one wants to arrive.
#
# $$\eta(\text{step}) = \text{peak}\cdot\min\Big(1, \frac{\text{step}+1}{\text{warmup}}\Big)\cdot\frac{1+\cos(\pi\,\text{step}/\text{steps})}{2}.$$
#
# (DDPM keeps it constant after 5,000 steps of warm-up: `decay="constant"`. For a short run falling is worth a lot.)
#
# ### Exercise 7.3: the rate as a function of the step
#
# *Difficulty 1 of 5, five minutes.*
#
# Write this formula as a function. The first step is 0. With `warmup` = 0 there is no first factor.
#
# <details><summary>Hint 1</summary><code>torch.pi</code> and <code>math.pi</code> are the same number; <code>import math</code> is allowed inside.</details>
# <details><summary>Hint 2</summary>Mind the division by zero.</details>

# %% tags=["exercise"]
def lr_at(step, steps, warmup, peak):
    """The rate of learning of step 0, 1, ..., steps - 1."""
    # BEGIN SOLUTION
    import math

    rising = min(1.0, (step + 1) / warmup) if warmup else 1.0
    return peak * rising * (1 + math.cos(math.pi * step / steps)) / 2
    # END SOLUTION

# %% tags=["check"]
the_training.lr_at(lr_at)

# %% tags=["fallback"]
lr_at = or_library(lr_at, training_answers.lr_at)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *At step 0 the rate is 0* | `step / warmup`: the first step would do nothing |
# | *The cosine begins at the end of the warm-up*, *In the warm-up the cosine is missing* | common other choices; here both factors begin at step 0 |
# | *Brackets* | `step + 1 / warmup` |
# | *ZeroDivisionError* | `warmup` is 0 |
#
# [One way](solutions/07_train_the_full_model.ipynb). Should look like: `[close: within 1e-12]` to the training's own rate, and a curve that rises, then falls.

# %%
steps = torch.arange(config.steps)
curve = torch.tensor([lr_at(int(step), config.steps, config.warmup, config.lr) for step in steps[:: max(1, len(steps) // 600)]])
if config.decay == "cosine":
    same("your rate at step 30", lr_at(30, config.steps, config.warmup, config.lr), "the training's", config.lr_at(30), 1e-12)
print(f"largest rate {curve.max():.4f} at step {int(curve.argmax())}, the last one {curve[-1]:.1e}")
plots.curves(steps[:: max(1, len(steps) // 600)], {"rate of learning": curve}, "step", "rate of learning")

# %% [markdown]
# *What to see: up over the first 100 steps, then down to zero at the last one.*
#
# ## Averaged weights, and the 82 % trap
#
# Each step jumps about its goal. One samples from a slow average of the weights, the *exponential moving average* (EMA):
#
# $$\bar w \leftarrow d\,\bar w + (1-d)\,w .$$
#
# DDPM has $d = 0.9999$: the average looks back over some 10,000 steps of 800,000. People copy that number into a training of 2,000 steps. What happens? The average *begins* at the first weights, which are random, and after $n$ steps it still
# holds the share $d^n$ of them.

# %%
for steps in (500, 2_000, 20_000, 800_000):
    shares = [ema.share_of_the_first(rate, steps) for rate in (ema.constant(0.9999), ema.warmed_up(0.9999))]
    print(f"after {steps:7,} steps: {shares[0]:7.2%} of the first weights in the average; with warm-up {shares[1]:.1e}")

# %% [markdown]
# **After 2,000 steps 82 % of the average are the random weights that the training began with.** The loss of the network looks fine, and the samples are noise. The way out is a warm-up: while there are few weights, average over few of them,
#
# $$\begin{gathered}d_n = \min\Big(d, \frac{1+n}{10+n}\Big), \\
# n = 1, 2, \ldots\ \text{the number of the update.}\end{gathered}$$
#
# ### Exercise 7.4: an average that warms up
#
# *Difficulty 2 of 5, ten minutes.*
#
# Return the new average, a new tensor, with this $d_n$. In mixed precision `weight` may come in bfloat16; the average must stay float32.
#
# <details><summary>Hint 1</summary>First d, then d * average + (1 - d) * weight.</details>
# <details><summary>Hint 2</summary><code>weight.float()</code>. (bfloat16 has 8 bits: what is 0.9999 in it?)</details>

# %% tags=["exercise"]
def followed(average, weight, decay, n):
    """The average after update n = 1, 2, ...: float32, of the same shape."""
    # BEGIN SOLUTION
    d = min(decay, (1 + n) / (10 + n))
    return d * average + (1 - d) * weight.float()
    # END SOLUTION

# %% tags=["check"]
the_training.followed(followed)

# %% tags=["fallback"]
followed = or_library(followed, training_answers.followed)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *There is no warm-up* | `decay` is used as it is |
# | *the larger of the two* | `max` in place of `min` |
# | *counts this update already* | `n` is 1 at the first update: no `n + 1` |
# | *The average is bfloat16* | it was rounded: 1 - 0.9999 is too small for 8 bits, and the average never moves |
# | *was computed in bfloat16* | the result is float32, but the product was rounded before: `weight.float()` first |
#
# [One way](solutions/07_train_the_full_model.ipynb). Should look like: below, 0.0% of the first weights are left with your warm-up.

# %%
n_steps, point = torch.arange(1, 2001), torch.ones(1)
kept = {"0.9999": [], "0.9999, with warm-up": [], "0.99": []}
stays = dict.fromkeys(kept, point)  # the first weights are 1, all later ones 0: what is left of the first?
for n in n_steps.tolist():
    stays["0.9999"], stays["0.99"] = 0.9999 * stays["0.9999"], 0.99 * stays["0.99"]
    stays["0.9999, with warm-up"] = followed(stays["0.9999, with warm-up"], 0 * point, 0.9999, n)
    for name, value in stays.items():
        kept[name].append(value.item())
print("after 2,000 updates:", {name: f"{values[-1]:.1%}" for name, values in kept.items()})
plots.curves(n_steps, {name: torch.tensor(v) for name, v in kept.items()}, "update", "share of the first weights")

# %% [markdown]
# *What to see: 0.9999 alone hardly moves. With the warm-up the first weights are forgotten within a hundred updates.* The library warns before such a training starts. Below you will see its samples.
#
# ## A batch in parts
#
# Does the batch not fit into the memory? Then work through it in parts: gradients add up in `.grad` until they are cleared. The result must be *the same* as of the whole batch. It often is not: for a year the most used training library of language models
# weighted parts of unequal size equally.
#
# ### Exercise 7.5: accumulation
#
# *Difficulty 3 of 5, fifteen minutes.*
#
# `loss_of(part)` gives the losses of the samples of a part, (n,); the parts may differ in size. Make **one** step of the optimiser, along the gradient of the mean over all samples, and hold the memory of one part at a time.
#
# <details><summary>Hint 1</summary>The mean over all is the sum over parts of (sum within the part) / (number of all samples).</details>
# <details><summary>Hint 2</summary>Clear the gradients once, before the loop; backward in the loop; step once, after it.</details>

# %% tags=["exercise"]
def accumulated_step(loss_of, parts, optimiser):
    """One step from a batch that comes in `parts`, a list of tensors."""
    # BEGIN SOLUTION
    samples = sum(len(part) for part in parts)
    optimiser.zero_grad()  # once, before the loop
    for part in parts:
        (loss_of(part).sum() / samples).backward()
    return optimiser.step()
    # END SOLUTION

# %% tags=["check"]
the_training.accumulated_step(accumulated_step)

# %% tags=["fallback"]
accumulated_step = or_library(accumulated_step, training_answers.accumulated_step)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *the mean of the parts' means* | `.mean()` of each part: right only where all are equally large |
# | *added up* | nothing is divided: the step is as many times too large as there are parts |
# | *small batches* | `optimiser.step()` stands in the loop |
# | *All parts went forwards*, *put together again* | losses were gathered in a list, or the parts concatenated: no memory is saved |
#
# [One way](solutions/07_train_the_full_model.ipynb). Should look like: `[close: within 1e-06]`, for parts of 25, 25 and 10.

# %%
net, _, _ = new_run()
t, noise = draw(0, 0, 60, (1, 8, 8), 1000, 0, 1)
gradients = []
for sizes in ([60], [25, 25, 10]):
    still = torch.optim.SGD(net.parameters(), lr=0.0)  # a step of length 0: the gradients stay to be looked at
    accumulated_step(lambda rows: losses.simple(net, s, images[rows], t[rows], noise[rows]), torch.arange(60).split(sizes), still)
    gradients.append(torch.cat([p.grad.flatten() for p in net.parameters()]))
same("gradient of 60 at once", gradients[0], "of 25 + 25 + 10", gradients[1], 1e-6)

# %% [markdown]
# ## Clipping
#
# Now and then a batch has a gradient a hundred times longer than usual. *Clipping* shortens it to a fixed norm, 1 in DDPM's code. But does Adam not divide by the size of the gradient anyway? It divides by the size of the *last thousand*. One weight, a gradient of
# 1 in every step, and once, in step 300, of 100:

# %%
def adam_steps(limit):
    """How far Adam moves one weight in each step, in units of the rate of learning."""
    w, moves = torch.nn.Parameter(torch.zeros(1)), []
    optimiser = torch.optim.Adam([w], lr=1e-3)
    for step in range(900):
        w.grad = torch.full((1,), 100.0 if step == 300 else 1.0)
        torch.nn.utils.clip_grad_norm_([w], limit)
        before = w.detach().clone()
        optimiser.step()
        moves.append((before - w.detach()).item() / 1e-3)
    return torch.tensor(moves)

free, clipped = adam_steps(1e9), adam_steps(1.0)
print(f"largest step {free.max():.1f}; 20 steps after the spike {free[320]:.1f}, 100 after {free[400]:.2f}, 500 after {free[800]:.2f}")
print(f"clipped: between {clipped.min():.2f} and {clipped.max():.2f}")
plots.curves(torch.arange(900), {"not clipped": free, "clipped to 1": clipped}, "step", "size of the step / rate")

# %% [markdown]
# *What to see: one bad batch makes a few steps too large, and then, since it is remembered for a thousand steps, hundreds that are far too small: a fifth, a hundred steps later.* With clipping it is a step like any other.
#
# ## Mixed precision
#
# Numbers of 16 bits take half the memory, and GPUs multiply them several times faster. There are two kinds:

# %%
for kind in (torch.float32, torch.bfloat16, torch.float16):
    limits = torch.finfo(kind)
    print(f"{kind!s:15s} largest {limits.max:9.2g}, smallest {limits.tiny * limits.eps:8.1g}, next after 1: 1 + {limits.eps:.1g}")

# %% [markdown]
# bfloat16 has float32's range and few digits; float16 has more digits and a small range. `torch.autocast` picks, operation by operation, what may be computed in 16 bits. Weights, averages, Adam's moments and the loss stay float32:

# %%
x, net2d = torch.randn(2, 8, 8, 8), torch.nn.Conv2d(8, 8, 3, padding=1)
with torch.autocast("cpu", torch.bfloat16):
    h = net2d(x)
    kinds = {"convolution": h, "matrix product": h @ h, "softmax": h.softmax(-1), "SiLU": torch.nn.functional.silu(h)}
    kinds |= {"squared error": torch.nn.functional.mse_loss(h, x), "sum with float32": h + x}
print({name: str(value.dtype).removeprefix("torch.") for name, value in kinds.items()})
print("the weights:", net2d.weight.dtype)

# %% [markdown]
# What does it save? Of DDPM's network, with its batch of 128, counted on the meta device:

# %%
costs = {precision: planner.cost(presets.CIFAR10, precision) for precision in ("fp32", "bf16")}
for precision, cost in costs.items():
    m = cost.memory
    fixed = (m.weights + m.gradients + m.optimiser + m.averages) / 1e9
    print(f"{precision}: kept for the backward pass {m.saved / 1e9:.1f} GB, weights, gradients, Adam, average {fixed:.1f} GB")
print(f"of what is kept {costs['bf16'].memory.saved / costs['fp32'].memory.saved:.0%} are left")

# %% [markdown]
# Far from half: normalisation and softmax run in float32 and keep a copy of their own. ("Nearly 2x" is what is usually said.)
#
# ### Why float16 needs scaling
#
# Gradients are small: the loss is a mean over the batch and all pixels, so each activation's gradient is divided by their number. How small? The digits' network, a batch of 64, the gradient at the output of each convolution, rounded to float16:

# %%
unet, about = models.load("digits_unet")
seen = []
def listen(module, given, out):
    out.register_hook(lambda gradient: seen.append(gradient.flatten()))

for module in unet.modules():
    if isinstance(module, torch.nn.Conv2d):
        module.register_forward_hook(listen)
t, noise = draw(0, 1, 64, (1, 8, 8), 1000, 0, 1)
labels = digits.labels[:64]
losses.simple(lambda x, t: unet(x, t, labels=labels), s, images[:64], t, noise).mean().backward()
gradient = torch.cat(seen)
for name, factor in (("as it is", 1), ("of CIFAR-10's size, batch 512", 1 / 384), ("the same, scaled by 65,536", 65536 / 384)):
    half = (factor * gradient).half()
    coarse = (half.abs() < torch.finfo(torch.float16).tiny) & (gradient != 0)
    print(f"{name:30s} {((half == 0) & (gradient != 0)).float().mean():4.0%} are 0, {coarse.float().mean():4.0%} have lost digits")

# %%
scale = torch.tensor([2.0**k for k in range(-4, 45)])
lost = [((k / 384 * gradient).half() == 0).float().mean() for k in scale]
infinite = [(k / 384 * gradient).half().isinf().float().mean() for k in scale]
print(f"without scaling {lost[4]:.0%} are lost, at 2^16 {lost[20]:.0%}; at 2^44 {infinite[-1]:.0%} overflow")
plots.curves(torch.arange(-4, 45), {"0 in float16": torch.stack(lost), "infinite in float16": torch.stack(infinite)},
             "scale, as a power of 2", "share of the gradient")

# %% [markdown]
# *What to see: without scaling (2 to the power 0) nearly all of the gradient is 0 in float16; scaled up it all fits, until it becomes too large at the other end.* So multiply the loss by a large number, go backwards, and divide the gradient again, in float32. If something did overflow, skip the step and halve the
# number; if nothing has for long, double it. That is `torch.amp.GradScaler`. bfloat16 has the range of float32 and needs none of it. (T4 and V100 have no bfloat16; torch says that a T4 has, since it can emulate it. The library looks closer.)
#
# ### Exercise 7.6: find the bug
#
# *Difficulty 2 of 5, ten minutes.*
#
# This step trains, slowly. Its gradient norm is always the limit, and lowering the scale makes it faster:
#
# ```python
# optimiser.zero_grad();  scaler.scale(loss).backward()
# torch.nn.utils.clip_grad_norm_(parameters, limit);  scaler.step(optimiser);  scaler.update()
# ```
#
# Write it as it should be.
#
# <details><summary>Hint 1</summary>What is the norm of the gradient at the moment when it is clipped?</details>
# <details><summary>Hint 2</summary><code>scaler</code> has a method whose name ends in an underscore.</details>

# %% tags=["exercise"]
def scaled_step(loss, parameters, optimiser, scaler, limit):
    """One step in fp16: the gradient of `loss`, clipped to the norm `limit`; none where it has overflowed."""
    # BEGIN SOLUTION
    optimiser.zero_grad()  # what the step before has left
    scaled = scaler.scale(loss)
    scaled.backward()
    scaler.unscale_(optimiser)
    torch.nn.utils.clip_grad_norm_(parameters, max_norm=limit)
    scaler.step(optimiser), scaler.update()
    # END SOLUTION

# %% tags=["check"]
the_training.scaled_step(scaled_step)

# %% tags=["fallback"]
scaled_step = or_library(scaled_step, training_answers.scaled_step)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *Clipped while it was scaled* | the norm was 65,536 times too large when it was compared with the limit |
# | *by itself* | `clip_grad_value_`, or a loop over the parameters: the gradient is turned, not only shortened |
# | *halves it* | `scaler.update()` is missing |
# | *No inf checks were recorded* | `optimiser.step()` in place of `scaler.step(optimiser)` |
# | *had overflowed went into the weights* | the same: it is the scaler that skips a step |
#
# [One way](solutions/07_train_the_full_model.ipynb). An overflow, and what becomes of it: the weight should stay, and the scale be halved.

# %%
w = torch.nn.Parameter(torch.tensor([1.0]))
sgd, scaler = torch.optim.SGD([w], lr=0.1), torch.amp.GradScaler("cpu", init_scale=2.0**16)
for factor in (0.5, float("inf"), 0.5):
    scaled_step((factor * w).sum(), [w], sgd, scaler, 1.0)
    print(f"gradient {factor}: weight {w.item():.2f}, scale {scaler.get_scale():,.0f}")

# %% [markdown]
# ## What each of them costs
#
# Gradient checkpointing was the subject of a section of notebook 04: forget what a block computed, compute it again; $\sqrt n$ of $n$ layers are kept. `torch.compile` turns the network into one program, in which neighbouring operations are done in one go: for a GPU, whose memory is slow compared with its
# arithmetic, that is much; and the host has fewer operations to start. A script measured all of them in the loop itself, on a CPU, with the Fashion-MNIST network:

# %%
repository = Path(models.__file__).parents[2]
measured = json.loads((repository / "benchmarks/results/training_techniques.json").read_text())
about = measured["about"]
print(f"{about['date']}, {about['machine']}, {about['seconds']} s: {about['command']}")
plain = measured["rows"][0]
print(f"{measured['parameters']:,} parameters, batch {measured['batch']}; time and memory of a step:")
for row in measured["rows"]:
    memory = f"{row['peak bytes'] / 2**20:6.0f} MiB" if "peak bytes" in row else "not counted"
    first = f"; the first step takes {row['seconds of the first step']:.0f} s" if "seconds of the first step" in row else ""
    print(f"{row['name']:28s} {row['seconds']:.3f} s ({row['seconds'] / plain['seconds']:4.0%}), {memory}{first}")
a, c = measured["average"], measured["checkpoint"]
print(f"an update of the average, {a['tensors']} tensors: one by one {1e3 * a['one by one']:.1f} ms, in one call {1e3 * a['in one call']:.1f} ms")
print(f"a checkpoint: {c['bytes'] / 1e6:.0f} MB, {c['seconds to write']:.2f} s to write, hash and read back", end="; ")
print(f"one in a thousand steps: {c['seconds to write'] / (1000 * plain['seconds']):.2%} of the time")

# %% [markdown]
# (Percentages are of the first row. Memory is the most that tensors hold at once within a step.) How to read it:
#
# - *bfloat16* here takes a quarter less time and half the memory: on a CPU, autocast leaves normalisation in 16 bits as well. On a GPU it should gain more time and less memory (*estimated*, under "Planning"). fp16 is not in the table: no CPU computes in it faster.
# - *Checkpointing* brings the memory down to less than 40 %, for nearly 40 % more time. In arithmetic it is a quarter (notebook 04), but what is computed again here is slow for other reasons than arithmetic.
# - *Four parts* of eight images need less than a third of the memory. They are slower since small parts use the processor badly; on a GPU, with large parts, it should cost next to nothing (*estimated*, as above).
# - *Clipping* and the *average* cost nothing that this measurement can see, and nor do *checkpoints*: what makes a run last is a matter of care, not of time.
# - *torch.compile* gains nothing on one core of this CPU, and takes half a minute to find out. It is made for GPUs. What it gains there is an *assumption* of the planner, twice the speed: measure it.
#
# ## Many processes
#
# One GPU is a process. Several are as many processes, each with a copy of the weights, each working on its rows of the batch. After the backward pass they average their gradients, and all make the same step. That is `DistributedDataParallel` (DDP), and `torchrun` starts them.
#
# DDP holds everything in each process: 20 bytes a parameter (weight, gradient, average, Adam's two moments; 4 bytes each). Where that is too much, FSDP2 cuts each tensor in pieces; before a block computes, the processes send each other its weights, and let go of them after it.
#
# You need no GPU to see that it is right. Two processes on this CPU, in one start: three steps with DDP, then three with FSDP2, on coloured shapes of 32 x 32 pixels in the place of CIFAR-10, with its network a quarter as wide.

# %%
two = two_processes.launch(work)  # torchrun --standalone --nproc-per-node 2 -m ddpm_edu.exercises.two_processes FOLDER
alone = two_processes.shared_out(Team(0, 1, torch.device("cpu")), work / "alone")
for kind in ("gradient", "weight"):
    keys = [key for key in alone if key.startswith(kind)]
    by_two, by_one = (torch.cat([found[key].flatten() for key in keys]) for found in
                      ({key: two[0][f"DDP {key}"] for key in keys}, alone))
    same(f"{kind}s by two processes (DDP)", by_two, "by one", by_one, 1e-5)
    same(f"{kind}s in process 0", by_two, "in process 1", torch.cat([two[1][f"DDP {key}"].flatten() for key in keys]), 0)

# %%
names = [key.removeprefix("weight.") for key in alone if key.startswith("weight.")]
pieces = torch.cat([two[0][f"FSDP2 net.{name}"].flatten() for name in names])
same("weights, cut in pieces (FSDP2)", pieces, "by one process", torch.cat([alone[f"weight.{n}"].flatten() for n in names]), 1e-5)
for rank in (0, 1):
    held, whole = two[rank]["FSDP2 numbers held, of all"].tolist()
    print(f"process {rank} holds {held:,} of {whole:,} numbers: weights, average, two moments ({held / whole:.1%}; with DDP all)")

# %% [markdown]
# Not equal to the last bit, by the way: two processes add up in another order than one. (Equal bit for bit is the gradient to the average of the two shares; a test of this package says so.) The two among each other are equal to the last bit, and must be, or they would drift apart.
#
# Measured here is that they are right, and what they hold. How fast they are, two processes on the cores of one CPU cannot say: that is *estimated*, under "Planning".
#
# What goes wrong with many processes, mostly: the same seed in all of them, so that all have the same noise (below); the mean over *unequal* shares; saving in every process into the same file; and sampling in one of them while the others wait, until they give up. The loop of this package has an answer to each: draws by row, a sum over all divided
# by the number of all, one writer, half an hour of patience.
#
# ## The whole
#
# You have all pieces of a step. In which order? Most orders train, somehow, and say nothing.
#
# ### Exercise 7.7: one whole training step
#
# *Difficulty 3 of 5, fifteen minutes.*
#
# Put it together: the gradient of a batch in parts, shortened to the norm `limit`; one step of the optimiser; and the average after it, as update `n` has it. `run` is (network, optimiser, average), as `new_run()` makes it. Change these, and return nothing.
#
# Your `followed` fits as it is. Your `accumulated_step` clears, gathers and *steps*, and the clipping belongs before the step. So write its loop once more; or let it have an optimiser that stands still, as in the cell that compared 60 with 25 + 25 + 10.
#
# <details><summary>Hint 1</summary>What is the whole batch's comes once, after the last part: clip, step, then the average, which follows the <em>new</em> weights.</details>
# <details><summary>Hint 2</summary>SGD with the rate 0 clears and gathers, and moves nothing: what it leaves in <code>.grad</code> is the gradient of all parts. The average is a dict: write <code>followed(...)</code> of each name's average and of <code>p.detach()</code> back under the name.</details>

# %% tags=["exercise"]
def whole_step(run, loss_of, parts, limit, decay, n):
    """The n-th update (1, 2, ...) of run = (network, optimiser, average), from a batch that comes in `parts`."""
    # BEGIN SOLUTION
    network, adam, averages = run
    accumulated_step(loss_of, parts, torch.optim.SGD(network.parameters(), lr=0.0))  # gathers, and moves nothing
    torch.nn.utils.clip_grad_norm_(network.parameters(), limit)
    adam.step()
    for name, weight in network.named_parameters():
        averages[name] = followed(averages[name], weight.detach(), decay, n)
    # END SOLUTION

# %% tags=["check"]
the_training.whole_step(whole_step)

# %% tags=["fallback"]
whole_step = or_library(whole_step, training_answers.whole_step)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *updated before the step*, *updated for each part* | the average's line stands too early, or within the loop |
# | *The gradient of each part was clipped* | a sum of shortened parts points elsewhere (DDPM's own code does that, with the share of each replica) |
# | *clipped after the step* | it is too late: the long gradient has moved the weights |
# | *accumulated_step makes one itself* | it was given the run's optimiser, which then stepped twice |
# | *was given the weights of the average* | network and average are exchanged: the average only looks on |
# | *an average of the gradients* | `p.grad` in place of `p` |
# | *grown into the graph* | `followed(..., p, ...)` without `detach`: each average remembers all that were before it |
#
# [One way](solutions/07_train_the_full_model.ipynb). A hundred steps, of 64 images at once and in uneven parts, should give the same weights and averages, `[close: within 1e-04]`:

# %%
def a_hundred_steps(sizes):
    """Weights and average after a hundred whole steps of 64 images, in parts of these sizes."""
    run = new_run()
    for step in range(100):
        (t, noise), g = draw(0, step, 64, (1, 8, 8), 1000, 0, 1), generator(0, step, 1)
        x = images[torch.randint(len(images), (64,), generator=g)]
        def loss_of(rows, x=x, t=t, noise=noise):
            return losses.simple(run[0], s, x[rows], t[rows], noise[rows])
        whole_step(run, loss_of, torch.arange(64).split(sizes), 1.0, 0.999, step + 1)
    return torch.cat([x.detach().flatten() for x in (*run[0].parameters(), *run[2].values())])

same("after a hundred steps of 64", a_hundred_steps([64]), "of 25 + 25 + 14", a_hundred_steps([25, 25, 14]), 1e-4)

# %% [markdown]
# And here is the training that was planned above, with all of it. What it does in each step fits on a page, and you know every line of it:

# %%
import inspect

from ddpm_edu.training import loop

print(inspect.getsource(loop.one_step))
print(inspect.getsource(loop._update))

# %% [markdown]
# **Run the next cell, and interrupt it** (the square button above, or the key I twice): it finishes its step, saves, and says where it stands. Run it again: it goes on. The picture follows the run.
#
# Beside the run's own average, `watch` keeps some without warm-up, to see the trap.

# %%
folder = Path("runs/cifar10") if on_gpu else work / "digits"  # on a GPU, where it takes hours, one that stays
followers = {}

def follow(run):
    """Averages with constant decays, beside the run; the second step finds the weights after the first."""
    if not followers:
        followers["all"] = ema.Averages(run.net, {f"{d}": ema.constant(d) for d in (0.0, 0.9, 0.99, 0.999, 0.9999)})
    followers["all"].update(run.net)

# %% tags=["nbval-ignore-output"]
picture = training.live.watch_run(folder)
report = training.train(config, folder, progress=False, watch=lambda run: (follow(run), picture(run)))
picture.update()
newest = checkpoint.newest(folder / "checkpoints")
if report.weights is None:
    print(f"stopped after step {report.step:,} of {config.steps:,}; run this cell again, and it goes on")
else:
    print(f"done: {report.step:,} steps. A hash of all that its checkpoint holds: {fingerprint(newest.state)}")

# %% [markdown]
# *What to see: the loss falls fast, then slowly, and is noisy: each line is of a few batches at random times (the smoothed one lags behind them). By quarter of t: what is learnt late is in the first quarter. (In the stored page it is the picture of the finished run.)*

# %%
log = [line for line in read_log(folder / "log.jsonl") if line["kind"] == "loss"]
first, last = log[0]["loss"], sum(line["loss"] for line in log[-10:]) / 10
print(f"{len(log)} lines; the loss has fallen to less than a third: {last < first / 3}")
print("snapshots for averages of any width:", len(posthoc.steps(folder)))
print("files:", *sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")))

# %% tags=["nbval-ignore-output"]
speed = torch.tensor([line["images_per_second"] for line in log]).median()
print(f"images a second: the plan said {plan.images_per_second:,.0f}, the training made {speed:,.0f}")

# %% [markdown]
# *The same with buttons.* A cell that trains holds the notebook until it ends. The dashboard trains beside it: press Continue (the first hundred steps are
# done here, so that there is something to see), then Pause, and run another cell meanwhile. Stop writes a checkpoint; Continue, or the command line, goes on from there, bit for bit.

# %% tags=["nbval-ignore-output"]
from ddpm_edu.training.interruptions import StopRequest

stop = StopRequest()
report = training.train(config, work / "with buttons", progress=False, stop=stop,
                        watch=lambda run: run.step == 100 and stop.ask())
print(f"stopped after step {report.step}; Continue trains the rest of the {config.steps:,} steps")
widgets.training_dashboard(config, work / "with buttons")

# %% [markdown]
# ### Which average?
#
# One run, and all averages of it: without warm-up for several decays (0 are the last weights themselves), and the run's own. What is the loss of each, on all digits, at the same times, with the same noise? And what does a classifier read in a hundred of its samples?

# %%
extractor = metrics.features.load("digits")

def samples_of(net, about, n, steps=15, seed=0):
    """n images in [-1, 1] from a network and what its file says of it, one class after the other."""
    chain = schedules.by_name(*about["schedule"].values())
    told = {} if net.config.classes is None else {"labels": (torch.arange(n) % net.config.classes).to(device)}
    denoise = parameterization.denoiser(net.to(device), chain, about["predicts"], parameterization.static_clip, **told)
    shape = (n, *about.get("size", (1, 28, 28)))
    return sampling.sample(denoise, chain, shape, "dpmpp_2m", steps, generator=generator(seed), device=device).cpu()

def read_right(made):
    """The share of digits in which the classifier reads what was asked for."""
    return (extractor.logits(made).argmax(1) == torch.arange(len(made)) % 10).float().mean().item()

# %% tags=["nbval-ignore-output"]
own = weights.of_checkpoint(folder)  # the first average of the newest checkpoint, whether the run has ended or not
rows, found = {"the run's own": own.net}, {}
if followers and not on_gpu:
    rows |= {f"{d}, no warm-up": followers["all"].net(own.net, d) for d in followers["all"].rates}
chain, (t, noise) = schedules.by_name(*own.about["schedule"].values()), draw(9, 0, len(images), (1, 8, 8), 1000, 0, 1)
for name, net in ({} if on_gpu else rows).items():
    with torch.no_grad():
        def predict(x, t, net=net):
            return net(x, t, labels=digits.labels)
        loss = losses.simple(predict, chain, images, t, noise, own.about["predicts"]).mean()
    made = samples_of(net, own.about, 100)
    found[name] = (loss.item(), read_right(made), made)
    print(f"{name:20s} loss {loss:.4f}, read as asked {found[name][1]:4.0%}")

# %%
trap, mine = (found.get(name) for name in ("0.9999, no warm-up", "the run's own"))
if trap and mine:
    print(f"of the first weights in it: {ema.share_of_the_first(ema.constant(0.9999), config.steps):.0%}")
    print(f"the trap's loss is more than twice as large: {trap[0] > 2 * mine[0]}")
    print(f"the classifier reads what was asked for in fewer than 30% of its samples: {trap[1] < 0.3}")
    print(f"and in more than 70% of those of the run's own average: {mine[1] > 0.7}")

# %% tags=["nbval-ignore-output"]
made = samples_of(own.net, own.about, 20) if mine is None else torch.cat([mine[2][:10], trap[2][:10]])
print(f"{own.source}, average {own.about['training']['average']}: {len(made)} samples")
plots.images(made, columns=10, size=0.8)

# %% [markdown]
# *What to see: above, digits from the network that you have just trained, one of each class. Below, from the average that fell into the trap, of the same run: noise.* The same network, the same training, another line of code.
#
# With the warm-up, by the way, it does not matter here whether the decay is 0.99 or 0.9999: in a run this short $(1+n)/(10+n)$ is smaller than both. And the length need not be chosen before: from snapshots of two averages (`ema_widths`, of EDM2's power-function kind) any other follows afterwards.

# %%
kept = posthoc.average(folder, 0.05)  # made from the snapshots, although the run has it
name, has = ema.power_name(0.05), checkpoint.newest(folder / "checkpoints").state["averages"]["weights"]
error = max((kept[key] - has[name][key]).abs().max().item() for key in kept)
print(f"width 0.05, put together from {len(posthoc.steps(folder))} snapshots: off by less than 1e-5: {error < 1e-5}")
wider = posthoc.average(folder, 0.2)
print(f"width 0.2 is another average, and no training was needed: {max((wider[k] - kept[k]).abs().max().item() for k in kept) > 1e-3}")

# %% [markdown]
# ### How good is it?
#
# Notebook 06 is about what such numbers mean. Here are the ones that belong to every training: the Frechet distance of samples, in the features of a small classifier that the package carries, beside that of real images (the floor), and what the classifier reads. For a network with colours, FID proper, where Inception's weights can be had.

# %% tags=["nbval-ignore-output"]
if not on_gpu:
    made = data.to_model_range(data.to_uint8(samples_of(own.net, own.about, 500, seed=1)))
    real = extractor.features(images)
    distance = metrics.frechet_distance(extractor.features(made), real)
    floor = metrics.floor(real, 500, 5, generator(0))
    print(f"Frechet distance of 500 samples {distance:.2f}; of 500 real digits {floor.mean:.2f}; read as asked {read_right(made):.0%}")

# %%
if not on_gpu:
    noise_distance = metrics.frechet_distance(extractor.features(torch.randn(500, 1, 8, 8, generator=generator(0)).clamp(-1, 1)), real)
    print(f"nearer to the digits than noise is, by a factor of five at least: {distance < noise_distance / 5}")
else:
    from ddpm_edu.metrics import inception

    few = torch.cat([data.to_uint8(samples_of(own.net, own.about, 250, steps=50, seed=k)) for k in range(40)])
    seen_by = inception.load().features  # 96 MB, downloaded once
    print("FID of 10,000 samples:", metrics.frechet_distance(seen_by(few), seen_by(data.cifar10("train").images)))

# %% [markdown]
# And the numbers of the papers, for the same network on CIFAR-10, to hold a GPU's run against:
#
# | Training | steps x batch | FID (50,000 samples, training set) | IS |
# |---|---|---|---|
# | DDPM, $L_{\text{simple}}$ (Ho et al. 2020, Table 1) | 800,000 x 128 | **3.17** | 9.46 ± 0.11 |
# | DDPM, the bound $L$ (the same) | 800,000 x 128 | 13.51 | 7.67 ± 0.13 |
# | the same weights, DDIM with 50 steps (Song et al. 2021, Table 1) | | 4.67 | |
# | EDM, unconditional (Karras et al. 2022, Table 2) | another network | 1.97 | |
# | **this package, preset `cifar10`** | 800,000 x 128 | *not measured: hours to days of a GPU* | |
#
# Ten thousand samples and 50 steps give a larger FID than 50,000 and 1,000: notebook 06 says by how much. Compare like with like. Where a run of your own falls short, look first at the average (is it in the trap?), the flips, the dropout, the sampler's variance and number of steps.
#
# ## Ten minutes longer: Fashion-MNIST
#
# The preset `fashion-cpu` takes about ten minutes on two cores, too long for a page. A run of it, with more steps, is in the package, with its log:

# %%
fashion, about = models.load("fashion_unet")
record = json.loads((Path(models.__file__).parent / "weights/fashion_unet.json").read_text())
print(f"{record['date']}, {record['machine']}, {record['seconds']} s: {record['command']}")
print(f"{sum(p.numel() for p in fashion.parameters()):,} parameters, predicts {about['predicts']}, {about['schedule']['family']} schedule")
curve, every = torch.tensor(record["loss"]["mean"]), record["loss"]["steps an entry"]
print(f"loss of the first {every} steps {curve[0]:.3f}, of the last {curve[-1]:.3f}")
plots.curves(every * torch.arange(1, len(curve) + 1), {"loss": curve}, "step", "loss", log=True)

# %% [markdown]
# *What to see: most is learnt in the first tenth of the steps. The rest is slow, and is what the eye sees.*

# %%
made = samples_of(fashion, about, 20)
judge = metrics.features.load("fashion")
names = judge.logits(data.to_model_range(data.to_uint8(made))).argmax(1)
print(f"20 samples; the classifier reads what was asked for in {int((names == torch.arange(20) % 10).sum())}")
print(", ".join(data.FASHION_CLASSES))
plots.images(made, columns=10, size=1.0)

# %% [markdown]
# *What to see: two of each class, from left to right as printed.*
#
# ## Before the GPU: a dry run
#
# A training on a rented machine that fails in its first minute is cheap; one that fails at its first checkpoint, or at its first sheet of samples, is not. So go through all of it beforehand, where it costs nothing: the CIFAR-10 preset with a narrow network, pictures of the right size, six steps, a checkpoint, a sheet, an
# interruption, the weights, samples.

# %%
dry = presets.CIFAR10.changed({"steps": 6, "batch": 8, "warmup": 2, "save_every": 3, "sample_every": 6, "log_every": 1})
dry = dry.changed({"net.width": 32, "net.groups": 8, "net.blocks": 1, "ema": [0.9]})
stand_in = data.shapes(64, seed=0)  # coloured shapes, 32 x 32, in the place of CIFAR-10
report = training.train(replace(dry, steps=3), work / "dry", images=stand_in, progress=False)  # the first half
report = training.train(dry, work / "dry", images=stand_in, progress=False)  # and on
tried = models.load(report.weights)
made = samples_of(*tried, 2, steps=3)
print(f"{report.step} steps; {tuple(made.shape)}, finite: {bool(made.isfinite().all())}")
print("files:", *sorted(p.name for p in (work / "dry").rglob("*") if p.suffix in (".safetensors", ".jsonl", ".png")))

# %% [markdown]
# ## Planning: which GPU, how many, how long, how much?
#
# The estimate of `python -m ddpm_edu plan cifar10`, for the GPUs that people have. **All of it is estimated**: counted operations, published peaks, an assumed share of the peak.

# %%
print(plan_text.table([planner.plan(presets.CIFAR10, gpu) for gpu in planner.GPUS]))

# %% [markdown]
# How good are such estimates? What was measured on an H200 (an H100 with more memory), as a share of what is planned for an H100:

# %%
on_h200 = json.loads((repository / "benchmarks/results/gpu_step.json").read_text())
print(f"{on_h200['about']['date']}, {on_h200['about']['machine']}; as a share of what was planned:")
for row in on_h200["rows"]:
    if "planned_MB" in row:
        speed, memory = row["images_per_second"] / row["planned_images_per_second"], row["MB"] / row["planned_MB"]
        print(f"{row['way']:26s} {row['images_per_second']:5,} images/s, {speed:4.0%};  {row['MB']:6,} MB, {memory:4.0%}")

# %% [markdown]
# *What to see: the memory of plain training is right to ten percent, its speed is not.* That machine was a virtual one, whose host took 60 to 80 ms to start the operations of one
# pass (each of four parts as long as a whole batch): ten times what is assumed. With 512 images a step the GPU had something to do, and reached 78% of the plan. The compiler fuses operations and keeps less; checkpointing needs 15% more than planned, for gradients on their way through the block that is computed again. So plan
# memory beforehand, and measure speed on the machine itself, in its first minute.
#
# What would each technique change? Of the A100, a step of 128 images; the processes' time is without what they send each other:

# %%
a100, ways = planner.gpu_by_name("a100"), {"bfloat16": {}, "float32": {"precision": "fp32"}}
ways |= {"checkpointing": {"checkpointing": True}, "4 parts": {"accumulate": 4}, "one of 8 processes (DDP)": {"batch": 16}}
plans = {name: planner.plan(presets.CIFAR10.changed(way), a100) for name, way in ways.items()}
plans["torch.compile"] = planner.plan(presets.CIFAR10, a100, planner.COMPILED)
for name, estimated in plans.items():
    print(f"{name:25s} {1e3 * estimated.seconds_per_step:6.1f} ms, {estimated.cost.memory.total / 1e9:.2f} GB   ESTIMATED")
memory = plans["bfloat16"].cost.memory
kept = memory.total - memory.saved  # weights, gradients, average, Adam's moments
print(f"in each process {kept / 1e9:.2f} GB of weights and their company with DDP, {kept / 8e9:.2f} GB with FSDP2 and 8 processes;")
print(f"gradients that DDP sends in a step: {memory.gradients / 1e6:.0f} MB")

# %% [markdown]
# Move it. The price is what *you* pay for an hour. Three things to try:
#
# 1. Eight H100 at batch 128. How many times faster than one is it, and what does it cost? And 100,000 steps at batch 1024, which are as many images?
# 2. The preset `folder` (64 x 64 pixels) on a T4. At which batch does it no longer fit, and what does checkpointing do about it, in memory and in hours?
# 3. `cifar10-fast` as it is meant, 200,000 steps of 512, beside `cifar10` with 800,000 of 128: the same number of images. What makes the difference?
#
# <details><summary>What you should find</summary>1: four times faster for eight times the GPUs, so twice the price: with 16 images each, a step takes as long as the host needs to start its operations. At 1024 images a step they have something to do: eight times faster, at the same price. 2: at 128. Checkpointing brings 21 GB down to 7, for a quarter more hours: what is kept for the backward pass grows with the batch, and only that shrinks. 3: half the hours, and nothing but an assumption makes it so: that compiled code reaches 30 % of the peak where 15 % are reached without.</details>

# %%
planner_widget = widgets.training_planner()
print(f"{planner.cost(presets.CIFAR10, 'bf16').operations:,} operations a step, started one by one by the host")
planner_widget

# %% [markdown]
# What changes from machine to machine:
#
# - **T4, V100** (free notebooks): no bfloat16, so fp16 with scaling; 16 GB. `precision=auto` sees to it. Sessions end without a warning: write checkpoints to a disk that survives (`--out`).
# - **A100, RTX 4090, H100**: bf16. The network is small for them: larger batches and `compile=true`, or the host is the limit.
# - **Several GPUs**: `torchrun --standalone --nproc-per-node 4 -m ddpm_edu train cifar10 --out RUN`. The batch is of all together; the run is the same, up to rounding.
# - **A cluster**: machines that share a disk, and a queue that may take them away. All of the following come down to one thing: *rerun the same command*.
#
# SLURM, `sbatch train.sh`; it asks for a signal two minutes before the end, upon which the run saves and leaves, and is queued again:
#
# ```bash
# #SBATCH --nodes=2 --ntasks-per-node=1 --gpus-per-node=8 --signal=TERM@120 --requeue
# srun torchrun --nnodes $SLURM_NNODES --nproc-per-node gpu --rdzv-backend c10d --rdzv-id $SLURM_JOB_ID \
#      --rdzv-endpoint $(scontrol show hostnames $SLURM_JOB_NODELIST | head -1):29500 \
#      -m ddpm_edu train cifar10 --out /shared/runs/cifar10
# ```
#
# Kubernetes, a Job whose pods are started again when they fail (with one pod; for several, Kubeflow's TrainJob sets torchrun's variables):
#
# ```yaml
# spec:
#   backoffLimit: 100
#   template:
#     spec:
#       restartPolicy: OnFailure
#       containers:
#         - command: [torchrun, --standalone, --nproc-per-node, "8",
#                     -m, ddpm_edu, train, cifar10, --out, /runs/cifar10]
# ```
#
# SkyPilot, on machines that are cheap because they may be taken away, with a bucket for the folder:
#
# ```bash
# sky jobs launch --use-spot train.yaml
# # in train.yaml, run: torchrun --standalone --nproc-per-node 8 -m ddpm_edu train cifar10 --out /bucket/cifar10
# ```
#
# (These lines have not been run here: there is no cluster. What they rest on, that the same command goes on after SIGTERM and after SIGKILL, by one process and by two, is tested. Between processes there is no password: a trusted network only.)
#
# ## Your own images
#
# Three cells. A folder of pictures, of any size; here one is made, of sixty drawings:

# %%
from PIL import Image

own_folder = work / "my pictures"
own_folder.mkdir(exist_ok=True)
for i, picture_i in enumerate(data.shapes(60, seed=1).images):
    Image.fromarray(picture_i.permute(1, 2, 0).numpy()).save(own_folder / f"{i:02d}.png")
chosen = presets.FOLDER.changed({"folder": str(own_folder), "size": 16, "schedule": "cosine", "predicts": "v"})
chosen = chosen.changed({"steps": 150, "batch": 16, "lr": 4e-3, "warmup": 10, "log_every": 10})
chosen = chosen.changed({"net.width": 16, "net.groups": 4})
chosen = chosen.changed({"net.multipliers": [1, 2], "net.attention": [1], "net.blocks": 1})  # this for a laptop only
print(f"{len(list(own_folder.iterdir()))} pictures, made {chosen.size} x {chosen.size}; {chosen.steps} steps")

# %%
report = training.train(chosen, work / "mine", device="cpu", progress=False)
log = [line for line in read_log(work / "mine/log.jsonl") if line["kind"] == "loss"]
print(f"{report.step} steps, weights in {report.weights.name}; loss halved: {log[-1]['loss'] < log[0]['loss'] / 2}")

# %% tags=["nbval-ignore-output"]
net, about = models.load(report.weights)
made = samples_of(net, about, 8, steps=20)
speed = torch.tensor([line["images_per_second"] for line in log]).median()
print(f"{len(made)} samples of {tuple(about['size'])}, after {chosen.steps * chosen.batch / speed:.0f} s of training")
plots.images(torch.cat([data.folder(own_folder, 16).model_range()[:8], made]), columns=8, size=1.0)

# %% [markdown]
# *What to see: above, pictures of the folder; below, samples after 150 steps of a tiny network: the dark ground, and blots of light and colour that are no shapes yet.* For real ones: leave out all settings after the first line, take some thousand pictures, a GPU, and `sample_every` to see how it goes. In the terminal it is
# `python -m ddpm_edu train folder --set folder=PICTURES --set size=64 --out RUN`, and `python -m ddpm_edu sample --checkpoint RUN --n 16 --out x.png`.
#
# ## What people get wrong
#
# *The other way round, from what you see to its cause, for the whole course: [errors and symptoms](../docs/errors.md).*
#
# **Writing over the only checkpoint.** What fails in the middle takes the old file with it:

# %%
only = work / "only.pt"
torch.save({"weights": torch.ones(1000)}, only)
before = only.stat().st_size
try:
    torch.save({"weights": torch.ones(1000), "oops": (x for x in [])}, only)  # a generator cannot be stored
except TypeError as problem:
    print(f"{problem}; the file had {before:,} bytes, now {only.stat().st_size:,}")
try:
    torch.load(only, weights_only=True)
except Exception as problem:
    print("and what is left of it:", type(problem).__name__)

# %% [markdown]
# **A flipped bit.** Disks and networks do that. torch loads it without a word; the hash in the name sees it, and the file before is taken:

# %%
import warnings

newest, before = checkpoint.listed(work / "undisturbed/checkpoints")[:2]
content = bytearray(newest.read_bytes())
content[len(content) // 2] ^= 64
newest.write_bytes(content)
print("torch.load takes it:", "net" in torch.load(newest, weights_only=True))
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    taken = checkpoint.newest(work / "undisturbed/checkpoints").path
print(f"the library warns: {'damaged' in str(said[0].message)}, and takes the one of step {checkpoint.step_of(taken)}")

# %% [markdown]
# **The same seed in every process.** It makes the first weights equal, which is right, and then the noise, which is not: two processes learn from the same half batch, twice.

# %%
noises = []
for _ in (0, 1):
    torch.manual_seed(0)  # as each process begins
    noises.append(torch.randn(2))
print("with one seed, equal noise in both:", torch.equal(*noises))
print("drawn by row:", torch.equal(draw(0, 0, 4, (2,), 1000, 0, 2)[1], draw(0, 0, 4, (2,), 1000, 1, 2)[1]))

# %% [markdown]
# **An average in bfloat16.** 20,000 steps towards 2, from 1:

# %%
averages = {kind: torch.ones(1, dtype=kind) for kind in (torch.float32, torch.bfloat16)}
for _ in range(20_000):
    for kind, value in averages.items():
        value.lerp_(torch.full((1,), 2.0, dtype=kind), 1e-4)
print({str(kind): round(value.item(), 3) for kind, value in averages.items()})

# %% [markdown]
# **Names that change.** `torch.compile(net)` and DDP wrap a network, and the names of its weights in a file change with it. Nobody can load them any more, or, worse, `strict=False` loads nothing:

# %%
net = models.MLP(4, width=8, depth=1)
wrapped = torch.compile(net, backend="eager")
print(next(iter(wrapped.state_dict())), "and with net.compile():", end=" ")
net.compile(backend="eager")
print(next(iter(net.state_dict())))

# %% [markdown]
# **Going on with other settings.** A command that is nearly the same is another training. It is refused, unless it is allowed by name:

# %%
try:
    training.train(replace(small, lr=1e-4), work / "killed", device="cpu", progress=False)
except ValueError as problem:
    print(type(problem).__name__, "-", problem)

# %% [markdown]
# **A loss that is NaN** goes on being NaN in all weights, and in the average. The loop looks at the gradient before the step, on the device, and stops with the weights as they were:

# %%
from ddpm_edu.training.distributed import together
from ddpm_edu.training.state import start

poisoned = replace(small, steps=3, lr=0.9, clip=None, warmup=0)
with together("cpu") as team:
    run = start(poisoned, work / "poisoned", team)
    next(run.net.parameters()).data.fill_(float("nan"))  # as a step that is far too large leaves it
    try:
        loop.one_step(run, run.images.images)
    except ValueError as problem:
        print(type(problem).__name__, "-", str(problem).split(";")[0])

# %% [markdown]
# ## Five questions
#
# Answer by mouse or keyboard: every option says why it is right or wrong. What you have solved so far, here and in the
# other lessons, `python -m ddpm_edu progress` shows (it stays on this machine).

# %%
widgets.quiz("07_train_the_full_model")

# %% [markdown]
# ## What to read next
#
# - Ho, Jain and Abbeel, *Denoising Diffusion Probabilistic Models* (2020): appendix B, the training; Table 1.
# - Micikevicius et al., *Mixed Precision Training* (2018): why losses are scaled.
# - Chen, Xu, Zhang and Guestrin, *Training Deep Nets with Sublinear Memory Cost* (2016): gradient checkpointing.
# - Karras et al., *Analyzing and Improving the Training Dynamics of Diffusion Models* (2024): section 3, averages chosen afterwards; and its code, whose loop is a function of the number of images seen.
# - Hang et al., *Efficient Diffusion Training via Min-SNR Weighting* (2023), and Salimans and Ho, *Progressive Distillation* (2022): what `cifar10-fast` is made of.
# - `ddpm_edu/training/`, some 20 modules of a page or two each: this page's loop, as it is run.
#
# **This is the end of the course's core.** You have built DDPM from one Gaussian step to a training that lasts. Beyond it: labs (in preparation), which start from here.
# [Back to the start](00_start_here.ipynb).
