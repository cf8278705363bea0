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
# # 2. The bound
#
# [Notebook 01](01_forward_noising.ipynb) built the road from data to noise. A model walks it backwards. How good is a
# model that does? A natural measure: the probability it gives to data it is shown. This page is about
# that number, why nobody can compute it, and the three terms that are computed in its place.
#
# **After this page you can**
#
# - say why $\log p(x_0)$ of a diffusion model cannot be had by sampling, and derive the bound that can,
# - compute its three terms, give each its right name, and say which of them training can change,
# - read a number in bits per dimension: where the bits go, and which choices cost or save some.
#
# *About a hundred minutes with the exercises. Computing: 25 seconds on two CPU cores, 0.7 GB of memory (measured
# 2026-11-26); no GPU, no network.* If Gaussians, Kullback-Leibler divergence or Jensen's inequality are new to you or
# rusty, the [primer](90_primer.ipynb) has what is needed here on one page.

# %%
import math
import warnings

import torch
from torch.distributions import Normal, kl_divergence

from ddpm_edu import closed_form, elbo, forward, oracles, plots, sampling, schedules, widgets
from ddpm_edu.errors import DDPMError, ScheduleWarning
from ddpm_edu.exercises import bound_answers, or_library, same, the_bound
from ddpm_edu.forward import at, q_posterior
from ddpm_edu.reverse import beside, optimal

torch.set_num_threads(1)  # for tensors as small as these, one thread is the fastest
s = schedules.linear_scaled(T=100)  # DDPM's betas for a chain of 100 steps
print(f"beta_1 = {s.beta[1]:.3f}, beta_100 = {s.beta[100]:.1f}")

# %% [markdown]
# ## What the model is
#
# The model starts where the road ends, with pure noise, and takes T steps back. Each step is a Gaussian:
#
# $$\begin{gathered}p(x_T) = \mathcal N(0, I), \\
# p(x_{t-1} \mid x_t) = \mathcal N\big(\mu(x_t, t),\; S_t I\big).\end{gathered}$$
#
# Two things have to be said about a step: its mean $\mu$ and its variance $S_t$.
#
# **The mean.** Notebook 01 ended with the step back when $x_0$ is known: the posterior $q(x_{t-1}\mid x_t, x_0)$, with
# mean $\tilde\mu_t$ and variance $\tilde\beta_t$. Walking backwards, $x_0$ is what we do *not* know. So the model
# guesses it: a *denoiser* looks at $x_t$ and gives a guess $\hat x_0(x_t, t)$, and $\mu$ is $\tilde\mu_t$ with the
# guess in the place of $x_0$. The denoiser is the part that is learned.
#
# **The variance.** Not learned here, but chosen. Until we look closer it is $S_t = \beta_t$, as in DDPM's samples of
# CIFAR-10.
#
# For most data nobody knows the best denoiser. For Gaussian data it is a formula, and `oracles.Gaussian` has it. This
# page uses such data wherever it can: numbers drawn from $\mathcal N(0.3,\, 0.5^2)$. With a perfect denoiser every
# error that remains is the fault of something else.

# %%
denoise = oracles.Gaussian(mean=0.3, std=0.5).denoiser(s)
x_t, t = torch.tensor([[0.9], [0.9]]), torch.tensor([1, 100])
for time, guess in zip(t, denoise(x_t, t).x0, strict=True):
    print(f"x_t = 0.9 at t = {int(time):3d}: the guess of x_0 is {guess.item():.2f}")

# %% [markdown]
# *At t = 1 there is hardly any noise, so the guess is nearly $x_t$ itself; at t = 100 there is nothing else, so the
# guess is the mean of the data.*
#
# All steps together make a distribution $p(x_0)$. Its logarithm at real data, $\log p(x_0)$, is the *log-likelihood*
# (or *evidence*) of $x_0$. For Gaussian data and this denoiser, what comes out at the end is Gaussian too, and
# `closed_form` works out its mean and variance. So here the right answer is known.

# %% [markdown]
# ## The naive way, and how it fails
#
# A sample comes about along a path $x_T, x_{T-1}, \dots, x_1$, and the last step gives $x_0$ the density
# $p(x_0 \mid x_1)$. So the density of $x_0$ is an average over paths,
#
# $$p(x_0) = \mathbb E_{\,x_1 \text{ from the model}}\; \big[\, p(x_0 \mid x_1) \,\big],$$
#
# and an average can be estimated: let the model walk 10,000 times down to $x_1$, and average. We do it for a point
# $x_0$ with 16 coordinates, each of them from our Gaussian, and look at its first coordinate alone, its first two, and
# so on.

# %%
g = torch.Generator().manual_seed(0)
state = {}  # the walk tells us of each step: keep what it says last about x_1
sampling.sample(denoise, s, (10_000, 16), generator=g, dtype=torch.float64,
                callback=lambda step: state.update({step["s"]: step["x"]}))  # time reached: state
x_1 = state[1]
x_0 = 0.3 + 0.5 * torch.randn(16, generator=g, dtype=torch.float64)

guess = denoise(x_1, torch.ones(10_000, dtype=torch.int64)).x0  # at t = 1 the mean is the guess
log_p = Normal(guess, s.beta[1].sqrt()).log_prob(x_0).cumsum(1)  # (paths, coordinates 1..16)
naive = torch.logsumexp(log_p, 0) - math.log(10_000)

# %%
toy = closed_form.gaussian(s, mean=0.3, std=0.5, variance="beta")
mean, variance = toy.marginal()  # of what the model makes
exact = Normal(mean, variance**0.5).log_prob(x_0).cumsum(0)
for d in (1, 2, 4, 16):
    values = f"log p(x_0) = {exact[d - 1]:5.1f}, from 10,000 paths {naive[d - 1]:6.1f}"
    print(f"first {d:2d}: {values}")
named = {"exact": exact, "naive, 10,000 paths": naive}
plots.curves(torch.arange(1, 17), named, "number of coordinates", "log p(x_0), nats")

# %% [markdown]
# *What to see: one coordinate is fine. With more, the estimate falls away from the truth, by hundreds of nats (a nat is
# a unit of logarithm: a factor $e$ in probability).*
#
# The last step is narrow, its standard deviation $\sqrt{\beta_1} \approx 0.03$. Only a path that happens to end next to
# $x_0$ counts, and with every further coordinate such paths become rarer by a factor. None of the ten thousand comes
# close. An image has thousands of coordinates: no number of paths that one could afford would do.

# %% [markdown]
# ## The idea: only walk where $x_0$ could have gone
#
# We know how to draw paths that end at $x_0$ for certain: start there, and walk the forward chain. These paths are not
# drawn as the model would draw them, so each has to be weighted by how much more likely the model finds it than the
# forward chain does:
#
# $$\begin{gathered}p(x_0) = \mathbb E_{q(x_1, \dots, x_T \mid x_0)}\,[\,w\,], \\
# w = \frac{p(x_0, x_1, \dots, x_T)}{q(x_1, \dots, x_T \mid x_0)}
#   = \frac{p(x_T)\; \prod_{t=1}^{T} p(x_{t-1} \mid x_t)}{\prod_{t=1}^{T} q(x_t \mid x_{t-1})}.\end{gathered}$$
#
# Why this is the same number: to average $w$ over $q$ means to integrate $q \cdot w$, and $q$ cancels. What is left is
# the integral of $p(x_0, \dots, x_T)$ over all paths: $p(x_0)$.
#
# Here are a thousand such paths for the 16 coordinates above, and $\log w$ of each.

# %%
n = 1_000
path = [x for _, x in forward.walk(s, x_0.repeat(n, 1), torch.Generator().manual_seed(0))]


def log_normal(x, mean, variance):
    """log N(x; mean, variance) summed over the coordinates: (n,)."""
    return Normal(mean, variance**0.5).log_prob(x).sum(1)


def forwards(t):
    """log q(x_t | x_{t-1}) of every path."""
    return log_normal(path[t], s.alpha[t].sqrt() * path[t - 1], s.beta[t])

