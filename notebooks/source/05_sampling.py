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
# # 5. Sampling: from noise back to data
#
# Notebooks 03 and 04 trained a network to see the noise in a noisy image. This page uses it. There are many ways to walk from
# pure noise back to data, with a thousand calls of the network or with ten. All of them fit on a few lines, and most of the mistakes that
# people make in those lines go unnoticed.
#
# **After this page you can**
#
# - write DDPM's sampler, DDIM and DPM-Solver++ for any list of times, and say why each line is there,
# - tell a bug in a sampler from a weak network, and find it,
# - choose a sampler, its steps and the strength of guidance by measurements, and know what guidance really does.
#
# *About three hours with the exercises. Computing: 55 seconds on two CPU cores, 0.5 GB of memory (measured 2026-11-26); no GPU,
# no internet.*

# %%
import json
from itertools import pairwise
from pathlib import Path

import torch

torch.set_num_threads(1)  # the networks are so small that two threads mostly wait for each other

# %%
from ddpm_edu import data, forward, metrics, models, oracles, parameterization, plots, reverse, schedules, widgets
from ddpm_edu.exercises import or_library, same, sampling_answers, the_sampling
from ddpm_edu.parameterization import static_clip
from ddpm_edu.sampling import adaptive, ddpm, grids, guidance, inversion, sample, thresholding
from ddpm_edu.sampling.inpainting import repaint
from ddpm_edu.sampling.interpolation import slerp
from ddpm_edu.training import generator

digits = data.digits()
images = digits.model_range()  # (1797, 1, 8, 8), values from -1 to 1
s = schedules.linear(1000)  # DDPM's schedule
print(f"{len(images)} digits; at the end of the chain they are multiplied by sqrt(alpha_bar_T) = {s.alpha_bar[-1].sqrt():.4f}")

# %% [markdown]
# ## Perfect sampling, before any training
#
# If samples look bad, is it the network or the sampler? To be able to tell, begin with a denoiser that makes no mistakes.
#
# For a finite set of images it exists in closed form (notebook 03 used it too, as `FiniteDataset`). If $x_0$ is one of $n$ training images, each as likely, then given $x_t$ each has a
# probability, and the best guess is the average of all of them, weighted by it:
#
# $$\begin{gathered}\hat x_0(x_t) = \sum_i p_i\, x^{(i)}, \\
# p_i \propto \exp\Big(-\frac{|x_t - \sqrt{\bar\alpha_t}\,x^{(i)}|^2}{2(1-\bar\alpha_t)}\Big) .\end{gathered}$$
#
# No network, no training. Here is DDPM's sampler with this denoiser, all 1000 steps:

# %%
perfect = oracles.FiniteDataset(images).denoiser(s)
made = sample(perfect, s, (10, 1, 8, 8), "ddpm", generator=generator(0))

def nearest(x):
    """Distance (root mean square over pixels) to the nearest training digit, and which one it is."""
    distance, index = torch.cdist(x.flatten(1), images.flatten(1)).min(1)
    return distance / 8, index

distance, index = nearest(made)
print(f"largest distance to a training digit: {distance.max():.4f}")
plots.images(torch.cat([made, images[index]]), columns=10, size=0.8)

# %% [markdown]
# *What to see: ten samples above, for each the nearest training digit below. They are the same.*
#
# Two things to take from this. **The sampler works**: from now on, a sampler that does not return digits with *this* denoiser, given enough steps, has a bug. And
# **the perfect denoiser of a training set memorises it**: it is what the loss of notebook 03 asks for, and it can make nothing
# new. A network of modest size, not trained for ever, is not that good, and that is how it comes to make new images.

# %% [markdown]
# ## The naive way: fewer of the same steps
#
# A thousand calls of a network are slow. So let us take every 50th time of the thousand, and the formulas of DDPM's Algorithm 2 as they
# stand, with the $\beta_t$ of the table:

# %%
def walk(denoise, step, pairs, n=10, seed=0):
    """n samples: start with noise, then step(x_t, t, s_, seen, noise) for each pair, from t to s_."""
    x, of_steps = torch.randn(n, 1, 8, 8, generator=generator(seed)), generator(seed + 1)
    for t, s_ in pairs:
        with torch.no_grad():
            seen = denoise(x, torch.full((n,), t))
        x = step(x, t, s_, seen, torch.randn(x.shape, generator=of_steps)).float()
    return x

def naive(x_t, t, s_, seen, noise):
    """DDPM's Algorithm 2 with the tables' entries at t, whatever the length of the step."""
    mean = (x_t - s.beta[t] / (1 - s.alpha_bar[t]).sqrt() * seen.eps) / s.alpha[t].sqrt()
    return mean + (s.beta[t].sqrt() * noise if s_ > 0 else 0)

# %%
failed = []
for steps in (1000, 500, 100, 20):
    made = walk(perfect, naive, grids.uniform(1000, steps))
    failed.append(made)
    print(f"{steps:4d} steps: distance to the nearest digit {nearest(made)[0].mean():.2f} on average")
plots.images(torch.cat(failed), columns=10, size=0.8)

# %% [markdown]
# *What to see: the same sampler with 1000, 500, 100 and 20 steps, from above. The fewer the steps, the more noise is left.* The network
# is perfect, so the fault is in the formulas. $\beta_t$ is the noise of *one* step. A walk that goes from 1000 to 950 must undo 50 of them.
#
# ## Pairs of times
#
# A sampler does not need every time. It needs a list of pairs $(t, s)$: *from* $t$, *to* the earlier $s$ (in code `s_`, since `s` is the schedule). The first $t$ is $T$, where the noise
# is; the last $s$ is 0, where the data are; and each pair begins where the one before has ended.
#
# Libraries compute the times inside the sampler, as `[1 + i * (T // n) for i in range(n)]`, and the previous one as `t - T // n`. Where
# $n$ does not divide $T$ this goes wrong without an error: 600 of 1000 steps start at $t = 600$, with pure noise where the
# network expects a noisy image. With `range(0, T, T // n)` one asks for 600 steps and gets 1000.
#
# ### Exercise 5.1: the pairs
#
# *Difficulty 2 of 5, ten minutes.*
#
# Return exactly `steps` pairs from T down to 0, with steps as equal as whole numbers allow, for any 1 <= steps <= T.
#
# <details><summary>Hint 1</summary>First the steps + 1 times, then the pairs. The times are i T / steps for i = steps, ..., 0, rounded.</details>
# <details><summary>Hint 2</summary><code>round(i * T / steps)</code>; <code>list(pairwise(times))</code> makes pairs of a list: <code>pairwise</code> is imported.</details>

# %% tags=["exercise"]
def pairs(T, steps):
    """A list of `steps` pairs (t, s_) from T down to 0, each beginning where the one before has ended."""
    # BEGIN SOLUTION
    times = [round(i * T / steps) for i in range(steps, -1, -1)]
    return list(pairwise(times))
    # END SOLUTION

# %% tags=["check"]
the_sampling.pairs(pairs)

# %% tags=["fallback"]
pairs = or_library(pairs, sampling_answers.pairs)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *chain starts at* | a stride of `T // steps`, which is too short where it does not divide |
# | *one too few*, *one too many* | 0 is left out, or the times were counted as steps; or a range with a rounded step |
# | *not the next time of the list* | the previous time was computed as `t - T // n` |
# | *the steps are ... long* | 0 was put behind times from T to 1: the last step is then much shorter than the others |
#
# [One way to solve them](solutions/05_sampling.ipynb), this exercise and all that follow. Should look like: `[x] 5.1 the pairs: right.`

# %%
for steps in (10, 600):
    print(f"{steps} steps of 1000: {pairs(1000, steps)[0]}, {pairs(1000, steps)[1]}, ..., {pairs(1000, steps)[-1]}")

# %% [markdown]
# ## One step of DDPM, for any pair
#
# Notebook 01 had the step back when $x_0$ is known, from $t$ to $t-1$:
#
# $$\begin{gathered}q(x_{t-1} \mid x_t, x_0):\quad \text{mean}\ \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}\,x_0 + \frac{\sqrt{\alpha_t}\,(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}\,x_t, \\
# \text{variance}\ \frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\,\beta_t .\end{gathered}$$
#
# Its derivation used two things: how noisy $x_{t-1}$ is, and that $x_t$ is made of it by one Gaussian step, with $\alpha_t$ and $\beta_t = 1 - \alpha_t$. Many Gaussian steps in
# a row are one large Gaussian step. So the same formula holds for any $s < t$, if each of its symbols is replaced by what it is for this pair.
#
# DDPM's sampler draws from it, with the guess $\hat x_0$ in the place of $x_0$.
#
# ### Exercise 5.2: one step of DDPM
#
# *Difficulty 3 of 5, fifteen minutes.*
#
# Write the step from $t$ to any earlier $s$. `t` and `s_` are whole numbers; `s.alpha_bar[t]` is the table. What takes the place of $\bar\alpha_{t-1}$, of $\alpha_t$, of $\beta_t$?
#
# <details><summary>Hint 1</summary>alpha_bar at t - 1 belongs to the time where the step lands. And alpha_t is the factor that turns alpha_bar at t - 1 into alpha_bar at t: which factor turns alpha_bar at s_ into alpha_bar at t?</details>
# <details><summary>Hint 2</summary>Two numbers first: <code>alpha = s.alpha_bar[t] / s.alpha_bar[s_]</code> and <code>beta = 1 - alpha</code>. Noise is multiplied by the root of the variance.</details>