# %%
def backwards(t):
    """log p(x_{t-1} | x_t) of every path: the posterior's mean at the guess, variance beta_t."""
    time = torch.full((n,), t)
    mean, _ = q_posterior(s, denoise(path[t], time).x0, path[t], time)
    return log_normal(path[t - 1], mean, s.beta[t])


log_end = log_normal(path[s.T], torch.tensor(0.0), torch.tensor(1.0))  # log p(x_T)
log_w = log_end + sum(backwards(t) - forwards(t) for t in range(1, s.T + 1))
average = torch.logsumexp(log_w, 0) - math.log(n)
print(f"log p(x_0), exact:          {exact[-1]:.1f}")
print(f"log of the average of w:    {average:.1f}, from {n} paths")
print(f"average of log w:           {log_w.mean():.1f}")

# %% [markdown]
# Ten thousand blind paths were hundreds of nats away; a thousand of these come within a tenth. So why is this not the
# end of the story? Because here a perfect denoiser and 16 coordinates are on our side. In the thousands of dimensions
# of an image, with a denoiser that was learned, $\log w$ varies by many nats from path to path. A few paths then
# dominate the average, and we are back at the naive way. Besides, the logarithm of an average cannot be trained on one
# path at a time.
#
# The way out stands in the last line of the output: take the **average of the logarithm** instead. It needs no luck:
# every path counts the same, and one path is an unbiased estimate. It is not the right number, but we know on which
# side it lies.

# %% [markdown]
# ### Jensen's inequality
#
# The logarithm curves downwards, so the logarithm of an average is never less than the average of the logarithms (the
# [primer](90_primer.ipynb) draws it):
#
# $$\begin{gathered}\log p(x_0) = \log \mathbb E[w] \;\ge\; \mathbb E[\log w], \\
# \text{so}\quad
# -\log p(x_0) \;\le\; L := \mathbb E_q[-\log w].\end{gathered}$$
#
# $L$ is **the bound**: *evidence lower bound* (ELBO) is its usual name, for $-L$. The two sides are equal if $w$ is the
# same on all paths, and the more $\log w$ spreads, the wider the gap. In between lie averages over a few paths:

# %%
for k in (1, 4, 16, 64):
    groups = log_w[: n // k * k].reshape(-1, k)
    bound = (torch.logsumexp(groups, 1) - math.log(k)).mean()
    print(f"log of the average over {k:2d} paths: {bound - exact[-1]:+.2f} from log p(x_0)")
figure, (ax,) = plots.picture(6, 2.6)
ax.hist(log_w.numpy(), bins=40, color="0.8")
ax.axvline(log_w.mean(), color=plots.COLOURS[1], linestyle="--", label="average of log w")
ax.axvline(exact[-1], color=plots.COLOURS[0], label="log p(x_0)")
ax.set(xlabel="log w of a path, nats", ylabel="paths")
ax.legend(fontsize=8)
figure

# %% [markdown]
# *What to see: log w of a thousand paths. Its average lies below the log-likelihood, and averaging inside the logarithm
# over more paths narrows the gap.*
#
# (The gap has a name as well: it is the Kullback-Leibler divergence from $q$'s paths to the paths by which the *model*
# would have come to $x_0$. We shall not need it, but it says when the bound is tight: if the model's steps really are
# the forward chain run backwards.)

# %% [markdown]
# ## Sorting the terms
#
# As it stands, $\log w$ compares steps back with steps forward, $p(x_{t-1}\mid x_t)$ with $q(x_t \mid x_{t-1})$:
# distributions of different things. Four lines of algebra make them comparable. Each is checked on the thousand paths.
#
# **Line 1**, from the definition, with the first step apart from the others:
#
# $$\begin{aligned}\log w =\;& \log p(x_T) + \log p(x_0\mid x_1) - \log q(x_1\mid x_0) \\
#   &+ \sum_{t=2}^{T} \big[\log p(x_{t-1}\mid x_t) - \log q(x_t\mid x_{t-1})\big].\end{aligned}$$

# %%
steps = range(2, s.T + 1)
line_1 = log_end + backwards(1) - forwards(1) + sum(backwards(t) - forwards(t) for t in steps)
same("log w", log_w, "line 1", line_1)

# %% [markdown]
# **Line 2** turns the forward step around, by Bayes' rule. The chain has no memory, so $q(x_t\mid x_{t-1})$ does not
# change if we add $x_0$ to what is known, and
#
# $$q(x_t\mid x_{t-1}) = q(x_t\mid x_{t-1}, x_0)
#   = \frac{q(x_{t-1}\mid x_t, x_0)\; q(x_t\mid x_0)}{q(x_{t-1}\mid x_0)}.$$
#
# The first factor is the posterior of notebook 01. The other two are jumps from $x_0$.

# %%
def known(t):
    """log q(x_{t-1} | x_t, x_0) of every path: the posterior, with the true x_0."""
    mean, variance = q_posterior(s, path[0], path[t], torch.full((n,), t))
    return log_normal(path[t - 1], mean, variance)


def jump(t):
    """log q(x_t | x_0) of every path."""
    return log_normal(path[t], s.alpha_bar[t].sqrt() * path[0], 1 - s.alpha_bar[t])


left = torch.stack([forwards(t) for t in steps])
right = torch.stack([known(t) + jump(t) - jump(t - 1) for t in steps])
same("log q(x_t | x_{t-1}), t = 2..T", left, "Bayes' rule", right)

# %% [markdown]
# **Line 3.** Summed over $t$, the jumps cancel in pairs: $-\log q(x_2\mid x_0)$ of one step meets
# $+\log q(x_2\mid x_0)$ of the next. Only the two ends stay:
#
# $$\sum_{t=2}^{T} \big[\log q(x_{t-1}\mid x_0) - \log q(x_t\mid x_0)\big] = \log q(x_1\mid x_0) - \log q(x_T\mid x_0).$$

# %%
pairs = sum(jump(t - 1) - jump(t) for t in steps)
same("the sum over t of jumps", pairs, "log q(x_1 | x_0) - log q(x_T | x_0)", jump(1) - jump(s.T))

# %% [markdown]
# **Line 4** puts this into line 1. There, $-\log q(x_1\mid x_0)$ meets line 3's $+\log q(x_1\mid x_0)$ and goes. What
# is left compares like with like:
#
# $$\log w = \underbrace{\log \frac{p(x_T)}{q(x_T\mid x_0)}}_{\text{where the road ends}}
#  + \sum_{t=2}^{T} \underbrace{\log \frac{p(x_{t-1}\mid x_t)}{q(x_{t-1}\mid x_t, x_0)}}_{\text{one step back}}
#  + \underbrace{\log p(x_0\mid x_1)}_{\text{the last step}}.$$

# %%
end, last = log_end - jump(s.T), backwards(1)
middle = torch.stack([backwards(t) - known(t) for t in steps])  # (T - 1, n)
same("log w", log_w, "line 4", end + middle.sum(0) + last)

# %% [markdown]
# Now average over paths, and change the sign. In a step back, average over $x_{t-1}$ first, for each given $x_t$. The
# average over $q$ of $\log (q/p)$ is a **Kullback-Leibler divergence**,
# $\operatorname{KL}(q \,\|\, p) = \mathbb E_q[\log q - \log p]$: how much it costs to believe in $p$ where $q$ is true.
# It is never negative, and 0 only if the two are the same. With it,
#
# $$\boxed{\begin{aligned}L =\;& \underbrace{\operatorname{KL}\big(q(x_T\mid x_0)\,\|\,p(x_T)\big)}_{L_T} \\
#  &+ \sum_{t=2}^{T} \underbrace{\mathbb E_q \operatorname{KL}\big(q(x_{t-1}\mid x_t,x_0)\,\|\,p(x_{t-1}\mid x_t)\big)}_{L_{t-1}} \\
#  &+ \underbrace{\mathbb E_q\big[-\log p(x_0\mid x_1)\big]}_{L_0}\end{aligned}}$$
#
# (DDPM, equation 5.) Every divergence in it is between two Gaussians, so it is a formula, and no draw of $x_{t-1}$ is
# needed. For two Gaussians with means $m_a, m_b$ and variances $a, b$, in one dimension:
#
# $$\operatorname{KL}(a\,\|\,b) = \tfrac12\left[\log\frac{b}{a} + \frac{a}{b} - 1 + \frac{(m_a - m_b)^2}{b}\right].$$
#
# The first three summands are about the widths (and are 0 for equal ones), the last is about the means. The
# [primer](90_primer.ipynb) derives it.
#
# ### Exercise 2.1: how far apart two Gaussians are
#
# *Difficulty 1 of 5, five minutes.*
#
# Write the formula as a function of tensors, one divergence for each of their elements.
#
# <details><summary>Hint 1</summary>The arguments are tensors of one shape: <code>.log()</code> and <code>** 2</code> are element by element too (and <code>math.log</code> is not).</details>
# <details><summary>Hint 2</summary>Four summands in a bracket, the half in front. KL(a || a) must come out as 0: a quick test before the check.</details>

# %% tags=["exercise"]
def gaussian_kl(mean_a, variance_a, mean_b, variance_b):
    """KL(N(mean_a, variance_a) || N(mean_b, variance_b)) in nats, element by element."""
    # BEGIN SOLUTION
    ratio = variance_a / variance_b
    gap = (mean_a - mean_b) ** 2 / variance_b
    return 0.5 * (-ratio.log() + ratio - 1 + gap)
    # END SOLUTION

# %% tags=["check"]
the_bound.gaussian_kl(gaussian_kl)

# %% tags=["fallback"]
gaussian_kl = or_library(gaussian_kl, bound_answers.gaussian_kl)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *divergence of the second from the first* | a and b are swapped: the direction matters |
# | *upside down* | $\log(a/b)$ in place of $\log(b/a)$, or $b/a$ in place of $a/b$ |
# | *as if they were standard deviations* | the arguments are variances: no squares on them |
#
# [One way to solve it](solutions/02_the_bound.ipynb). Should look like:
# `[x] 2.1 how far apart two Gaussians are: right.`

# %% [markdown]
# ## The three terms, one by one
#
# ### Where the road ends: the prior term
#
# $q(x_T\mid x_0)$ has mean $\sqrt{\bar\alpha_T}\,x_0$ and variance $1-\bar\alpha_T$ in each dimension, and $p(x_T)$ is
# $\mathcal N(0, I)$. Put into the formula, summed over dimensions $i$:
#
# $$L_T = \tfrac12 \sum_i \left[ -\log(1-\bar\alpha_T) + (1-\bar\alpha_T) - 1 + \bar\alpha_T\, x_{0,i}^2 \right].$$
#
# ### Exercise 2.2: the prior term
#
# *Difficulty 2 of 5, five minutes.*
#
# One number for each sample of the batch: sum over all its dimensions, however many axes they have.
#
# <details><summary>Hint 1</summary><code>s.alpha_bar[-1]</code> is the value at T.</details>
# <details><summary>Hint 2</summary>Sum over dimensions and keep the batch: <code>.flatten(1).sum(1)</code>. (The constant counts for each dimension.)</details>

# %% tags=["exercise"]
def prior_term(s, x0):
    """L_T of each sample in nats: x0 is (N, ...), the result (N,)."""
    # BEGIN SOLUTION
    left = s.alpha_bar[-1]
    per_dimension = -torch.log1p(-left) - left + left * x0.double() ** 2
    return 0.5 * per_dimension.flatten(1).sum(1)
    # END SOLUTION

# %% tags=["check"]
the_bound.prior_term(prior_term)

# %% tags=["fallback"]
prior_term = or_library(prior_term, elbo.prior_term)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *Only the mean is counted* | the constant $-\log(1-\bar\alpha_T) - \bar\alpha_T$ is missing |
# | *the state before the last* | `s.alpha_bar[s.T - 1]`: the tables have T + 1 entries |
# | *The constant counts once* | it was added after the sum over dimensions; each dimension has its own |
# | *That is the average over dimensions* | `.mean(1)` for `.sum(1)`; bits *per dimension* come at the end |
#
# [One way to solve it](solutions/02_the_bound.ipynb). Should look like:
# `[x] 2.2 the prior term: right.`
#
# ### One step back: the denoising terms
#
# $q(x_{t-1}\mid x_t, x_0)$ has mean $\tilde\mu_t(x_t, x_0)$ and variance $\tilde\beta_t$. The model's step has mean
# $\tilde\mu_t(x_t, \hat x_0)$ and variance $S_t$. So the two means differ only in the guess, and $x_t$ drops out:
#
# $$\begin{gathered}\tilde\mu_t(x_t, x_0) - \tilde\mu_t(x_t, \hat x_0) = c_t\,(x_0 - \hat x_0), \\
# c_t = \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}.\end{gathered}$$
#
# **What the model pays for in a step is a wrong guess of $x_0$, scaled by $c_t$, and a wrong width.**

# %%
ab, before = s.alpha_bar[2:], s.alpha_bar[1:-1]
c = before.sqrt() * s.beta[2:] / (1 - ab)
time, ones = torch.arange(2, s.T + 1), torch.ones(s.T - 1, 1, dtype=torch.float64)
x_t, true, guess = -1.5 * ones, 0.7 * ones, 0.4 * ones
difference = q_posterior(s, true, x_t, time)[0] - q_posterior(s, guess, x_t, time)[0]
same("difference of the means, t = 2..T", difference[:, 0], "c_t (x_0 - x0_hat)", c * (0.7 - 0.4))

# %% [markdown]
# ### Exercise 2.3: one denoising term
#
# *Difficulty 3 of 5, fifteen minutes.*
#
# The divergence between the two Gaussians, in nats, summed over dimensions, for times $t \ge 2$. Here each sample has
# its own width: `variance` holds $S_t$ of each, shape (N,).
#
# <details><summary>Hint 1</summary>The formula of 2.1 with a = the posterior variance, b = S, and c_t (x0 - x0_hat) for the difference of the means. You can call <code>gaussian_kl</code>.</details>
# <details><summary>Hint 2</summary><code>s.posterior_variance</code> is the table of the first. <code>at(table, t, x0)</code> gives each sample its entry, <code>beside(variance, x0)</code> each sample its own value, both in a shape that meets x0; both are imported above.</details>
# <details><summary>Hint 3</summary>The first three summands must count for every dimension: make them x0's shape before the sum, for example by adding them to the last.</details>

# %% tags=["exercise"]
def denoising_term(s, x0, x0_hat, t, variance):
    """L_{t-1} in nats, (N,): x0, x0_hat (N, ...); t int64 (N,), each >= 2; variance S (N,)."""
    # BEGIN SOLUTION
    own, width = at(s.posterior_variance, t, x0), beside(variance, x0)
    coefficient = at(s.alpha_bar, t - 1, x0).sqrt() * at(s.beta, t, x0) / at(1 - s.alpha_bar, t, x0)
    gap = (coefficient * (x0 - x0_hat)) ** 2
    per_dimension = (width / own).log() + own / width - 1 + gap / width
    return 0.5 * per_dimension.flatten(1).sum(1)
    # END SOLUTION

# %% tags=["check"]
the_bound.denoising_term(denoising_term)

# %% tags=["fallback"]
denoising_term = or_library(denoising_term, elbo.denoising_term)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *You compare the guesses of x_0 themselves* | $c_t$ is missing |
# | *Only the means are compared* | right up to a constant, which is what training needs; the bound needs all of it |
# | *The widths count once* | they were added after the sum over dimensions |
# | *not beta_t* | $q(x_{t-1}\mid x_t,x_0)$ has variance $\tilde\beta_t$: `s.posterior_variance` |
# | *the t of the first* | `t[0]` for the whole batch: each sample has its own |
#
# [One way to solve it](solutions/02_the_bound.ipynb). Should look like:
# `[x] 2.3 one denoising term: right.`
#
# The formula spares us a draw: given $x_t$, nobody has to draw $x_{t-1}$ to find the average. That makes the estimate
# quieter. For each t, both lines below estimate the same $L_{t-1}$ from the same thousand paths:

# %%
for t in (2, 10, 50):
    time, width = torch.full((n,), t), s.beta[t].expand(n)
    terms = denoising_term(s, path[0], denoise(path[t], time).x0, time, width)
    drawn = known(t) - backwards(t)
    for name, values in (("log q - log p", drawn), ("formula", terms)):
        print(f"t = {t:2d}, {name:13s}: average {values.mean():.2f}, spread {values.std():.2f}")

# %% [markdown]
# ### The last step: the reconstruction term
#
# $L_0 = \mathbb E_q[-\log p(x_0 \mid x_1)]$ is no divergence. It is the price of $x_0$ itself, once $x_1$ is known.
# With the plain Gaussian density it is `-backwards(1)` from above. A density can be larger than 1 (that of a narrow
# Gaussian is), so this price can be negative. For images, which come in whole grey levels, there is a better way; we
# come to it.
#
# Now all three together, through the library, against $-\log w$ of the paths:

# %%
x0 = x_0.repeat(n, 1)
g = torch.Generator().manual_seed(1)
bound = elbo.variational_bound(denoise, s, x0, variance="beta", decoder=elbo.density, generator=g)
print(f"prior {bound.prior.mean():.0e}, denoising {bound.denoising.sum(1).mean():.1f}, "
      f"reconstruction {bound.reconstruction.mean():.1f}")
print(f"their sum {bound.total.mean():.1f}, average of -log w {-log_w.mean():.1f}, "
      f"-log p(x_0) {-exact[-1]:.1f}")

# %% [markdown]
# ## Which name belongs to which term
#
# | term | what it measures | name | can training change it? |
# |---|---|---|---|
# | $L_T$ | $q(x_T\mid x_0)$ against pure noise | **prior** term, or prior matching | no: nothing in it is learned |
# | $L_{t-1}$, $t = 2, \dots, T$ | the model's step back against the posterior | **denoising** terms, or denoising matching | yes |
# | $L_0$ | the price of $x_0$ once $x_1$ is known | **reconstruction** term | yes |
#
# The longer names are those of Luo's tutorial of 2022. The article of 2025 that notebook 01 met uses the same three
# names and attaches two of them to other things. It calls $L_T$ the "reconstruction" term, and says that it goes to 0
# late in training; but nothing in $L_T$ changes in training. And as "prior matching" it names
# $\operatorname{KL}(q(x_1\mid x_0)\,\|\,p(x_1))$, which is no term of the bound at all. It then says that only the
# second kind is optimised; but $L_0$ depends on the denoiser too.
#
# That the invented term is not one is quickly seen: put it in the place of $L_0$, and the sum is not even near a bound.
# (For this model $p(x_1)$ is very nearly the distribution of the data at t = 1, whose variance is $v_1$ below.)

# %%
v_1 = s.alpha_bar[1] * 0.25 + 1 - s.alpha_bar[1]
q_1 = Normal(s.alpha_bar[1].sqrt() * x_0, (1 - s.alpha_bar[1]).sqrt())
p_1 = Normal(0.3 * s.alpha_bar[1].sqrt(), v_1.sqrt())
invented = kl_divergence(q_1, p_1).sum()
others = (bound.prior + bound.denoising.sum(1)).mean()
print(f"-log p(x_0) = {-exact[-1]:.1f}, the bound {others + bound.reconstruction.mean():.1f}, "
      f"with the invented term {others + invented:.1f}")

# %% [markdown]
# ## Data whose likelihood is known
#
# A single $x_0$ is one thing; we want the average over all data. For our Gaussian data each term's average is a
# formula. They are in `closed_form`, and they are held here against the code that works for any denoiser,
# `elbo.variational_bound`.
#
# To compare without chance, one observation helps: with this denoiser, each term is a quadratic function of $x_0$ and
# of the noise. So the average over four points, $x_0 = 0.3 \pm 0.5$ with noise $\pm 1$, is already the average over the
# whole distribution: it has the right mean and the right variance. We use DDPM's own schedule from here on.

# %%
ddpm = schedules.linear(T=1000)
exact_denoiser = oracles.Gaussian(0.3, 0.5).denoiser(ddpm)
four = torch.tensor([[0.8], [0.8], [-0.2], [-0.2]], dtype=torch.float64)
noise = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]], dtype=torch.float64)
general = elbo.variational_bound(exact_denoiser, ddpm, four, decoder=elbo.density, noise=noise)
chain = closed_form.gaussian(ddpm, mean=0.3, std=0.5, variance="beta")
same("L_T, general code", general.prior.mean(), "L_T, formula", chain.prior())
same("L_{t-1}, all t", general.denoising.mean(0), "formula", chain.denoising(), 1e-9)
same("L_0", general.reconstruction.mean(), "formula", chain.reconstruction())
same("their sum", general.total.mean(), "total by another formula", chain.total(), 1e-9)