# %% tags=["exercise"]
def ancestral_step(s, x_t, t, s_, x0, noise):
    """A draw from q(x_s | x_t, x0): its mean plus the root of its variance times noise."""
    # BEGIN SOLUTION
    ab_t, ab_s = s.alpha_bar[t], s.alpha_bar[s_]
    alpha, beta = ab_t / ab_s, 1 - ab_t / ab_s
    mean = ab_s.sqrt() * beta / (1 - ab_t) * x0 + alpha.sqrt() * (1 - ab_s) / (1 - ab_t) * x_t
    return mean + ((1 - ab_s) / (1 - ab_t) * beta).sqrt() * noise
    # END SOLUTION

# %% tags=["check"]
the_sampling.ancestral_step(ancestral_step)

# %% tags=["fallback"]
ancestral_step = or_library(ancestral_step, sampling_answers.ancestral_step)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *that is the variance* | noise is multiplied by the variance's root |
# | *that of a single step* | `s.alpha[t]` or `s.beta[t]`, which know nothing of `s_` |
# | *DDPM's other choice* | the step's beta without the factor before it: it comes up further down |
#
# What took the place of $\alpha_t$ and $\beta_t$ has a name:
#
# $$\alpha_{t|s} = \frac{\bar\alpha_t}{\bar\alpha_s}, \qquad \beta_{t|s} = 1 - \alpha_{t|s}.$$
#
# At $s = 0$ the variance is 0 and the mean is $\hat x_0$ itself: the last step adds no noise. Back to the test that the naive sampler failed:

# %%
def ancestral(x_t, t, s_, seen, noise):
    return ancestral_step(s, x_t, t, s_, seen.x0, noise)

repaired = []
for steps in (100, 20, 5, 1):
    made = walk(perfect, ancestral, pairs(1000, steps))
    repaired.append(made)
    print(f"{steps:4d} steps: distance to the nearest digit {nearest(made)[0].mean():.2f} on average")
plots.images(torch.cat(repaired), columns=10, size=0.8)

# %% [markdown]
# *What to see: 100, 20, 5 and 1 steps. Digits of the data down to 20 steps, blends of them with five, and in the last row the average of all digits, ten times.* With one step,
# $\hat x_0$ is the best guess *given pure noise*: the mean of the data. A single good guess is not a sample. The walk is what turns guesses into
# samples: each step commits to a little of the guess, and the next one guesses again, from there.

# %% [markdown]
# ## A trained network
#
# Now the U-Net of notebook 04, trained on these digits with their labels. It makes what the perfect denoiser cannot: new ones.

# %%
unet, config = models.load("digits_unet")
ten = torch.arange(10)
denoise = parameterization.denoiser(unet, s, "eps", static_clip, labels=ten)  # the clip is explained below
seen = []
made = sample(denoise, s, (10, 1, 8, 8), "ddpm", steps=250, generator=generator(0), callback=seen.append)
distance, index = nearest(made)
print(f"distance to the nearest training digit: {distance.min():.2f} to {distance.max():.2f}")
others = torch.cdist(images.flatten(1), images.flatten(1)).fill_diagonal_(9).min(1).values / 8
print(f"of a training digit to the nearest other one: {others.quantile(0.05):.2f} to {others.quantile(0.95):.2f} (nine of ten)")
plots.images(torch.cat([made, images[index]]), columns=10, size=0.8)

# %% [markdown]
# *What to see: ten samples above, one of each class, and for each the nearest training digit below.* They are as new as one training digit is to another.
#
# And the walk itself, as it happens:

# %%
print(f"{len(seen)} steps, from t = {seen[0]['t']} to s = {seen[-1]['s']}; above x_s, below x_0-hat")
some = [*seen[::4], seen[-1]]
frames = [torch.cat([now["x"], now["denoised"].x0]) for now in some]
widgets.player(frames, [f"s = {now['s']}" for now in some], "ten digits on their way out of noise", width=720)

# %%
moments = [0, 50, 100, 150, 175, 200, 225, 240, 249]
print("the 4 at s =", [seen[i]["s"] for i in moments])
shown = [seen[i]["x"][4:5] for i in moments] + [seen[i]["denoised"].x0[4:5] for i in moments]
plots.images(torch.cat(shown), columns=9, size=0.9)

# %% [markdown]
# *What to see: $x_s$ above and $\hat x_0$ below. The very first guess is mostly error (its size is the subject of "Why x0-hat is clipped"). Then comes a blurred average; between
# $t = 600$ and 400 it has decided on a shape, long before $x_s$ itself shows anything, and the rest of the walk sharpens it.*

# %% [markdown]
# ## Why noise is added on the way
#
# It looks absurd: to remove noise, the sampler adds some at each step. What if it does not? On data from a Gaussian with standard
# deviation 0.5, whose best denoiser is known exactly:

# %%
gaussian = oracles.Gaussian(0.0, 0.5).denoiser(s)
def spread(step, steps, n=20_000):
    """Standard deviation of samples of the Gaussian: right is 0.5."""
    x, of_steps = torch.randn(n, 1, generator=generator(0)), generator(1)
    for t, s_ in pairs(1000, steps):
        x = step(x, t, s_, gaussian(x, torch.full((n,), t)), torch.randn(n, 1, generator=of_steps)).float()
    return x.std().item()

def without_noise(x_t, t, s_, seen, noise):
    return ancestral_step(s, x_t, t, s_, seen.x0, 0 * noise)

print(f"with noise, 200 steps: {spread(ancestral, 200):.2f};  without: {spread(without_noise, 200):.3f}")

# %% [markdown]
# Without the noise all samples are the same point, the mean of the data. (With it, 0.48 and not 0.50: the posterior's variance is a little too small, more of that below.) Each step goes to the *mean* of $q(x_s \mid x_t, \hat x_0)$, and means
# have less spread than what they are the mean of. The noise puts back what is lost. (There is a way to do without noise. It needs another
# mean; that is DDIM, below.)
#
# With the trained network it is the same. How different are ten samples of the same class from one another?

# %%
classes = torch.arange(100) % 10
of_hundred = parameterization.denoiser(unet, s, "eps", static_clip, labels=classes)
for name, step in (("with noise", ancestral), ("without", without_noise)):
    made = walk(of_hundred, step, pairs(1000, 50), n=100).view(10, 10, 64)  # sample, class, pixel
    print(f"{name}: spread among samples of one class {made.std(0).square().mean().sqrt():.2f}")
real = [images[digits.labels == k].flatten(1).std(0).square().mean() for k in range(10)]
print(f"among real digits of one class {torch.stack(real).mean().sqrt():.2f}")

# %% [markdown]
# One digit a class, always the same. So in DDPM's step it is the noise on the way that makes the samples differ.
#
# **And why not at the last step?** Because nothing comes after it that could remove it. The last pair goes to $s = 0$, where the posterior's variance is 0. A sampler
# that adds the noise of $\beta_{t|s}$ there all the same leaves it in the image. With 1000 steps it is $\sqrt{\beta_1} = 0.01$, which nobody sees;
# with few steps it is plain:

# %%
for steps in (1000, 50, 20, 10):
    t = pairs(1000, steps)[-1][0]
    print(f"{steps:4d} steps: the last goes from t = {t:3d} to 0, sqrt(beta) = {(1 - s.alpha_bar[t]).sqrt():.2f}")

# %% [markdown]
# ## Why x0-hat is clipped
#
# Of all lines in DDPM's code, this one is asked about most often: after each call of the network, $\hat x_0$ is clipped to $[-1, 1]$. The network
# predicts noise, and
#
# $$\hat x_0 = \frac{x_t - \sqrt{1-\bar\alpha_t}\;\hat\epsilon}{\sqrt{\bar\alpha_t}} ,$$
#
# so an error of $\hat\epsilon$ is multiplied by $\sqrt{(1-\bar\alpha_t)/\bar\alpha_t}$:

# %%
unclipped = parameterization.denoiser(unet, s, "eps", labels=classes)
for t in (1000, 950, 900, 700, 500, 100):
    time = torch.full((100,), t)
    x_t = forward.q_sample(s, images[:100], time, torch.randn(100, 1, 8, 8, generator=generator(t)))
    with torch.no_grad():
        found = unclipped(x_t, time).x0
    factor = ((1 - s.alpha_bar[t]) / s.alpha_bar[t]).sqrt()
    print(f"t = {t:4d}: errors of eps times {factor:5.1f}; x0-hat from {found.min():5.1f} to {found.max():4.1f}")

# %% [markdown]
# At $t = 1000$ the network sees almost nothing, and a small error of $\hat\epsilon$ makes an $\hat x_0$ of size 10. All data lie in $[-1, 1]$, so clipping can only bring
# it nearer to the truth. (It is no part of the derivation, and it would be wrong for data that have no limits. With data on a plane, or in a
# latent space, there is nothing to clip.)
#
# One thing must not be forgotten. $\hat x_0$ and $\hat\epsilon$ belong together: $x_t$ is their sum. Who clips one must compute the other anew.
#
# ### Exercise 5.3: clip, and stay consistent
#
# *Difficulty 2 of 5, ten minutes.*
#
# From $x_t$ and the network's `eps`, return $\hat x_0$ clipped to $[-1, 1]$, and the $\hat\epsilon$ that goes with it.
#
# <details><summary>Hint 1</summary>Three lines: x0 from eps (the formula above), clamp, eps from x0.</details>
# <details><summary>Hint 2</summary>Solve x_t = sqrt(ab) x0 + sqrt(1 - ab) eps for eps.</details>

# %% tags=["exercise"]
def clip_x0(s, x_t, t, eps):
    """(x0, eps): x0 limited to [-1, 1], and the eps with which x_t is still their sum. t is a whole number."""
    # BEGIN SOLUTION
    signal, noise = s.alpha_bar[t].sqrt(), (1 - s.alpha_bar[t]).sqrt()
    x0 = ((x_t - noise * eps) / signal).clamp(-1, 1)
    return x0, (x_t - signal * x0) / noise
    # END SOLUTION

# %% tags=["check"]
the_sampling.clip_x0(clip_x0)

# %% tags=["fallback"]
clip_x0 = or_library(clip_x0, sampling_answers.clip_x0)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *eps is as it was* | the pair no longer adds up to $x_t$: compute eps from the clipped x0 |
# | *x_t is clipped* | $x_t$ has values far outside $[-1, 1]$ for good reasons; only $\hat x_0$ is limited |
# | *x0 leaves* | the result of `clamp` was not kept: it returns a new tensor |
#
# Does it matter for this network? A script of this repository measured it (1,000 samples each, three seeds; what the *Frechet distance* is, and why
# smaller is better, comes below):

# %%
repository = Path(models.__file__).parents[2]
result = json.loads((repository / "benchmarks/results/samplers.json").read_text())
about = result["about"]
print(f"{about['date']}, {about['machine']}, {about['seconds']} s: {about['command']}")

def measured(key, **which):
    """Mean and standard deviation over the seeds of one entry of the file."""
    (entry,) = [e for e in result["entries"] if all(e.get(k) == v for k, v in which.items())]
    values = torch.tensor([run[key] for run in entry["runs"]])
    return values.mean().item(), values.std().item()

for name in ("DDPM, beta", "DDIM", "DPM-Solver++(2M)"):
    for steps in (10, 50):
        which = {"sweep": "clip", "name": name, "steps": steps}
        (raw, a), (clipped, b) = (measured("frechet", clip=clip, **which) for clip in ("none", "static"))
        print(f"{name:17s} {steps} steps: not clipped {raw:.3f} ± {a:.3f}, clipped {clipped:.3f} ± {b:.3f}")

# %% [markdown]
# Hardly. This network is good enough, and its images small enough, that its errors at large $t$ are forgotten on the way. It matters where errors are large: early
# in training, with one or two steps (try it in the explorer below), and with strong guidance, which we come to.

# %% [markdown]
# ## Two variances, and a row of a famous table
#
# For the variance of $p(x_s \mid x_t)$ notebook 02 had two candidates: the posterior's, and $\beta_{t|s}$, "the large one". DDPM's CIFAR-10 samples were made with
# the large one. In the table of the DDIM paper (Song et al. 2021, Table 1), a sampler with the large variance has FID 3.17 with 1000 steps. With 10 steps it has
# 367.43, and DDIM 13.36. What happens there?
#
# The Gaussian tells. Its denoiser is linear, so each step only multiplies $x$ and adds noise, and the standard deviation of the samples can be followed exactly. It should be
# $\sqrt{\bar\alpha_t\,0.25 + 1 - \bar\alpha_t}$ at each $t$, and 0.5 in the end. We follow it on two lists of ten pairs: ours, and that of DDIM's code.

# %%
def spreads(variance, walked):
    """Exact standard deviation of the Gaussian's samples after each step: a step is x -> k x + c z."""
    found, (x, z) = [1.0], torch.eye(2, dtype=torch.float64)[..., None]  # once x = 1 and no noise, once the other way
    for pair in walked:
        t, s_ = (torch.full((2,), time) for time in pair)
        k, c = ddpm.step(s, x, t, s_, gaussian(x, t), z, reverse.resolve(variance, gaussian)).flatten().tolist()
        found.append((k**2 * found[-1] ** 2 + c**2) ** 0.5)
    return found

for name, walked in (("ours", grids.uniform(1000, 10)), ("DDIM's", grids.leading(1000, 10))):
    t = walked[-1][0]
    true = (s.alpha_bar[t] * 0.25 + 1 - s.alpha_bar[t]).sqrt()
    print(f"{name}: ..., {walked[-2]}, {walked[-1]}. At t = {t} {true:.2f} is right, in the end 0.50")
    for variance in ("posterior", "beta", "optimal"):
        print(f"   {variance:9s} at t = {t}: {spreads(variance, walked)[-2]:.2f}, in the end {spreads(variance, walked)[-1]:.2f}")

# %% [markdown]
# Look at $t = 100$ first. With ten steps the large variance has a fifth too much spread there, the posterior's a fifth too little. $\beta_{t|s}$ is right for data
# of variance 1, the posterior's for a single point, and the data are neither. For short steps the two nearly agree; for long ones they are far apart.
#
# Now the end. On our list the last step goes from 100 to 0, straight to $\hat x_0$, and takes all noise away, also what is too much: 0.49. DDIM's list ends $101 \to 1 \to 0$. The noise
# of the long step to $t = 1$ lands where the next one removes next to nothing, and it stays in the picture: 0.59. FID sees every bit of noise. That is the row with 367.
#
# The best variance is known too (Bao et al. 2022). In Exercise 2.6 you computed it for one step: the posterior's, plus what is not known about $x_0$, which is the denoiser's error. With
# it ("optimal") each step is exact for a Gaussian, whatever its length; only a long last one, which goes to the mean $\hat x_0$, still loses spread.

# %% [markdown]
# ## DDIM: the same denoiser, no noise
#
# A step back must do two things: keep the marginals, $x_s \sim \sqrt{\bar\alpha_s}x_0 + \sqrt{1-\bar\alpha_s}\,\epsilon$, and use what is known at $t$. DDPM takes $\hat x_0$ and draws
# a part of the noise anew, the more the longer the step. DDIM (Song, Meng and Ermon, 2021) keeps the noise it has found: it is known, it is $\hat\epsilon$.
#
# $$x_s = \sqrt{\bar\alpha_s}\,\hat x_0 + \sqrt{1-\bar\alpha_s}\;\hat\epsilon$$
#
# That is a straight line: the point with the same $\hat x_0$ and $\hat\epsilon$, mixed as they should be at $s$.
#
# And between the two? Let less of $\hat\epsilon$ stay, and draw the rest anew: add $\sigma z$, with
#
# $$\sigma = \eta\sqrt{\frac{1-\bar\alpha_s}{1-\bar\alpha_t}}\sqrt{1-\frac{\bar\alpha_t}{\bar\alpha_s}} .$$
#
# $\eta = 0$ draws nothing; at $\eta = 1$, $\sigma^2$ is the posterior's variance.
#
# ### Exercise 5.4: one step of DDIM
#
# *Difficulty 3 of 5, fifteen minutes.*
#
# Write the step with $\sigma z$. `x0` and `eps` are given; $z$ is `noise`. One factor you have to find, that of $\hat\epsilon$: how much of it may stay, so that $x_s$ is as noisy as it should be, whatever $\eta$ is.
#
# <details><summary>Hint 1</summary>eps and z are independent, so their variances add up. To what?</details>
# <details><summary>Hint 2</summary>Of the variance 1 - ab_s, sigma^2 comes from z; eps has the rest, and its factor is the root of that. At s_ = 0 the table gives alpha_bar 1, so everything but x0 vanishes by itself.</details>

# %% tags=["exercise"]
def ddim_step(s, x_t, t, s_, x0, eps, noise, eta):
    """x_s from x0, what may stay of eps, and sigma noise; t and s_ are whole numbers."""
    # BEGIN SOLUTION
    ab_t, ab_s = s.alpha_bar[t], s.alpha_bar[s_]
    sigma = eta * ((1 - ab_s) / (1 - ab_t) * (1 - ab_t / ab_s)).sqrt()
    return ab_s.sqrt() * x0 + (1 - ab_s - sigma**2).clamp(min=0).sqrt() * eps + sigma * noise
    # END SOLUTION