# %% [markdown]
# (The last formula is DDPM's equation 26: the bound is what no model can avoid, plus what is lost at the end of the
# chain, plus what is lost by a wrong width in each step.)
#
# Now the sum can be held against the truth. There are three numbers, each at least as large as the one before:
#
# - the **entropy** of the data, $-\log$ of their own density on average: no model can do better;
# - the model's $-\log p(x_0)$, averaged over data;
# - the bound $L$, averaged over data.

# %%
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ScheduleWarning)  # it leaves signal at T: more of this below
    raw_400 = schedules.linear(400)
cosine = schedules.cosine(400)
candidates = {"DDPM, T = 1000": ddpm, "same betas, T = 400": raw_400, "cosine, T = 400": cosine}
print("nats per dimension      L_T      sum L_{t-1}    L_0        L       -log p   entropy")
for name, candidate in candidates.items():
    c = closed_form.gaussian(candidate, 0.3, 0.5, "beta")
    print(f"{name:20s} {c.prior():8.6f} {c.denoising().sum():11.5f} {c.reconstruction():11.5f}"
          f" {c.total():9.5f} {c.nll():9.5f} {c.entropy():9.5f}")

# %% [markdown]
# *What to see: terms of several nats, partly negative, add up to a number that exceeds $-\log p$ in the third decimal,
# and that exceeds the entropy by one in the fifth at most.* So with a perfect denoiser the bound is nearly tight, and
# the model is nearly right.
#
# Where do the nats go? Most of them to the smallest $t$, so we draw groups of $t$ that double in length.

# %%
names, sums = widgets.by_doubling(chain.denoising())
labels = ["L_T", *(f"t = {name}" for name in reversed(names)), "L_0"]
nats = torch.tensor([chain.prior(), *sums.flip(0), chain.reconstruction()])
bits = nats / math.log(2)  # a bit is log 2 = 0.69 nats
print(", ".join(f"{name}: {b:.2f}" for name, b in zip(labels, bits, strict=True)), "bits")
green, blue, red = plots.COLOURS[2], plots.COLOURS[0], plots.COLOURS[1]
figure, (ax,) = plots.picture(8, 3)
ax.bar(labels, bits, color=[green, *[blue] * len(names), red])
ax.set(ylabel="bits per dimension")
ax.tick_params(axis="x", labelrotation=30, labelsize=8)
ax.axhline(0, color="0.4", linewidth=0.8)
figure

# %% [markdown]
# *What to see, from left to right as the model walks: next to nothing at first, then roughly the same for each halving
# of t, and at the end a large negative price.* The prices are in bits now; a bit is $\log 2 \approx 0.69$ nats.
#
# The denoising terms pay for fixing $x_1$ to about one hundredth, much finer than the data's spread of 0.5; the last
# term, a density on that fine scale, pays it back. Only the sum means something here.
#
# ### Explore
#
# The same terms for any schedule, width and Gaussian, now as horizontal bars with their numbers. Under the controls, on a
# logarithmic scale, what is lost: by the model, and by the bound. Three things to try:
#
# 1. Switch the variance from `beta` to `posterior`. Which bars grow? Which of the two losses?
# 2. Set mean to 0 and std to 1, with `beta`. What is lost now, and why is `beta` right for such data?
# 3. Set the family to `linear` and T to 100, then std to 3. Which term grows that no training could lower?
#
# <details><summary>What you should find</summary>1: the bars of the smallest t grow, and so does the loss of the bound, by most of a bit; that of the model stays below a thousandth.
# 2: nothing, up to rounding: all x_t have variance 1, the step back is as wide as the step forward, and that is beta_t. 3: L_T. A hundred of DDPM's first betas leave most of x_0 in x_T, and a std of 3 makes that large.</details>