# %% tags=["check"]
the_sampling.ddim_step(ddim_step)

# %% tags=["fallback"]
ddim_step = or_library(ddim_step, sampling_answers.ddim_step)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *sigma^2 is not taken off* | all of eps is kept, and noise comes on top |
# | *alpha_bar_{t-1}* | the step goes to `s_`, which may be far from t |
# | *from beta alone* | the factor (1 - ab_s) / (1 - ab_t) is missing |
#
# So in the paper's words (Song et al. 2021, Eq. 12):
#
# $$x_s = \sqrt{\bar\alpha_s}\,\hat x_0 + \sqrt{1-\bar\alpha_s-\sigma^2}\;\hat\epsilon + \sigma z .$$
#
# At $\eta = 1$ it must be DDPM with the posterior's variance: not alike, the same. (Put $x_t = \sqrt{\bar\alpha_t}\,\hat x_0 + \sqrt{1-\bar\alpha_t}\,\hat\epsilon$ into DDPM's mean: the
# factor of $\hat\epsilon$ becomes $\sqrt{\alpha_{t|s}}\,(1-\bar\alpha_s)/\sqrt{1-\bar\alpha_t}$, and its square is $1-\bar\alpha_s-\sigma^2$.)

# %%
t, s_, z = 700, 650, torch.randn(10, 1, 8, 8, generator=generator(5))
x_t = torch.randn(10, 1, 8, 8, generator=generator(6))
with torch.no_grad():
    now = denoise(x_t, torch.full((10,), t))
noisy = ddim_step(s, x_t, t, s_, now.x0, now.eps, z, 1.0)
same("DDIM with eta = 1", noisy, "DDPM", ancestral_step(s, x_t, t, s_, now.x0, z), 1e-5)

# %% [markdown]
# And at $\eta = 0$ it is a rotation. With the angle $\tan\varphi_t = \sqrt{1-\bar\alpha_t}/\sqrt{\bar\alpha_t}$, $x_t = \cos\varphi_t\,\hat x_0 + \sin\varphi_t\,\hat\epsilon$, and the $v$ of notebook 03 is
# $\cos\varphi_t\,\hat\epsilon - \sin\varphi_t\,\hat x_0$: the two are mixtures at a right angle, and the step turns by $\varphi_t - \varphi_s$ between them. Last, with $y =
# x/\sqrt{\bar\alpha}$ and $\rho = \sqrt{1-\bar\alpha}/\sqrt{\bar\alpha}$ it is the simplest solver there is, Euler's, for $dy/d\rho = \hat\epsilon$:

# %%
ab_t, ab_s = s.alpha_bar[[t, s_]]
phi = [torch.atan2((1 - ab).sqrt(), ab.sqrt()) for ab in (ab_t, ab_s)]
v = ab_t.sqrt() * now.eps - (1 - ab_t).sqrt() * now.x0
stepped = ddim_step(s, x_t, t, s_, now.x0, now.eps, z, 0.0)
same("DDIM", stepped, "rotation", (phi[0] - phi[1]).cos() * x_t - (phi[0] - phi[1]).sin() * v, 1e-5)
rho = [((1 - ab) / ab).sqrt() for ab in (ab_t, ab_s)]
euler = x_t / ab_t.sqrt() + (rho[1] - rho[0]) * now.eps
same("DDIM, divided by sqrt(ab_s)", stepped / ab_s.sqrt(), "Euler's step", euler, 1e-5)

# %% [markdown]
# So DDIM solves an ordinary differential equation. Its solution depends on $x_T$ alone: **the same noise gives the same image**, ever more exactly with more steps:

# %%
x_T = torch.randn(10, 1, 8, 8, generator=generator(7))
exact = sample(denoise, s, x_T.shape, "ddim", 500, x_T=x_T)
for steps in (5, 10, 20, 50):
    made = sample(denoise, s, x_T.shape, "ddim", steps, x_T=x_T)
    print(f"{steps:2d} steps: distance to the images of 500 steps {(made - exact).square().mean().sqrt():.2f}")

# %% [markdown]
# It can also be run backwards, and better solvers for it exist. Both follow below.
#
# ### The field
#
# In two dimensions we can look at it. The data are three small clouds, as in notebook 03, with their exact denoiser.

# %%
centres = torch.tensor([[1.6, 0.0], [-1.0, 1.2], [-0.6, -1.4]])
of_clouds = oracles.Mixture(torch.ones(3) / 3, centres, torch.full((3,), 0.15)).denoiser(s)
starts, paths = torch.randn(12, 2, generator=generator(3), dtype=torch.float64), {}
for name, options in (("DDPM", {"method": "ddpm"}), ("DDIM", {"method": "ddim"})):
    noted = [starts]
    sample(of_clouds, s, (12, 2), steps=200, x_T=starts, generator=generator(1), dtype=torch.float64, **options,
           callback=lambda d, noted=noted: noted.append(d["x"]))
    paths[name] = torch.stack(noted)
    turns = paths[name].diff(dim=0).norm(dim=2).sum(0) / (paths[name][-1] - paths[name][0]).norm(dim=1)
    print(f"{name}: a path is {turns.mean():.1f} times as long as the straight line between its ends")

# %%
figure, axes = plots.picture(11, 3.6, 1, 3)
for ax, (name, path), shown in zip(axes[:2], paths.items(), (3, 12), strict=True):
    for i in range(shown):
        ax.plot(path[:, i, 0], path[:, i, 1], linewidth=0.8, color=plots.COLOURS[i % 5])
    ax.plot(path[0, :shown, 0], path[0, :shown, 1], "o", markersize=5, color="black", markerfacecolor="white")
    ax.plot(path[-1, :shown, 0], path[-1, :shown, 1], "o", markersize=5, color="black")
    ax.set(title=f"{name}: {shown} paths from noise to data", xlim=(-2.8, 2.8), ylim=(-2.8, 2.8), aspect="equal")
square = torch.cartesian_prod(*[torch.linspace(-2.6, 2.6, 14, dtype=torch.float64)] * 2)
found = of_clouds(square, torch.full((len(square),), 400))
arrows = s.alpha_bar[400].sqrt() * found.eps - (1 - s.alpha_bar[400]).sqrt() * found.x0
axes[2].quiver(*square.T, *-arrows.T, angles="xy", width=0.004)
axes[2].plot(*(s.alpha_bar[400].sqrt() * centres).T, "o", color=plots.COLOURS[1])
axes[2].set(title="-v at t = 400: where DDIM goes", xlim=(-2.8, 2.8), ylim=(-2.8, 2.8), aspect="equal")
print(f"{len(square)} arrows; the longest is {arrows.norm(dim=1).max():.1f}")
figure

# %% [markdown]
# *What to see: from white points to black ones. Left: three paths of DDPM, random walks (they leave the frame and come back). Middle: twelve of DDIM, smooth curves that end in the three clouds. Right: the
# field that they follow at $t = 400$, with the clouds' centres times $\sqrt{\bar\alpha_t}$. Where the arrows part, a small change of the noise leads to another cloud.*
#
# ### A playground
#
# Points of your own, a small network that learns them while you look, and every sampler of this page. It all runs in your browser.
#
# 1. Choose the exact denoiser and play. Where do all samples end, and why is that no use?
# 2. Train for a minute, then play with the learned one. What do its samples do that the exact one's do not?
# 3. Take 5 steps in place of 20, with `ddim` and with `dpmpp_2m`. Which one still finds the points?
#
# <details><summary>Answers</summary>1: on the points themselves, nothing else; it knows no other images. 2: they fall between the points, along the shape: new ones. 3: the second, mostly; the next section says why.</details>

# %%
widgets.playground("moons")

# %% [markdown]
# ## Better solvers
#
# DDIM takes $\hat x_0$ as constant over a step. But at the next step it has changed a little, and the change can be foreseen: it went from $\hat x_0(r)$ at the last
# step's time $r$ to $\hat x_0(t)$ now. **DPM-Solver++(2M)** (Lu et al. 2022) draws the straight line through the two and takes its value half a step
# on, which is its mean over the step. On the axis where it is nearly straight, $\lambda = \log(\sqrt{\bar\alpha}/\sqrt{1-\bar\alpha})$, half the log SNR:
#
# $$\begin{gathered}D = \Big(1 + \frac{1}{2q}\Big)\hat x_0(t) - \frac{1}{2q}\,\hat x_0(r), \\
# q = \frac{\lambda_t - \lambda_r}{\lambda_s - \lambda_t},\end{gathered}$$
#
# and makes DDIM's step with $D$ in the place of $\hat x_0$ (and the $\hat\epsilon$ that goes with it). No further call of the network: it only remembers.
#
# ### Exercise 5.5: looking ahead
#
# *Difficulty 3 of 5, ten minutes.*
#
# Write $D$. At $s = 0$ the log SNR is infinite and there is no line: return $\hat x_0(t)$.
#
# <details><summary>Hint 1</summary><code>s.log_snr[t]</code> is the log SNR; its half or its whole makes no difference to q.</details>
# <details><summary>Hint 2</summary>1 / (2 q) = (step now) / (2 times the step before).</details>