# %%
explorer = widgets.bound_explorer()
entropy, total = chain.entropy() / math.log(2), chain.total() / math.log(2)
print(f"in bits per dimension: entropy {entropy:.4f}, bound {total:.4f}")
explorer

# %% [markdown]
# ## Whole grey levels
#
# Images are not real numbers but whole grey levels: K of them, evenly from -1 to 1. For them $L_0$ can be the price of
# a *probability*, which is never negative. DDPM (equation 13) gives each level the model's Gaussian mass in a bin
# around it: half a bin is $h = 1/(K-1)$, and
#
# $$p(x_0\mid x_1) = \Phi\!\left(\frac{x_0 + h - \mu}{\sqrt{S_1}}\right) - \Phi\!\left(\frac{x_0 - h - \mu}{\sqrt{S_1}}\right),$$
#
# where $\Phi$ is the standard normal distribution function. The two outer bins reach to infinity, so nothing is lost:
# the bins' masses add up to 1.
#
# ### Exercise 2.4: the probability of a grey level
#
# *Difficulty 2 of 5, ten minutes.*
#
# Return the probabilities of all `levels` grey levels for one pixel, from the darkest (-1) to the brightest (1), for a
# Gaussian with the numbers `mean` and `std`.
#
# <details><summary>Hint 1</summary>The levels are <code>torch.linspace(-1, 1, levels)</code>, the middles of the bins; neighbouring bins share an edge.</details>
# <details><summary>Hint 2</summary><code>torch.special.ndtr</code> is the function Phi. Ask for it at the inner edges; what do the outer edges give?</details>

# %% tags=["exercise"]
def grey_levels(mean, std, levels):
    """The mass of N(mean, std^2) in the bin of each level: a float64 tensor (levels,)."""
    # BEGIN SOLUTION
    inner = torch.linspace(-1, 1, levels, dtype=torch.float64)[:-1] + 1 / (levels - 1)
    below = torch.special.ndtr((inner - mean) / std)
    zero, one = below.new_zeros(1), below.new_ones(1)
    return torch.cat([below, one]) - torch.cat([zero, below])
    # END SOLUTION

# %% tags=["check"]
the_bound.grey_levels(grey_levels)

# %% tags=["fallback"]
grey_levels = or_library(grey_levels, bound_answers.grey_levels)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *that of 256 levels, 1/255* | a constant from a paper on photographs; here K is an argument |
# | *reach to infinity* | the outer bins are as narrow as the others |
# | *The bins leave gaps* | half a bin is $1/(K-1)$: K levels have $K-1$ distances |
# | *A probability is the mass of a bin* | the density was taken at the level |
#
# [One way to solve it](solutions/02_the_bound.ipynb). Should look like:
# `[x] 2.4 the probability of a grey level: right.`
#
# The library's version is a *decoder*, `elbo.discretized(levels)`, and works with logarithms, so that improbable levels
# keep a finite price. The digits have 17 levels (0 to 16 inked points). With bins made for 256 levels, most of the
# probability falls between them:

# %%
levels = torch.linspace(-1, 1, 17, dtype=torch.float64)
mean, variance = torch.full_like(levels, 0.3), torch.full_like(levels, 0.2**2)
right = elbo.discretized(17).log_prob(levels, mean, variance).exp()
same("the masses of 17 bins", grey_levels(0.3, 0.2, 17), "the decoder's", right)
std, half = 0.2, 1 / 255
wrong = Normal(0.3, std).cdf(levels + half) - Normal(0.3, std).cdf(levels - half)
print(f"bins of 17 levels add up to {right.sum():.6f}")
print(f"with the width of 256 levels they add up to {wrong.sum():.3f}")

# %% [markdown]
# ### Bits per dimension
#
# A bound in nats grows with the size of the image, so papers divide by the number of dimensions (pixels times colours),
# and give bits:
#
# $$\text{bits per dimension} = \frac{L}{D \log 2}.$$
#
# Since $-\log_2 p$ is the length of the best code for something of probability $p$, this is a file size: what a
# compressor that knew the model would need for each pixel and colour. Eight bits is a plain file with 256 levels.
#
# ### Exercise 2.5: bits per dimension
#
# *Difficulty 1 of 5, five minutes.*
#
# From the three terms in nats to one number for each sample, in the unit that papers give.
#
# <details><summary>Hint 1</summary>The bound is a sum over t, for each sample: axis 1 of <code>denoising</code>.</details>
# <details><summary>Hint 2</summary><code>math.log</code> is the natural logarithm.</details>

# %% tags=["exercise"]
def bits_per_dim(prior, denoising, reconstruction, dimensions):
    """The bound of each sample in bits per dimension, (N,).

    prior, reconstruction: nats (N,); denoising: nats (N, T + 1), 0 where there is no term.
    """
    # BEGIN SOLUTION
    nats = prior + denoising.sum(1) + reconstruction
    return nats / (dimensions * math.log(2))
    # END SOLUTION

# %% tags=["check"]
the_bound.bits_per_dim(bits_per_dim)

# %% tags=["fallback"]
bits_per_dim = or_library(bits_per_dim, bound_answers.bits_per_dim)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *more bits than nats* | times $\log 2$ in place of divided by it |
# | *averaged over t* | `.mean(1)` for `.sum(1)`: the average is over dimensions, never over t |
# | *The sign* | the terms are prices already, $-\log p$: no minus in front |
#
# [One way to solve it](solutions/02_the_bound.ipynb). Should look like:
# `[x] 2.5 bits per dimension: right.`
#
# ## Where the bits go on real digits
#
# The package carries a small network, trained on the 1,797 digits in a few minutes with the loss of notebook 03. (It
# has seen the digits it is measured on: these are numbers of the training set.) We compute its bound on every 18th
# digit, with $x_t$ drawn once for each of the thousand t.

# %%
from ddpm_edu import data, models, parameterization

digits = data.digits()
images = digits.model_range()[::18]  # (100, 1, 8, 8)
net, config = models.load("digits_mlp")
assert config["schedule"] == {"family": "linear", "T": 1000}  # the schedule it was trained on
network = parameterization.denoiser(net, ddpm, config["predicts"])


def digits_bound(denoise, variance="beta"):
    g = torch.Generator().manual_seed(0)
    return elbo.variational_bound(
        denoise, ddpm, images, variance=variance, decoder=elbo.discretized(17), generator=g)

# %% [markdown]
# Two other denoisers stand beside it, both without any training:
#
# - **the Gaussian**, with the mean and covariance of the digits: the best that a linear denoiser can do
#   (`oracles.FullGaussian`);
# - **the table**, which takes pixels to be independent, and knows of each how often it has each of the 17 levels. Its
#   guess is the average of the levels, weighted by how likely each is given $x_t$.
#
# For the table itself $-\log p(x_0)$ can be looked up. The chain of a thousand steps with the table's guesses makes
# nearly, but not exactly, the table's distribution; so the looked-up number is not the chain's own $-\log p(x_0)$, but it
# is what its bound should come near.

# %%
pixels = digits.images.flatten(1).long()  # 0..16
frequency = torch.nn.functional.one_hot(pixels, 17).double().mean(0)  # (64, 17)


def table(x_t, t):
    ab = at(ddpm.alpha_bar, t, x_t.flatten(1)[:, :, None])
    log = frequency.log() - (x_t.flatten(1)[:, :, None] - ab.sqrt() * levels) ** 2 / (2 * (1 - ab))
    x0_hat = (log.softmax(2) @ levels).reshape(x_t.shape).to(x_t)
    return parameterization.Denoised(x0_hat, parameterization.eps_from_x0(ddpm, x_t, t, x0_hat))


chosen = frequency.expand(100, 64, 17).gather(2, pixels[::18, :, None])
known_bits = -chosen.log2().mean()  # of the table, on the same digits

# %%
gaussian = oracles.FullGaussian.fit(digits.model_range()).denoiser(ddpm)
bounds = {
    "Gaussian": digits_bound(gaussian),
    "network": digits_bound(network),
    "table": digits_bound(table),
    "table, posterior variance": digits_bound(table, "posterior"),
}
print(f"17 levels, all as likely: {math.log2(17):.2f} bits per dimension")
for name, b in bounds.items():
    bits = bits_per_dim(b.prior, b.denoising, b.reconstruction, 64)
    print(f"{name:26s} bound {bits.mean():.2f}")