# %% tags=["exercise"]
def extrapolated_x0(s, r, t, s_, x0_before, x0):
    """D for the step from t to s_: the line through x0_before (at r) and x0 (at t), half a step on; x0 where s_ = 0."""
    # BEGIN SOLUTION
    if s_ == 0:
        return x0
    share = (s.log_snr[s_] - s.log_snr[t]) / (s.log_snr[t] - s.log_snr[r]) / 2
    return (1 + share) * x0 - share * x0_before
    # END SOLUTION

# %% tags=["check"]
the_sampling.extrapolated_x0(extrapolated_x0)

# %% tags=["fallback"]
extrapolated_x0 = or_library(extrapolated_x0, sampling_answers.extrapolated_x0)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *q is upside down* | q is the step before divided by the step now; or `1 / 2 * q` without brackets |
# | *except in the last step* | $s = 0$: the log SNR there is infinite |
# | *the half is missing* | 1 / q in place of 1 / (2 q): the line's value at the end of the step, not in its middle |
# | *yours is one of t* | the steps are to be measured in log SNR, not in t |
#
# (The same $D$ in DDPM's step with the posterior's variance is the method's SDE form, for those who want noise on the way.)
#
# **Heun's method** (as in EDM, Karras et al. 2022) takes the other way: it goes to where Euler's step would land, asks the network there as well, and
# uses the mean of the two slopes. Two calls a step.
#
# What does *order* mean? Halve the steps, and an error of first order halves, of second order becomes a quarter. On the Gaussian, where the exact end point is known,
# on a chain of steps of equal length in $\lambda$:

# %%
def error(method, n):
    """How far a sampler with n steps ends from the exact flow of N(0.3, 0.5^2), from lambda = -4 to 4, then to 0."""
    half = torch.linspace(4, -4, n + 1, dtype=torch.float64)
    chain = schedules.from_alpha_bar([1.0, *torch.sigmoid(2 * half).tolist()])
    ends, walked = [], grids.uniform(n + 1, n + 1)
    sample(oracles.Gaussian(0.3, 0.5).denoiser(chain), chain, (1, 1), method, grid=walked, dtype=torch.float64,
           x_T=torch.full((1, 1), 1.3, dtype=torch.float64), callback=lambda d: ends.append(d["x"]))
    first, last = chain.alpha_bar[-1], chain.alpha_bar[1]
    scale = ((last * 0.25 + 1 - last) / (first * 0.25 + 1 - first)).sqrt()
    return (ends[-2] - 0.3 * last.sqrt() - scale * (1.3 - 0.3 * first.sqrt())).abs().item()

for method in ("ddim", "dpmpp_2m", "heun"):
    errors = [error(method, n) for n in (40, 80, 160)]
    print(f"{method:8s} errors with 40, 80, 160 steps:", *(f"{e:.1e}" for e in errors), f"ratio {errors[1] / errors[2]:.1f}")

# %% [markdown]
# ## How many steps? A measurement
#
# Looking at samples does not settle which sampler is better. A number for it: take features of real and of generated images (here: what a small classifier of digits
# computes before it names the class, 64 numbers), fit a Gaussian to each set, and compute the distance of the two Gaussians,
#
# $$d^2 = |\mu_1-\mu_2|^2 + \mathrm{tr}\big(\Sigma_1+\Sigma_2-2(\Sigma_1\Sigma_2)^{1/2}\big) .$$
#
# It is called the *Frechet distance*; with the features of a network called Inception it is FID. It sees noise, blur, and missing variety. Notebook 06 says how it can mislead.
# Two examples:

# %%
extractor = metrics.features.load("digits")
shuffled = [torch.randperm(1797, generator=generator(seed)) for seed in range(3)]
some = [i[:1000] for i in shuffled]
in_turn = [torch.cat([i[digits.labels[i] == k][:100] for k in range(10)]) for i in shuffled]

def from_all(x):
    """The distance of a set of images from all the digits."""
    return metrics.frechet_distance(extractor.features(x), extractor.features(images))

floor, of_turns = (sum(from_all(images[i]) for i in sets) / 3 for sets in (some, in_turn))
print(f"1,000 of the real digits beside all of them: {floor:.2f}; a hundred of each class: {of_turns:.2f}")
noisy = images[some[0]] + 0.3 * torch.randn(1000, 1, 8, 8, generator=generator(1))
print(f"with a little noise: {from_all(noisy.clamp(-1, 1)):.2f}")

# %% [markdown]
# The first number is not 0: with 64 features, 1,000 images do not settle a covariance. It is the floor of what follows, and it depends on how many images there are, so compare only distances of
# equally large sets.
#
# And only of sets whose classes were chosen alike. Of these 1,000 the classes fell by chance; the samples below are of the classes in turn, a hundred of each, and for them the second number is the fairer floor
# (notebook 06 says why).
#
# Below, 1,000 samples are held against all 1,797 digits (on which the network was trained), for three seeds, with equal steps in $t$. What counts is how often the network was asked, so Heun's steps count twice.

# %%
names = list(dict.fromkeys(e["name"] for e in result["entries"] if e["sweep"] == "steps"))
figure, (ax,) = plots.picture(8, 4.2)
for i, name in enumerate(names):
    found = [e for e in result["entries"] if e["sweep"] == "steps" and e["name"] == name]
    calls = torch.tensor([e["evaluations"] for e in found])
    values = torch.tensor([[run["frechet"] for run in e["runs"]] for e in found])
    mean, band, colour = values.mean(1), values.std(1), plots.COLOURS[i]
    ax.plot(calls, mean, marker="o", markersize=3, label=name, color=colour, linestyle=plots.LINE_STYLES[i % 6])
    ax.fill_between(calls, mean - band, mean + band, color=colour, alpha=0.2)
    print(f"{name:20s}", ", ".join(f"{n}: {m:.2f} ± {b:.2f}" for n, m, b in zip(calls, mean, band, strict=True)))
for level, style, name in ((floor, "-", "1,000 real digits, by chance"), (of_turns, "--", "100 real digits of each class")):
    ax.axhline(level, color="0.5", linewidth=1, linestyle=style, label=name)
ax.set(xscale="log", yscale="log", xlabel="calls of the network", ylabel="Frechet distance")
ax.minorticks_off(), ax.set_yticks([0.1, 0.2, 0.5, 1, 2], ["0.1", "0.2", "0.5", "1", "2"]), ax.grid(alpha=0.3), ax.legend(fontsize=8)
figure

# %% [markdown]
# *What to see: with 50 calls and more nearly all are within each other's bands (one standard deviation of three seeds), at about two and a half times the dashed line, the floor of sets like theirs. With few calls they are far apart; both axes are logarithmic. The curve
# of DDIM with $\eta = 1$ lies on that of DDPM with the posterior's variance.*
#
# - **A thousand steps of DDPM are no better than a hundred.** They are what the bound of notebook 02 is about, not what samples need.
# - **DDIM with $\eta = 1$ and DDPM with the posterior's variance have the same numbers.** They are the same sampler, as you have shown.
# - **The second order pays.** With 20 calls DPM-Solver++(2M) is where DDIM is with 50.
# - **DDPM's large variance wins with 5 and 10 calls, and the small one loses.** Much noise repairs the errors of long steps, and our long last step takes it away. With DDIM's list of times it should be the other
#   way round, as in their table. Is it?

# %%
for name in ("DDPM, beta", "DDPM, posterior", "DDIM"):
    ours = [measured("frechet", sweep="steps", name=name, steps=steps) for steps in (5, 10, 20, 50)]
    theirs = [measured("frechet", sweep="grid", grid="leading", name=name, steps=steps) for steps in (5, 10, 20, 50)]
    for where, found in (("from T", ours), ("leading", theirs)):
        print(f"{name:15s} {where}, 5, 10, 20, 50 steps:", ", ".join(f"{mean:.2f} ± {band:.2f}" for mean, band in found))

# %% [markdown]
# It is: on their list the large variance is by far the worst. The same sampler is first or last, depending on where its last steps are. So write down the times you used.
#
# ### Starting where the noise is
#
# Such "leading" lists, $1, 1 + k, 1 + 2k, \dots$, have another fault: they do not start at $T$. With 5 of 1000 steps they start at 801, with pure noise, where the network expects a little of the image. It takes the noise
# for an image, and where it looks for the *brightness* of the whole, it finds about 0.
#
# How much that spoils depends on the variance along a direction of the data (notebook 02 measured the same leak). Along the brightness of a large image it is far above 1, as it grows with the number of pixels. For a
# direction of variance 20 and the exact denoiser, DDIM's samples have this share of the mean that they should have:

# %%
bright = oracles.Gaussian(1.0, 20**0.5).denoiser(s)
middle = torch.zeros(1, 1, dtype=torch.float64)  # DDIM is linear here: the mean of the noise becomes the mean of the samples
for steps in (2, 5, 10, 50):
    kept = [sample(bright, s, (1, 1), "ddim", grid=walked, x_T=middle, dtype=torch.float64).item()
            for walked in (grids.uniform(1000, steps), grids.leading(1000, steps))]
    print(f"{steps:2d} steps: from T {kept[0]:.2f}, from t = {grids.leading(1000, steps)[0][0]} {kept[1]:.2f}")
print(f"the largest variance of the digits along any direction: {oracles.FullGaussian.fit(images).eigenvalues.max():.1f}")

# %% [markdown]
# From $T$ two or three per cent are lost even so, since $\bar\alpha_T$ is not quite 0 in DDPM's schedule. The digits have no such direction. There DDIM's list is even somewhat better than ours, as you have seen.
# *Where to spend the steps* is another question than where to start. EDM (Karras et al. 2022) spends most of them at small noise:

# %%
print("EDM's list, 5 steps:", grids.karras(s, 5))
for name, sweep in (("equal steps", {"sweep": "steps"}), ("EDM's list", {"sweep": "grid", "grid": "karras"})):
    found = [measured("frechet", name="DPM-Solver++(2M)", steps=steps, **sweep) for steps in (5, 10, 20, 50)]
    print(f"DPM-Solver++(2M), {name}, 5, 10, 20, 50 steps:", ", ".join(f"{mean:.2f} ± {band:.2f}" for mean, band in found))

# %% [markdown]
# For this sampler and these data that is more than a third less distance with few steps. (Heun goes wild on the same list with few steps: 36 with 5 calls, in the same file.)
#
# ## Noise as a code: interpolation
#
# DDIM makes one image of each $x_T$. So images between two images can be had from noises between two noises. But which are between? Noise in $d$ dimensions has a length
# near $\sqrt d$. Half-way on the straight line between two such vectors the length is only $\sqrt{d/2}$: that is no noise that the network has ever seen. *Slerp* goes along the sphere:
#
# $$\begin{gathered}\text{slerp}(a, b; f) = \frac{\sin((1-f)\theta)\,a + \sin(f\theta)\,b}{\sin\theta}, \\
# \theta = \text{angle between } a \text{ and } b .\end{gathered}$$
#
# Here with the clothes network of notebook 04, whose images have 784 pixels. Its file says which schedule it was trained on, and that it answers with $v$ (notebook 03); whoever samples from it has to go
# by that:

# %%
fashion, about_it = models.load("fashion_unet")
chain_f, unit = schedules.by_name(*about_it["schedule"].values()), about_it["predicts"]
print(f"schedule {about_it['schedule']}, predicts {unit}")
bags = parameterization.denoiser(fashion, chain_f, unit, static_clip, labels=torch.full((9,), 8))
a, b = (torch.randn(1, 1, 28, 28, generator=generator(seed)) for seed in (1, 2))
rows = []
for name, mix in (("slerp", slerp), ("straight line", lambda a, b, f: (1 - f) * a + f * b)):
    x_T = torch.cat([mix(a, b, f) for f in torch.linspace(0, 1, 9).tolist()])
    rows.append(sample(bags, chain_f, x_T.shape, "dpmpp_2m", 15, x_T=x_T))
    print(f"{name}: length of the noise at the ends and half-way:", *(f"{x_T[i].norm():.1f}" for i in (0, 8, 4)))
plots.images(torch.cat(rows), columns=9, size=1.0)

# %% [markdown]
# *What to see: from one bag to another. Along the sphere (above) every image has the texture of its neighbours. Half-way on the straight line (below) it is gone: noise that is too short makes
# bags without detail.*
#
# ## Backwards: which noise makes this image?
#
# The same walk can be walked the other way: the $\hat x_0$ and the $\hat\epsilon$ of $x_s$, mixed as they should be at $t$.
#
# ### Exercise 5.6: one step upwards
#
# *Difficulty 2 of 5, ten minutes.*
#
# Write this step. Given are $x_s$ and $\hat\epsilon$; $\hat x_0$ is not, but the two settle it.
#
# <details><summary>Hint 1</summary>x_s is the sum of x0 and eps, each times its root at s_. Solve for x0, as in Exercise 5.3.</details>
# <details><summary>Hint 2</summary>Then mix the two anew, with the roots of t. At s_ = 0 that is q_sample.</details>

# %% tags=["exercise"]
def invert_step(s, x_s, s_, t, eps):
    """x_t with the x0 and the eps of x_s, s_ < t: DDIM's step the other way."""
    # BEGIN SOLUTION
    kept = (s.alpha_bar[t] / s.alpha_bar[s_]).sqrt()
    added = (1 - s.alpha_bar[t]).sqrt() - kept * (1 - s.alpha_bar[s_]).sqrt()
    return kept * x_s + added * eps
    # END SOLUTION

# %% tags=["check"]
the_sampling.invert_step(invert_step)

# %% tags=["fallback"]
invert_step = or_library(invert_step, sampling_answers.invert_step)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *the times are exchanged* | that is DDIM's own step, from t to s_ |
# | *on top of the noise* | eps was added without taking out the noise that x_s has |
# | *noise is added to x_s* | that is a step of the forward process; here x_s keeps its eps |
#
# Now walk all the way up with it:

# %%
def encode(x0, denoise, steps):
    """x_T of x0: eps is taken where the walk stands (at s = 0, which no network knows, at the time 1)."""
    x = x0
    for t, s_ in reversed(pairs(1000, steps)):
        with torch.no_grad():
            eps = denoise(x, torch.full((len(x),), max(s_, 1))).eps
        x = invert_step(s, x, s_, t, eps).float()
    return x

ten_digits = torch.stack([images[digits.labels == k][3] for k in range(10)])
plain = parameterization.denoiser(unet, s, "eps", labels=ten)
for steps in (10, 20, 50):
    x_T = encode(ten_digits, plain, steps)
    back = sample(plain, s, x_T.shape, "ddim", steps, x_T=x_T)
    error_of = (back - ten_digits).square().mean()
    print(f"{steps} steps there and back: mean squared error {error_of:.4f}; spread of x_T {x_T.std():.2f}")

# %% [markdown]
# The error falls with the steps: what was taken at $x_s$ should have been taken at $x_t$. The code is not quite noise either; its spread is below 1. Ask again at
# the $x_t$ just found, and again, and one comes ever nearer to the exact inverse:

# %%
for refinements in (0, 1, 3, 10):
    x_T = inversion.invert(plain, s, ten_digits, 20, refinements=refinements)
    back = sample(plain, s, x_T.shape, "ddim", 20, x_T=x_T)
    error_of = (back - ten_digits).square().mean()
    print(f"20 steps, asked {refinements:2d} times more: mean squared error {error_of:.5f}; spread of x_T {x_T.std():.2f}")

# %% [markdown]
# (Its spread is above 1 in the end: real digits are not quite what this network makes of noise.) What is the code good for? Keep it and change the condition:

# %%
x_T = inversion.invert(plain, s, ten_digits, 50)
rows = [ten_digits]
for shift in (1, 4):
    other = parameterization.denoiser(unet, s, "eps", static_clip, labels=(ten + shift) % 10)
    rows.append(sample(other, s, x_T.shape, "ddim", 50, x_T=x_T))
    names = extractor.logits(data.to_model_range(data.to_uint8(rows[-1]))).argmax(1)
    print(f"asked for {((ten + shift) % 10).tolist()}, the classifier reads {names.tolist()}")
plots.images(torch.cat(rows), columns=10, size=0.8)

# %% [markdown]
# *What to see: real digits, then what their codes give with the label raised by 1 and by 4. What is written changes as asked, nearly always; sometimes slant or thickness of the strokes are kept.*
#
# ## Guidance: more of what was asked for
#
# The network knows two models: with a label, and, since a tenth of the labels was hidden in training, without. *Classifier-free guidance* (Ho and Salimans, 2022)
# takes the noise that the first sees, $\hat\epsilon_c$, and goes on from there, away from what the second sees, $\hat\epsilon_u$: by $w$ times the way from one to the other.
#
# ### Exercise 5.7: guided noise
#
# *Difficulty 1 of 5, five minutes.*
#
# Write it. It is short; that there are two conventions makes it one of the most frequent mistakes. Here $w = 0$ is the conditional model.
#
# <details><summary>Hint 1</summary>The way from eps_u to eps_c is their difference. Where does one stand before going on?</details>
# <details><summary>Hint 2</summary>w = 0 must give eps_c, w = -1 must give eps_u.</details>

# %% tags=["exercise"]
def guided_eps(eps_c, eps_u, w):
    """The guided noise from that with (eps_c) and without (eps_u) the label; w = 0 is the conditional model."""
    # BEGIN SOLUTION
    return (1 + w) * eps_c - w * eps_u
    # END SOLUTION

# %% tags=["check"]
the_sampling.guided_eps(guided_eps)