print(f"-log p of the table, looked up: {known_bits:.2f}")

# %% [markdown]
# Some of this may surprise. The Gaussian is worse than no model at all (4.09 is the price of a level when all are as
# likely), and the trained network is worse than a table that does not know that neighbouring pixels have anything to do
# with each other! The bars say why.

# %%
figure, (ax,) = plots.picture(8, 3.2)
for i, (name, b) in enumerate(bounds.items()):
    bits = b.denoising.mean(0) / (64 * math.log(2))
    fine, middle, coarse = (part.sum() for part in bits.split([5, 12, 984]))
    print(f"{name:26s} bits at t = 2-4: {fine:.2f}, 5-16: {middle:.2f}, above: {coarse:.2f}")
    names, sums = widgets.by_doubling(bits)
    places = torch.arange(len(sums)) + 0.2 * (i - 1.5)
    ax.bar(places, sums.flip(0), 0.2, label=name, color=plots.COLOURS[i])
ax.set_xticks(range(len(sums)), [f"t = {name}" for name in reversed(names)], rotation=30)
ax.set(ylabel="bits per dimension")
ax.legend(fontsize=8)
figure

# %%
for name, b in bounds.items():
    last = b.reconstruction.mean() / (64 * math.log(2))
    print(f"{name:26s} L_0: {last:.3f} bits per dimension")
for t in (4, 16):
    print(f"noise at t = {t:2d}: standard deviation {(1 - ddpm.alpha_bar[t]).sqrt():.3f}")

# %% [markdown]
# *What to see: from t = 512 down to 17 the network pays the least: it knows what digits look like. Nearer to the data
# (right) it goes on paying, and the table with the posterior's variance stops.*
#
# Grey levels lie 1/8 apart, so half a bin is 0.0625. At t = 4 the noise is a third of that: whoever knows that there are
# only 17 levels reads the level off $x_4$ almost without doubt, and next to nothing is left to pay for. The table knows
# it. The network was never told, and learned it only in part: a third of its bits go to t = 2 to 4, on what comes behind
# the decimal point of a grey level. At t = 5 to 16 the noise grows to half a bin, and the table pays too: there the bits
# tell neighbouring levels apart.
#
# So more than half of this number is about details that hardly anybody can see. DDPM's authors found the same on
# photographs: of their 3.75 bits per dimension, 1.97 were $L_0$. (Their grey levels are about 16 times as fine, so the
# last step has a share of its own; here it costs nothing.) They say themselves that their models "do not have
# competitive log likelihoods".
#
# ### $L_T$ before and after training
#
# "It goes to 0 late in training", the article says of $L_T$. Here it is for a network that was never trained, and for
# the trained one:

# %%
untrained = parameterization.denoiser(models.MLP(64), ddpm, "eps")  # says eps = 0 everywhere
before, after = digits_bound(untrained), bounds["network"]
same("L_T before training", before.prior, "L_T after training", after.prior, tolerance=0)
for name, b in (("before", before), ("after", after)):
    prior = b.prior.mean() / (64 * math.log(2))
    total = b.bits_per_dim.mean()
    print(f"{name:6s} training: L_T {prior:.1e}, all terms {total:.1f} bits per dimension")

# %% [markdown]
# The two are equal to the last bit: $L_T$ depends on the schedule and on $x_0$, and on nothing else.
#
# ## Two widths, the same samples
#
# The model's variance $S_t$ was $\beta_t$ so far. The other choice in DDPM is the posterior's, $\tilde\beta_t$, which
# is smaller. Which is right? It depends on how much is still unknown about $x_0$ at $t$: if nothing, as for a single
# point, $\tilde\beta_t$; for Gaussian data of variance 1, $\beta_t$. (At $t = 1$ the posterior's variance is 0, and a
# width of 0 gives data a probability of 0. So the bound takes the entry of $t = 2$ there, as DDPM's code does.)

# %%
print("nats per dimension       L       -log p    variance of what the model makes (data: 0.25)")
for choice in ("beta", "posterior"):
    c = closed_form.gaussian(ddpm, 0.3, 0.5, choice)
    print(f"{choice:20s} {c.total():9.5f} {c.nll():9.5f}   {c.marginal()[1]:.4f}")
difference = c.total() - chain.total()
early = (c.denoising() - chain.denoising())[:17].sum() + c.reconstruction() - chain.reconstruction()
print(f"the bounds differ by {difference / math.log(2):.2f} bits per dimension, "
      f"of which {early / math.log(2):.2f} at t <= 16")

# %% [markdown]
# *What to see: what the two models make is nearly the same, and so is the likelihood they give to data. The bound
# differs by most of a bit.*
#
# That is no contradiction. The bound compares paths, and a path's $\log w$ suffers at every step from a width that is
# too small; what comes out at the end hardly does. Most of the price is paid at the smallest t, where the two variances
# differ most:

# %%
for t in (2, 3, 10, 100, 1000):
    ratio = ddpm.posterior_variance[t] / ddpm.beta[t]
    print(f"t = {t:4d}: posterior variance / beta_t = {ratio:.3f}")

# %%
samples = {}
for choice in ("beta", "posterior"):
    g = torch.Generator().manual_seed(0)
    samples[choice] = sampling.sample(network, ddpm, (10, 1, 8, 8), variance=choice, generator=g)
difference = (samples["beta"] - samples["posterior"]).abs().mean()
print("pixels differ by less than 0.01 on average (black to white is 2):", bool(difference < 0.01))
titles = [choice if i == 0 else "" for choice in samples for i in range(10)]
plots.images(torch.cat(list(samples.values())), titles, 10, size=0.9)

# %% [markdown]
# *What to see: digits by the network from the same noise, above with $\beta_t$, below with $\tilde\beta_t$. To the eye
# they are the same.*
#
# ### The best width
#
# Among the widths that are the same in all dimensions one is the best, and it can be found from the training loss.
# Given $x_t$, the step back has two sources of doubt. Were $x_0$ known, $\tilde\beta_t$ would remain. It is not known:
# the guess is off by $x_0 - \hat x_0$, which moves the mean by $c_t$ times that. The variances add:
#
# $$\begin{gathered}\sigma_t^{*2} = \tilde\beta_t + c_t^2\; \mathbb E\big[(x_0 - \hat x_0)^2\big], \\
# c_t = \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}.\end{gathered}$$
#
# What training measures is the error of the *noise* that goes with the guess, $\hat\epsilon$, with
# $x_t = \sqrt{\bar\alpha_t}\,\hat x_0 + \sqrt{1-\bar\alpha_t}\,\hat\epsilon$. As $x_t$ is given, the two errors are
# tied: $\sqrt{\bar\alpha_t}\,(x_0 - \hat x_0) = -\sqrt{1-\bar\alpha_t}\,(\epsilon - \hat\epsilon)$.
#
# ### Exercise 2.6: the best width
#
# *Difficulty 3 of 5, ten minutes.*
#
# From `eps_mse`, the average of $(\epsilon-\hat\epsilon)^2$ per dimension at each t, make the table of $\sigma_t^{*2}$.
# Entry 0 is 0.
#
# <details><summary>Hint 1</summary>Square the last equation to turn the error of eps into that of x_0.</details>
# <details><summary>Hint 2</summary><code>s.alpha_bar[:-1]</code> is alpha_bar_{t-1} for t = 1..T. Start from <code>s.posterior_variance.clone()</code>, and add to its entries [1:].</details>

# %% tags=["exercise"]
def optimal_variance(s, eps_mse):
    """sigma*_t^2, float64 (T + 1,), from the mean squared error of eps per dimension, (T + 1,)."""
    # BEGIN SOLUTION
    variance = s.posterior_variance.clone()
    error_of_x0 = eps_mse[1:] * (1 - s.alpha_bar[1:]) / s.alpha_bar[1:]
    coefficient = s.alpha_bar[:-1].sqrt() * s.beta[1:] / (1 - s.alpha_bar[1:])
    variance[1:] += coefficient**2 * error_of_x0
    return variance
    # END SOLUTION