# %% tags=["fallback"]
guided_eps = or_library(guided_eps, sampling_answers.guided_eps)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *the other convention* | $1 + w$ and $w$ are the weights here; others call $1 + w$ the scale |
# | *leads away*, *swap them* | signs, or the two models exchanged |
# | *the way ... alone* | $w$ times the difference, with nothing to add it to |
# | *mind the brackets* | `1 + w * eps_c` is not `(1 + w) * eps_c` |
#
# Sorted by the two models it is
#
# $$\hat\epsilon = (1 + w)\,\hat\epsilon_c - w\,\hat\epsilon_u .$$
#
# (Others count $1 + w$ and call it guidance scale: their 7.5 is our 6.5, and their "off" is 1.)

# %%
rows = []
for w in (0.0, 1.0, 5.0):
    guided = thresholding.limited(guidance.of_network(fashion, chain_f, unit, ten, w), chain_f, static_clip)
    rows.append(sample(guided, chain_f, (10, 1, 28, 28), "dpmpp_2m", 15, generator=generator(3)))
    print(f"w = {w:.0f}: spread of the pixels {rows[-1].std():.2f}")
plots.images(torch.cat(rows), columns=10, size=1.0)

# %% [markdown]
# *What to see: $w$ = 0, 1, 5 from above, the same noise in each column. With $w$ contrast grows (the spread printed above): at $w = 5$ T-shirt, pullover and coat have lost their grey, the dress its sleeves, and one bag has become
# another.*
#
# ### What does it sample?
#
# The score of $p_c^{1+w}/p_u^{w}$ is $(1+w)\nabla\log p_c - w\nabla\log p_u$. So guidance seems to sample that density, the conditional one made sharper. It is often said, and it is not so: the formula
# holds for the densities of *noisy* data at each $t$, and these do not belong to one sharpened density of clean data. Two Gaussians tell: with the condition
# $N(1, 0.5^2)$, without it $N(0, 1)$.

# %%
chain = schedules.cosine(1000)
with_label, without = oracles.Gaussian(1.0, 0.5).denoiser(chain), oracles.Gaussian(0.0, 1.0).denoiser(chain)
ends = torch.tensor([[0.0], [1.0]], dtype=torch.float64)  # DDIM maps x_T to m + k x_T: two points tell m and k
for w in (0.0, 0.5, 1.0, 2.0, 4.0):
    guided = guidance.classifier_free(with_label, without, chain, w)
    m, sum_ = sample(guided, chain, (2, 1), "ddim", 1000, x_T=ends, dtype=torch.float64).flatten().tolist()
    precision = 4 * (1 + w) - w
    mean, std = 4 * (1 + w) / precision, precision**-0.5
    print(f"w = {w}: guided N({m:.2f}, {sum_ - m:.2f}^2), sharpened density N({mean:.2f}, {std:.2f}^2)")

# %% [markdown]
# With $w = 4$ the samples are nearly all at one point, 1.5, a standard deviation off the mean and away from the other density, and eight times narrower than the sharpened density. Guidance trades variety
# for distance from what was not asked for, more strongly than its formula suggests. On the digits:

# %%
for w in (0, 0.5, 1, 2, 4, 8):
    which = {"sweep": "guidance", "name": f"w = {w:g}", "clip": "static"}
    (distance, band), (right, _) = measured("frechet", **which), measured("as asked", **which)
    print(f"w = {w:3}: Frechet distance {distance:.2f} ± {band:.2f}, read as asked for by a classifier {right:.1%}")

# %% [markdown]
# The classifier is soon content with all of them, and the distance to the data grows. (For large models on varied images a little guidance *lowers* FID: 1.80 to 1.55 at $w = 0.1$, and 12.6 at $w = 1$,
# Ho and Salimans, ImageNet 64, Table 1.) Which $w$ is best depends on what is wanted; a score that asks a classifier alone will always say: more.
#
# ### Static and dynamic thresholding
#
# Guidance pushes $\hat x_0$ beyond the limits, and clipping makes all pixels there equal, at $\pm 1$. *Dynamic thresholding* (Imagen, Saharia et al. 2022) takes for each image $r$ = the 99.5th percentile
# of $|\hat x_0|$ (of 64 pixels that is nearly the largest); if $r > 1$, it clips to $[-r, r]$ and divides by $r$.

# %%
limits = {"none": lambda x0: x0, "static": static_clip, "dynamic": thresholding.dynamic}
rows = []
for name, clip in limits.items():
    guided = thresholding.limited(guidance.of_network(fashion, chain_f, unit, ten, 8.0), chain_f, clip)
    rows.append(sample(guided, chain_f, (10, 1, 28, 28), "dpmpp_2m", 15, generator=generator(3)))
    which = {"sweep": "guidance", "name": "w = 8", "clip": name}
    (distance, _), (share, _) = measured("frechet", **which), measured("at the limits", **which)
    print(f"{name:8s} clothes: largest pixel {rows[-1].abs().max():.1f}; 1,000 digits: distance {distance:.1f}, "
          f"{share:.0%} of the pixels at -1 or 1 (in 8 bits)")
print(f"of the real digits {result['real']['at the limits']:.0%}")
plots.images(torch.cat(rows), columns=10, size=1.0)

# %% [markdown]
# *What to see: no limit, static, dynamic, all with $w = 8$. Without a limit the garments glare; the static clip gives back their shades; dynamic thresholding, step after step, turns black into grey and fills
# everything with a pattern.*
#
# It was made for photographs, which are seldom black over large parts. Of the digits' pixels more than half *are* at a limit. Dividing by $r$ takes that away, the network sees a grey ground that it does not
# know, and so on at each step. A remedy is for the data that it was made for.
#
# ## Steps as long as they can be
#
# The article whose claims this course checks says that dynamic thresholding adapts the sampling step to the confidence. It does not; you have just seen what it does. But the idea exists under
# another name, *adaptive step size*: try a step twice, with Euler and with Heun. If the two agree to a tolerance (0.05, root mean square), the step is good and the next may be longer; if not, try a shorter one.

# %%
twenty = parameterization.denoiser(unet, s, "eps", static_clip, labels=torch.arange(20) % 10)
seeds, tries = range(20), []
each = [generator(i) for i in seeds]
adapted = adaptive.sample(twenty, s, (20, 1, 8, 8), 0.05, generator=each, callback=tries.append)
calls = adapted.evaluations
print(f"calls of the network a sample: {calls.min()} to {calls.max()}, {calls.double().mean():.0f} on average")
for i in (0, 1):
    stops = [int(d["t"][i]) for d in tries if d["moved"][i] and d["t"][i] > 0]
    print(f"sample {i}: stopped at t = {stops}; {(calls[i] - 1) // 2 - len(stops)} tries were refused")

# %%
x_T = torch.cat([torch.randn(1, 1, 8, 8, generator=generator(i)) for i in seeds])
exact = sample(twenty, s, x_T.shape, "dpmpp_2m", 250, x_T=x_T)
rivals = {f"{method}, {steps} steps": sample(twenty, s, x_T.shape, method, steps, x_T=x_T)
          for method, steps in (("ddim", 36), ("dpmpp_2m", 36), ("heun", 18))}
for name, made in {"adaptive": adapted.x, **rivals}.items():
    print(f"{name:18s} distance from the exact solution {(made - exact).square().mean().sqrt():.3f}")

# %% [markdown]
# Small steps at first, long ones in the middle, short ones at the end, and much the same for each sample: they depend on the noise level, little on the image. A third of the calls went into tries that were refused. DPM-Solver++(2M) on fixed steps
# is nearer to the exact solution with as many calls. Steps by confidence exist; on these data they gain nothing. They pay where one does not know beforehand how many steps are needed.
#
# ## Part of the image is given
#
# *RePaint* (Lugmayr et al. 2022) fills in what is missing, with no training for it: after each step the known part is put in place, with the noise that belongs to that time. The two parts were drawn apart and may not fit, so
# the walk goes some steps forward again and back, several times over.

# %%
known = torch.zeros(10, 1, 8, 8, dtype=torch.bool)
known[:, :, :4] = True
rows = [torch.where(known, ten_digits, torch.zeros(())), ten_digits]
anyone = parameterization.denoiser(unet, s, "eps", static_clip, labels=torch.full((10,), unet.no_label))
for seed in (0, 1):
    how = {"steps": 50, "resamplings": 4, "jump": 5, "generator": generator(seed)}
    rows.append(repaint(anyone, s, ten_digits, known, **how))
same("the given half", rows[2][known], "the real one", ten_digits[known], 0)
print(f"the other half, one completion beside the other: distance {(rows[3] - rows[2])[~known].square().mean().sqrt():.1f}")
plots.images(torch.cat(rows), columns=10, size=0.8)