# %% tags=["check"]
the_bound.optimal_variance(optimal_variance)

# %% tags=["fallback"]
optimal_variance = or_library(optimal_variance, optimal)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *The error has no effect* | only $\tilde\beta_t$ came back |
# | *on a squared error it is squared* | $c_t$ in place of $c_t^2$ |
# | *From eps to x_0 the other way round* | the ratio is $(1-\bar\alpha_t)/\bar\alpha_t$ |
# | *Entry 0 is NaN* | a division by $1-\bar\alpha_0 = 0$: leave entry 0 out |
#
# [One way to solve it](solutions/02_the_bound.ipynb). Should look like:
# `[x] 2.6 the best width: right.`
#
# For Gaussian data the error is known, so the width is, and with it the bound closes on the entropy. For the network,
# the bound above has measured the errors already:

# %%
error = oracles.Gaussian(0.3, 0.5).eps_floor(ddpm)
best = closed_form.gaussian(ddpm, 0.3, 0.5, "optimal")
found = optimal_variance(ddpm, error)
same("from the error", found, "the true step's variance", best.variance, 1e-9)
print(f"Gaussian data: bound {best.total():.6f}, entropy {best.entropy():.6f} nats per dimension")
width = optimal_variance(ddpm, bounds["network"].eps_mse.mean(0))
print(f"network: beta      {bounds['network'].bits_per_dim.mean():.2f} bits per dimension")
for name, choice in (("posterior", "posterior"), ("best", width)):
    print(f"         {name:9s} {digits_bound(network, choice).bits_per_dim.mean():.2f}")

# %% [markdown]
# The best width saves the network a few hundredths of a bit over $\beta_t$. It lies below $\beta_t$ for our Gaussian
# data and on these digits; it need not: where the data vary by more than 1 in a direction, it is larger. A network can
# also learn a width of its own for each pixel. That is what Improved DDPM does, for a better bound.
#
# ## Why T = 400 leaks
#
# Now to the one term that training cannot change. Notebook 01 measured how much of $x_0$ is left at T. In the bound
# that shows as $L_T$. For data with an average square of 0.25 in each dimension:

# %%
candidates = {
    "DDPM, T = 1000": ddpm,
    "same betas, T = 400": raw_400,
    "scaled betas, T = 400": schedules.linear_scaled(400),
    "cosine, T = 400": schedules.cosine(400),
}
print("                        alpha_bar_T    SNR_T     L_T, bits per dimension")
for name, c in candidates.items():
    bits = forward.bits_left(c, mean_square=0.25)
    print(f"{name:22s} {c.alpha_bar[-1]:12.2e} {c.snr[-1]:10.2e} {bits:10.1e}")

# %% [markdown]
# Unscaled betas at T = 400 have an $L_T$ about 450 times DDPM's. And yet: three thousandths of a bit per dimension. In
# a bound of some bits per dimension nobody would notice. **The bound is a poor witness of this fault**, because it
# spreads over all dimensions what happens in one: the direction in which all pixels vary together, brightness.
#
# What the fault does to samples can be worked out. Take data of variance $\lambda$ in a direction, and the exact
# denoiser. Start the walk back from pure noise, as samplers do. With $R^2$ the share of $x_T$'s variance that comes
# from $x_0$ (exercise 1.5), what comes out has
#
# - with DDPM's random steps: the mean of the data times $1 - R^2$,
# - with a deterministic sampler (DDIM, notebook 05) in many steps: the mean times $1 - \sqrt{R^2}$.
#
# So the mean is pulled towards 0, mid-grey, and the deterministic sampler loses more. We measure all of it for
# $\lambda = 20$: a straight line from $x_T$ back to $x_0$ gives $R^2$, and two samplers give the mean.

# %%
for variance in (1.0, 5.0, 20.0, 70.0):
    left = forward.squared_correlation(raw_400, variance)[-1]
    kept = f"mean kept {1 - left:.3f}, deterministic {1 - left.sqrt():.3f}"
    longer = forward.squared_correlation(ddpm, variance)[-1]
    print(f"variance {variance:2.0f}: R^2 {left:.3f}, {kept}; T = 1000: R^2 {longer:.4f}")

# %%
g, n = torch.Generator().manual_seed(0), 4_000
bright = oracles.Gaussian(mean=10.0, std=20**0.5)
x0 = bright.sample(n, (1,), g)
fresh = torch.randn(x0.shape, generator=g, dtype=torch.float64)
x_T = forward.q_sample(raw_400, x0, torch.full((n,), 400), fresh)
probe = torch.corrcoef(torch.stack([x0[:, 0], x_T[:, 0]]))[0, 1] ** 2
print(f"measured R^2 {probe:.2f}")
for method in ("ddpm", "ddim"):
    made = sampling.sample(bright.denoiser(raw_400), raw_400, (n, 1), method, steps=400,
                           generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    print(f"{method}: mean of the data 10, of the samples {made.mean():.1f}")

# %% [markdown]
# *(The last digits are chance, and DDIM's 400 steps are not yet infinitely many.)* A quarter of the brightness gone
# with one sampler, half with the other. In an image this happens along one direction among hundreds or thousands of
# pixels, which is how a fault of this size hides in the third decimal of the bits per dimension.
#
# ## Rate and distortion
#
# The bound can be read as a message in two parts. First $x_T, \dots, x_1$ are sent, more and more of the image: that
# costs the **rate**, $L_T + \sum_t L_{t-1}$. Then what is still missing of $x_0$: the **distortion**, $L_0$.
#
# (Not all digits of an $x_t$ are sent. It is enough that the receiver gets *a* draw from $q$. A draw from $p$ both sides
# can make without a message; what one from $q$ costs beyond that is the KL.)
#
# One can also stop early: after the steps down to $t$, the receiver has $x_t$ and shows the guess $\hat x_0$. How wrong
# is it, at what rate?

# %%
b, in_bits = bounds["network"], 64 * math.log(2)
terms = b.denoising.mean(0) / in_bits
rate = b.prior.mean() / in_bits + terms.sum() - terms.cumsum(0)  # of the steps from T down to t
unknown = (1 - ddpm.alpha_bar[1:]) / ddpm.alpha_bar[1:] * b.eps_mse.mean(0)[1:]
error = torch.cat([torch.zeros(1), unknown.sqrt()])  # of the guess of x_0, at t = 1..T
reached = int((error > 1 / 16).nonzero()[0])
for t in (500, 200, 100, reached, 1):
    print(f"t = {t:4d}: {rate[t]:.2f} bits per dimension, error of the guess {error[t]:.3f}")
figure, (ax,) = plots.picture(6, 3)
labels = "rate, bits per dimension", "error of the guess"
plots.draw_curves(ax, rate[1:501], {"network": error[1:501]}, *labels)
ax.axhline(1 / 16, color="0.6", linestyle=":")
figure

# %% [markdown]
# *What to see: the first half bit per dimension buys most of the picture. Half a grey level (dotted) is reached with
# less than one bit; more than two are spent below it.* (The curve starts at t = 500. Nearer to T this network's guesses
# of $x_0$ are poor, which notebook 03 explains; it costs the bound next to nothing.)
#
# DDPM's authors measured the same on CIFAR-10: a rate of 1.78 bits per dimension and a distortion of 1.97 at the end,
# where the root of the mean squared error was 0.95 grey levels out of 255. "More than half of the lossless codelength
# describes imperceptible distortions." A likelihood is a fair judge of everything in an image, including what nobody
# looks at. That is one reason why the next notebook trains with another weight on each $t$ than the bound's.

# %% [markdown]
# ## The whole bound
#
# All the pieces are there. Putting them together is where published code goes wrong: each term is right, and their sum is
# not.
#
# ### Exercise 2.7: find the bugs: the whole bound
#
# *Difficulty 3 of 5, fifteen minutes.*
#
# Here is a step back from $t$, as it should be: what it is when $x_0$ is known, and what the model makes of it.

# %%
def steps_back(denoise, s, x0, noise, t):
    """q(x_{t-1} | x_t, x_0) and p(x_{t-1} | x_t) of every sample, as two Normals."""
    time = torch.full((len(x0),), t)
    x_t = forward.q_sample(s, x0, time, noise)
    known, _ = q_posterior(s, x0, x_t, time)
    guessed, _ = q_posterior(s, denoise(x_t, time).x0, x_t, time)
    width = s.posterior_variance[max(t, 2)]  # 0 at t = 1, and no Normal has that: the entry of t = 2, as above
    return Normal(known, width.sqrt()), Normal(guessed, s.beta[t].sqrt())


# %% [markdown]
# And here the bound is put together from such steps. Two kinds of mistakes are in it that published code has. With data
# whose bound is known they show:

# %%
def published_bound(denoise, s, x0, noise):
    """The bound of each sample in nats, (N,): x0, noise (N, ...), the same noise for every t."""
    q, p = steps_back(denoise, s, x0, noise, 1)
    total = prior_term(s, x0) - p.log_prob(x0).flatten(1).sum(1)
    for t in range(1, s.T + 1):
        q, p = steps_back(denoise, s, x0, noise, t)
        total = total + kl_divergence(q, p).flatten(1).mean(1)
    return total


for d in (1, 4, 16):  # the four points of "Data whose likelihood is known", in every dimension
    found = published_bound(denoise, s, four.expand(4, d), noise.expand(4, d)).mean() / d
    print(f"D = {d:2d}: {found:5.2f} nats per dimension, should be {toy.total():.2f}; "
          f"entropy {toy.entropy():.2f}")

# %% [markdown]
# *What to see: with one dimension it is too high, with more it is too low. Lower than the entropy of the data, which no
# model can beat: a number like that in a paper is a bug, however good the network.*
#
# Write it as it should be. Call `steps_back`; it is right.
#
# <details><summary>Hint 1</summary>Hold it against the boxed equation, term by term. How many terms belong to t = 1? And over what is each term summed?</details>
# <details><summary>Hint 2</summary>The first line of the function has paid for t = 1 already. And <code>total</code> is the bound of a whole sample: what has one dimension more must cost more.</details>

# %% tags=["exercise"]
def whole_bound(denoise, s, x0, noise):
    """The bound of each sample in nats, (N,), as a sum over t and over dimensions: x0, noise (N, ...)."""
    # BEGIN SOLUTION
    _, last = steps_back(denoise, s, x0, noise, 1)
    reconstruction = -last.log_prob(x0).flatten(1).sum(1)
    pairs = [steps_back(denoise, s, x0, noise, t) for t in range(2, s.T + 1)]
    return prior_term(s, x0) + sum(kl_divergence(*pair).flatten(1).sum(1) for pair in pairs) + reconstruction
    # END SOLUTION


# %% tags=["check"]
the_bound.whole_bound(whole_bound)

# %% tags=["fallback"]
whole_bound = or_library(whole_bound, bound_answers.whole_bound)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *t = 1 is counted twice* | the loop over divergences starts one too early |
# | *averaged over dimensions* | one kind of term is averaged, the others are summed |
# | *L_T is missing* | "it has no parameters" is a reason to leave it out of a loss, not of a bound |
# | *was never asked at t* | the loop stops before T: the end of a `range` is not in it |
#
# [One way to solve it](solutions/02_the_bound.ipynb). Should look like:
# `[x] 2.7 find the bugs: the whole bound: right.`

# %%
for d in (1, 4, 16):
    found = whole_bound(denoise, s, four.expand(4, d), noise.expand(4, d)).mean()
    same(f"the whole bound, D = {d}", found, "closed form", d * toy.total(), 1e-9)

# %% [markdown]
# ## What people get wrong
#
# *The other way round, from what you see to its cause, for the whole course: [errors and symptoms](../docs/errors.md).*
#
# Mistakes that have been made in public, or are easily made. Each is a failing example you can run.
#
# **A tiny number for a width of zero.** The posterior's variance at t = 1 is 0, and its logarithm is wanted. Two
# libraries in wide use, denoising-diffusion-pytorch and diffusers, put 1e-20 in its place. A sampler adds no noise
# there, so nothing is seen of it. As a likelihood it says that the last step is certain to ten digits:

# %%
for name, entry in (("entry of t = 2", ddpm.posterior_variance[2]), ("1e-20", 1e-20)):
    variance = ddpm.posterior_variance.clone()
    variance[1] = entry
    b = elbo.variational_bound(
        exact_denoiser, ddpm, four, variance=variance, decoder=elbo.density, noise=noise)
    print(f"{name:15s} L = {b.total.mean():.1e} nats per dimension")

# %% [markdown]
# **Bits per dimension of a density, without saying in which unit.** A density on [-1, 1] changes with the unit of the
# data, so its bits can be anything. The library asks what the grey levels were:

# %%
try:
    print(general.bits_per_dim)
except DDPMError as error:
    print(type(error).__name__, "-", error)
scaled = elbo.variational_bound(
    exact_denoiser, ddpm, four, decoder=elbo.density_of(256), noise=noise)
print(f"as a density of 256 levels: {scaled.bits_per_dim.mean():.2f} bits per dimension")

# %% [markdown]
# **An average over t for the bound.** The bound is a *sum* of T terms. Training code draws one t at a time, and its
# average has to be multiplied by T:

# %%
b = bounds["network"]
steps = b.denoising.mean(0)[2:] / (64 * math.log(2))
print(f"sum over t {steps.sum():.2f}, average over t {steps.mean():.4f} bits per dimension")

# %% [markdown]
# **The loss is not a likelihood.** Two denoisers can be compared by the training loss of notebook 03, but it is not a
# bound on anything: it leaves the widths out and weights the t differently. Below are the loss and the bound of two
# denoisers, at the same width $\beta_t$. The one with the lower loss has the higher bound.

# %%
for name in ("network", "table"):
    b = bounds[name]
    loss, bits = b.eps_mse.mean(0)[1:].mean(), b.bits_per_dim.mean()
    print(f"{name:26s} loss {loss:.3f}, bound {bits:.2f} bits per dimension")

# %% [markdown]
# **The divergence the other way round.** $\operatorname{KL}(p\,\|\,q)$ is another number than
# $\operatorname{KL}(q\,\|\,p)$. With equal widths the two agree, so tests with $S_t = \tilde\beta_t$ do not notice;
# with $\beta_t$ they differ most where the bound is paid.

# %%
t = torch.tensor([2, 10, 100])
narrow, wide, none = ddpm.posterior_variance[t], ddpm.beta[t], torch.zeros(3)
both = {"q || p": gaussian_kl(none, narrow, none, wide), "p || q": gaussian_kl(none, wide, none, narrow)}
for name, values in both.items():
    print(f"KL({name}), same mean, t = 2, 10, 100:", ", ".join(f"{v:.5f}" for v in values))

# %% [markdown]
# ## Five questions
#
# Answer by mouse or keyboard: every option says why it is right or wrong. What you have solved so far, here and in the
# other lessons, `python -m ddpm_edu progress` shows (it stays on this machine).

# %%
widgets.quiz("02_the_bound")

# %% [markdown]
# ## What to read next
#
# - Ho, Jain and Abbeel, *Denoising Diffusion Probabilistic Models* (2020), section 3 and appendix A: the same four
#   lines in theirs; section 4.3 for rate and distortion.
# - Sohl-Dickstein et al., *Deep Unsupervised Learning using Nonequilibrium Thermodynamics* (2015): where this bound was
#   first written down for such a chain.
# - Luo, *Understanding Diffusion Models: A Unified Perspective* (2022): a long derivation, step by step, with the names
#   of the terms.
# - Nichol and Dhariwal, *Improved Denoising Diffusion Probabilistic Models* (2021): learned widths, for the sake of
#   this number.
# - Bao et al., *Analytic-DPM* (2022): the best width, from the error.
# - Kingma et al., *Variational Diffusion Models* (2021): the bound with infinitely many steps, where the schedule drops
#   out except for its ends.
#
# **Next:** [03 The epsilon loss](03_the_epsilon_loss.ipynb): what is left of this bound when a network learns from it, and why it predicts
# noise. [Back to the start](00_start_here.ipynb).