# %% [markdown]
# *What to see: what is given (the upper half), the real digits, and two ways to complete them, without a label. Where the upper half fits several digits, several come out.*
#
# ## Explore
#
# Sampler, steps, $\eta$, digit, guidance, clip and seed: the picture shows the way of one digit from noise, and four results. A seed means the same $x_T$ and the same noise at each
# step, so that moving one control changes one thing. At first nothing is clipped. Three things to try:
#
# 1. Set the steps to 1, then 2, then 3. When does a digit appear? And with Heun?
# 2. DDIM with $\eta = 0$, and 10, 20, 30 steps: the same image each time? And with $\eta = 1$?
# 3. Guidance 6 without a clip, then static, then dynamic. Watch the coloured pixels and the words.
#
# <details><summary>What you should find</summary>1: one step leaves a clipped mess, or a wild one without a clip; with three the outline of a blurred 3 can be guessed, with ten it is clear. Heun explodes at two steps: its slope is taken at both ends of a step in which the noise falls to a fiftieth.
# 2: with eta = 0 nearly the same from ten steps on, with eta = 1 another image each time. 3: without a clip a third of the pixels are beyond the limits; static cuts
# them off; dynamic makes the image grey, since it divides.</details>

# %%
explorer = widgets.sampling_explorer()
print(f"a network of {sum(p.numel() for p in unet.parameters()):,} parameters, asked anew at each move")
explorer

# %% [markdown]
# ## A sampler to mend
#
# Each step may be right and the sampler wrong all the same: in where the walk ends, or in which noise goes into which step.
#
# ### Exercise 5.8: find the bugs: a sampler
#
# *Difficulty 3 of 5, fifteen minutes.*
#
# This should be DDPM with the posterior's variance, in any number of steps. `draw()` gives noise of the samples' shape, new at each call. The mean is right: it is Algorithm 2 of DDPM, with $\alpha_{t|s}$ in the
# place of $\alpha_t$. Around it there are three mistakes, of kinds that published code has.

# %%
def published_sampler(denoise, s, steps, draw):
    x, noise = draw(), draw()
    times = torch.linspace(s.T, 1, steps).round().long().tolist()
    for t, s_ in pairwise(times):
        eps = denoise(x, torch.full((len(x),), t)).eps
        alpha = s.alpha_bar[t] / s.alpha_bar[s_]
        mean = (x - (1 - alpha) / (1 - s.alpha_bar[t]).sqrt() * eps) / alpha.sqrt()
        x = (mean + s.posterior_variance[t].sqrt() * noise).float()
    return x

# %%
def drawing(*shape):
    stream = generator(0)
    return lambda: torch.randn(shape, generator=stream)

def two_tests(sampler):
    for steps in (1000, 100, 20):
        near = nearest(sampler(perfect, s, steps, drawing(10, 1, 8, 8)))[0].mean()
        std = sampler(gaussian, s, steps, drawing(20_000, 1)).std()
        print(f"{steps:4d} steps: distance to the nearest digit {near:.2f}; "
              f"spread on the Gaussian {std:5.2f}, right is {spread(ancestral, steps):.2f}")

two_tests(published_sampler)

# %% [markdown]
# Digits come out, nearly clean: a denoiser that knows nothing but digits leads to digits almost however it is asked. The Gaussian is not so patient. (Right is what *this* sampler should give there, 0.50 only
# with many steps: the posterior's variance is too small for long ones.)
#
# Write `mended_sampler`, without the three mistakes. What you wrote on this page may be used.
#
# <details><summary>Hint 1</summary>Which is the last pair of times, and how many pairs are there? How many different noises does a walk of 20 steps see? For which steps is the table <code>s.posterior_variance</code> made?</details>
# <details><summary>Hint 2</summary>Your <code>pairs</code> end at 0. A call of <code>draw</code> belongs into the loop. The variance of a pair is in your <code>ancestral_step</code>, which can take the place of the last two lines of the loop.</details>

# %% tags=["exercise"]
def mended_sampler(denoise, s, steps, draw):
    """Samples of DDPM with the posterior's variance after `steps` steps, from pure noise at T down to 0."""
    # BEGIN SOLUTION
    x = draw()
    for t, s_ in pairs(s.T, steps):
        guess = denoise(x, torch.full((len(x),), t)).x0
        x = ancestral_step(s, x, t, s_, guess, draw())
    return x
    # END SOLUTION

# %% tags=["check"]
the_sampling.mended_sampler(mended_sampler)

# %% tags=["fallback"]
mended_sampler = or_library(mended_sampler, sampling_answers.mended_sampler)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *Still wrong: ...* | the check follows the walk step by step, and names what is left |
# | *still has the noise of that time* | the list of times stops before 0: what comes back is $x_1$ |
# | *comes in more than once* | `draw()` stands outside of the loop |
# | *knows no s_* | the table's variance is for the step from $t$ to $t - 1$ |
# | *was asked first at* | the denoiser is to be asked at the time where $x$ is, and that is $T$ at first |

# %%
two_tests(mended_sampler)

# %% [markdown]
# Each of the three hides somewhere. The noise of $t = 1$ is too little to be seen. The table's variance is right when all steps are single ones, as in the 1,000 that people test with. And one noise for all steps looks like noise in every
# step: only many samples together tell.
#
# ## What people get wrong
#
# *The other way round, from what you see to its cause, for the whole course: [errors and symptoms](../docs/errors.md).*
#
# **The previous time, guessed.** A well-known library computes it in its DDIM as $t - T // n$, whatever the list of times. For times spread from $T$ to 1 it is another time than the next one
# in the list:

# %%
for n in (10, 30, 50):
    times = torch.linspace(999, 0, n).round().long()  # counted from 0, as there
    guessed = times[:-1] - 1000 // n
    print(f"{n} steps: the guess is wrong in {int((guessed != times[1:]).sum())} of {n - 1} steps")

# %% [markdown]
# **A range with a fraction as its step.** Counting down from $T$ in steps of $T / n$ should give $n$ times. In floating point it sometimes gives one more:

# %%
wrong = [n for n in range(1, 1001) if len(torch.arange(1000, 0, -1000 / n)) != n]
print(f"wrong for {len(wrong)} of 1000 values of n, such as {wrong[:4]}")
print(f"grids.uniform: wrong for {sum(len(grids.uniform(1000, n)) != n for n in range(1, 1001))}")

# %% [markdown]
# **One seed for a batch.** With one generator for all, a sample depends on how many others are made with it. With one for each it does not:

# %%
three = torch.full((3,), 3)
kinds = {"one generator": lambda n: generator(1), "one for each": lambda n: [generator(k) for k in range(n)]}
for name, noise in kinds.items():
    made = []
    for n in (2, 3):
        threes = parameterization.denoiser(unet, s, "eps", static_clip, labels=three[:n])
        made.append(sample(threes, s, (n, 1, 8, 8), "ddpm", 20, generator=noise(n)))
    print(f"{name}: sample 1 of 2 is sample 1 of 3: {bool(torch.allclose(made[0][1], made[1][1], atol=1e-3))}")

# %% [markdown]
# **The same generator, several times.** It looks like one for each, and it is a single stream:

# %%
try:
    sample(denoise, s, (10, 1, 8, 8), generator=[generator(0)] * 10)
except ValueError as problem:
    print(type(problem).__name__, "-", problem)

# %% [markdown]
# **Coefficients in half precision.** $\bar\alpha_t$ is near 1 at small $t$, and bfloat16 has eight bits for it:

# %%
early = s.alpha_bar[[1, 5, 10, 20]]
print("sqrt(1 - alpha_bar), t = 1, 5, 10, 20:", [round(x, 3) for x in (1 - early).sqrt().tolist()])
print("with alpha_bar in bfloat16:           ", [round(x, 3) for x in (1 - early.bfloat16()).sqrt().tolist()])

# %% [markdown]
# At $t$ = 1, 5 and 10 there is no noise at all. The library keeps its tables in float64 and rounds last.
#
# ## Five questions
#
# Answer by mouse or keyboard: every option says why it is right or wrong. What you have solved so far, here and in the
# other lessons, `python -m ddpm_edu progress` shows (it stays on this machine).

# %%
widgets.quiz("05_sampling")

# %% [markdown]
# ## What to read next
#
# - Song, Meng and Ermon, *Denoising Diffusion Implicit Models* (2021): sections 4 and 5, Table 1.
# - Lu et al., *DPM-Solver++* (2022): Algorithm 2, and why data prediction.
# - Karras, Aittala, Aila and Laine, *Elucidating the Design Space of Diffusion-Based Generative Models* (2022): sections 2 and 3, samplers as choices.
# - Ho and Salimans, *Classifier-Free Diffusion Guidance* (2022); Kynkäänniemi et al., *Applying Guidance in a Limited Interval* (2024).
# - Lin et al., *Common Diffusion Noise Schedules and Sample Steps Are Flawed* (2024): where chains should start.
# - Bao et al., *Analytic-DPM* (2022): the best variance.
# - Saharia et al., *Imagen* (2022), section 2.3: dynamic thresholding. Lugmayr et al., *RePaint* (2022). Jolicoeur-Martineau et al., *Gotta Go Fast* (2021): adaptive steps.
#
# **Next:** [06 Is it any good?](06_is_it_any_good.ipynb): how good samples are, honestly, and how this distance can mislead.
# [Back to the start](00_start_here.ipynb).
