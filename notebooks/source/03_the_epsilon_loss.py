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
# # 3. The epsilon-loss
#
# The loss that trains nearly every diffusion model fits on one line: guess the noise, take the squared error. This page
# shows where that line comes from, what was thrown away on the way, and what the number it prints can tell you.
#
# **After this page you can**
#
# - go from the bound of notebook 02 to DDPM's loss, one checked step at a time,
# - say what changes, and what does not, when a network predicts the noise, the image, or a mixture of both,
# - tell whether a training loss is good, or too good to be true, by comparing it with the best that is possible.
#
# *About an hour and three quarters with the exercises. Computing: 30 seconds on two CPU cores, 0.6 GB of memory
# (measured 2026-11-26); no GPU, no network.*

# %%
import json
from pathlib import Path

import torch
from torch.distributions import Normal, kl_divergence

from ddpm_edu import data, losses, models, oracles, parameterization, plots, schedules, widgets
from ddpm_edu.elbo import eps_weight
from ddpm_edu.errors import TimestepError
from ddpm_edu.exercises import epsilon_answers, or_library, same, the_epsilon_loss
from ddpm_edu.forward import at, q_posterior, q_sample, q_step, random_t
from ddpm_edu.sampling import sample
from ddpm_edu.training import fit, generator

torch.set_num_threads(1)  # the networks are so small that two threads mostly wait for each other
images = data.digits().model_range()  # (1797, 1, 8, 8), values from -1 to 1
s = schedules.linear(1000)  # DDPM's schedule
print(f"{len(images)} digits; alpha_bar_1 = {s.alpha_bar[1]:.4f}, alpha_bar_1000 = {s.alpha_bar[1000]:.5f}")

# %% [markdown]
# From notebook 01 we need two facts. The jump: $x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\epsilon$, where
# $\epsilon$ is standard normal noise and $\bar\alpha_t$ the share of the image's variance that is left. And the *posterior*:
# if $x_0$ and $x_t$ are both known, $x_{t-1}$ is normal with mean $\tilde\mu_t$ and variance $\tilde\beta_t$.
#
# ## The naive way, and how it fails
#
# Generating means walking from $x_t$ to $x_{t-1}$. So let a network look at $x_t$ and predict $x_{t-1}$, with the squared error
# as the loss. What could be simpler? Before we train anything, let two predictors compete:
#
# - a *lazy* one, which returns $\sqrt{1-\beta_t}\,x_t$: the input, shrunk a little. It has never seen a digit;
# - the *best possible* one for these digits. It can be computed, since the data set is finite: `oracles.FiniteDataset`
#   weighs all 1,797 digits by how likely each is, given $x_t$. (An exercise below does this for two points.)

# %%
best = oracles.FiniteDataset(images).denoiser(s)


def lazy_step(x_t, t):
    return at(s.alpha, t, x_t).sqrt() * x_t


def best_step(x_t, t):
    return q_posterior(s, best(x_t, t).x0, x_t, t)[0]  # the posterior's mean, with the best guess of x_0


g = torch.Generator().manual_seed(0)
for time in (100, 300, 500, 900):
    t, noises = torch.full((len(images),), time), torch.randn(2, *images.shape, generator=g)
    before = q_sample(s, images, t - 1, noises[0])
    x_t = q_step(s, before, t, noises[1])
    lazy, right = [(step(x_t, t) - before).square().mean() for step in (lazy_step, best_step)]
    print(f"t = {time}: squared error of the lazy step {lazy:.5f}, of the best step {right:.5f}")

# %% [markdown]
# The two errors agree to within two percent at t = 100, and from t = 500 on to all the digits shown. Both are close to
# $\beta_t$, the variance of the noise that separates $x_{t-1}$ from $x_t$: nobody can foresee that part. What a network
# could learn hides in what is left. Now let both walk, a thousand steps from pure noise.

# %%
walks = []
for step in (lazy_step, best_step):
    g = torch.Generator().manual_seed(1)
    x = torch.randn(8, 1, 8, 8, generator=g)
    for time in range(s.T, 0, -1):
        noise = torch.randn(x.shape, generator=g)
        x = step(x, torch.full((8,), time)) + s.beta[time].sqrt().float() * noise * (time > 1)
    walks.append(x)
nearest = [torch.cdist(x.flatten(1), images.flatten(1)).min(1).values.mean() / 8 for x in walks]
print(f"root mean square distance to the nearest digit: lazy {nearest[0]:.1f}, best {nearest[1]:.1f}")
plots.images(torch.cat(walks), columns=8, size=0.9)

# %% [markdown]
# *What to see: the lazy steps end in noise (above), the best steps in digits (below).* (These are training images, given
# back: the best predictor for a finite data set knows nothing else. We return to this under "a bracket for the loss".)
#
# So this loss has two faults. **Its value says almost nothing**, and its gradient is swamped by noise that cannot be
# predicted. The target is also nearly equal to the input: the network has to copy its input with great care and add
# a small correction that decides everything. We should ask for the correction.

# %% [markdown]
# ## The idea: ask for what is unknown
#
# Once $x_t$ is on the table, one thing is missing to know everything: the noise $\epsilon$ in it. Given $x_t$ and $\epsilon$,
# the image follows; given $x_t$ and the image, the noise follows. **So let the network say which part of $x_t$ is noise.** The
# next two exercises are these two conversions; the rest of the page uses them throughout.
#
# As in notebook 01, `t` has shape (N,), one time a sample, and `at(table, t, x)` gives `table[t]` in a shape that
# multiplies `x`.
#
# ### Exercise 3.1: the noise behind x_t
#
# *Difficulty 1 of 5, five minutes.*
#
# Solve the jump for $\epsilon$: given $x_t$ and $x_0$, return the noise that leads from one to the other.
#
# <details><summary>Hint 1</summary>Take the image's part away from x_t. What is left is the noise, times a factor.</details>
# <details><summary>Hint 2</summary>The factor is <code>at(1 - s.alpha_bar, t, x_t).sqrt()</code>.</details>

# %% tags=["exercise"]
def noise_from_image(s, x_t, t, x0):
    """The eps that leads from x0 to x_t: x_t and x0 are (N, ...), t is int64 (N,)."""
    # BEGIN SOLUTION
    return (x_t - at(s.alpha_bar, t, x_t).sqrt() * x0) / at(1 - s.alpha_bar, t, x_t).sqrt()
    # END SOLUTION

# %% tags=["check"]
the_epsilon_loss.noise_from_image(noise_from_image)

# %% tags=["fallback"]
noise_from_image = or_library(noise_from_image, parameterization.eps_from_x0)

# %% [markdown]
# ### Exercise 3.2: the image behind x_t
#
# *Difficulty 1 of 5, five minutes.*
#
# Solve the jump for $x_0$. If `eps` is a network's guess, the result is what the network thinks the image is. It is written
# $\hat x_0$, "x0 hat"; hats mark guesses from here on.
#
# <details><summary>Hint 1</summary>The same equation, the other unknown.</details>
# <details><summary>Hint 2</summary>Take the noise's part away, then divide by the image's factor.</details>

# %% tags=["exercise"]
def image_from_noise(s, x_t, t, eps):
    """The x_0 that leads to x_t with this eps: x_t and eps are (N, ...), t is int64 (N,)."""
    # BEGIN SOLUTION
    return (x_t - at(1 - s.alpha_bar, t, x_t).sqrt() * eps) / at(s.alpha_bar, t, x_t).sqrt()
    # END SOLUTION

# %% tags=["check"]
the_epsilon_loss.image_from_noise(image_from_noise)

# %% tags=["fallback"]
image_from_noise = or_library(image_from_noise, parameterization.x0_from_eps)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *still scaled* | the division at the end is missing |
# | *its square root is missing* | a share of variance was used where a factor on values belongs |
# | *a single step* | `s.alpha`, `s.beta` in place of `s.alpha_bar` |
# | *parentheses* | `a - b / c` divides b alone |
# | *NaN or infinite at t = 1 alone* | `t - 1`: the tables need no shift |
# | *RuntimeError ... must match* | `s.alpha_bar[t]` has shape (N,): use `at(s.alpha_bar, t, x_t)` |
#
# [One way to solve them](solutions/03_the_epsilon_loss.ipynb). Should look like: `[x] 3.2 the image behind x_t: right.`

# %% [markdown]
# ## From the bound to the loss
#
# Notebook 02 derives the *variational bound*: a sum over $t$ that is never smaller than $-\log p(x_0)$. Its term for
# $t = 2, \dots, T$ compares two Gaussians that both describe $x_{t-1}$: the posterior, which knows $x_0$, and the model's step,
# which sees $x_t$ alone and has a mean $\mu_t$ (to be learned) and a variance $\sigma_t^2$ (chosen):
#
# $$L_{t-1} = \mathrm{KL}\big(\,\mathcal N(\tilde\mu_t, \tilde\beta_t)\;\|\;\mathcal N(\mu_t, \sigma_t^2)\,\big).$$
#
# ($\sigma_t^2$ is the $S_t$ of notebook 02, and from here on $L_{t-1}$ means the term of one sample, before the average over
# $x_t$.) KL, the Kullback-Leibler divergence, measures in nats how far the second is from the first. We take $\sigma_t^2 = \tilde\beta_t$
# to begin with, and go on in four steps. For each we compute both sides, at $t = 2, \dots, 1000$, for random points: `x0` is the
# truth, `x0_hat` a guess.
#
# **Step 1. Equal variances: the KL is a distance of means.** For two Gaussians with the same variance, all else cancels:
#
# $$L_{t-1} = \frac{1}{2\sigma_t^2}\,\|\tilde\mu_t - \mu_t\|^2 .$$
#
# **Step 2. Let the model's mean have the posterior's form.** $\tilde\mu_t$ is a sum of two parts, one with $x_0$, one with $x_t$.
# The model knows $x_t$, so it need only put its guess $\hat x_0$ in the place of $x_0$. The parts with $x_t$ then cancel, and the
# factor of $x_0$ in $\tilde\mu_t$ (notebook 01) remains:
#
# $$\tilde\mu_t - \mu_t = \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}\,(x_0 - \hat x_0).$$

# %%
g, t = torch.Generator().manual_seed(0), torch.arange(2, s.T + 1)
x0, x0_hat, x_t = torch.randn(3, len(t), 4, generator=g, dtype=torch.float64)  # 999 times, 4 dimensions
mean, mean_hat = (q_posterior(s, x, x_t, t)[0] for x in (x0, x0_hat))
variance = s.posterior_variance[t]

width = variance.sqrt()[:, None].expand(-1, 4)
kl = kl_divergence(Normal(mean, width), Normal(mean_hat, width)).sum(1)
gap = mean - mean_hat
distance = gap.square().sum(1)
same("1. the KL, by torch", kl, "|mu~ - mu|^2 / (2 sigma^2)", distance / (2 * variance), 1e-7)

factor = s.alpha_bar[t - 1].sqrt() * s.beta[t] / (1 - s.alpha_bar[t])
same("2. mu~ - mu", gap,
     "sqrt(alpha_bar_{t-1}) beta_t / (1 - alpha_bar_t) (x0 - x0_hat)", factor[:, None] * (x0 - x0_hat))

# %% [markdown]
# **Step 3. Say it with the noise.** Both $x_0$ and $\hat x_0$ belong to the same $x_t$, each with its own noise, $\epsilon$ and
# $\hat\epsilon$. Write exercise 3.2 down for both and subtract; $x_t$ cancels:
#
# $$x_0 - \hat x_0 = -\frac{\sqrt{1-\bar\alpha_t}}{\sqrt{\bar\alpha_t}}\,(\epsilon - \hat\epsilon).$$
#
# **Step 4. Put 3 into 2.** One root of $1-\bar\alpha_t$ cancels, and $\bar\alpha_{t-1}/\bar\alpha_t = 1/\alpha_t$, as
# $\bar\alpha_t = \bar\alpha_{t-1}\,\alpha_t$:
#
# $$\tilde\mu_t - \mu_t = -\frac{\beta_t}{\sqrt{\alpha_t}\,\sqrt{1-\bar\alpha_t}}\,(\epsilon - \hat\epsilon).$$

# %%
eps, eps_hat = noise_from_image(s, x_t, t, x0), noise_from_image(s, x_t, t, x0_hat)
ratio = ((1 - s.alpha_bar[t]) / s.alpha_bar[t]).sqrt()[:, None]
same("3. x0 - x0_hat", x0 - x0_hat,
     "-sqrt((1 - alpha_bar_t) / alpha_bar_t) (eps - eps_hat)", -ratio * (eps - eps_hat))

factor = s.beta[t] / (s.alpha[t].sqrt() * (1 - s.alpha_bar[t]).sqrt())
same("4. mu~ - mu", gap,
     "-beta_t / sqrt(alpha_t (1 - alpha_bar_t)) (eps - eps_hat)", -factor[:, None] * (eps - eps_hat), 1e-9)

# %% [markdown]
# Step 4 into step 1, and the bound's term has become an error of the noise, with a weight $w_t$:
#
# $$\begin{gathered}L_{t-1} = w_t\,\|\epsilon - \hat\epsilon\|^2, \\
# w_t = \frac{\beta_t^2}{2\sigma_t^2\,\alpha_t\,(1-\bar\alpha_t)} .\end{gathered}$$
#
# With another $\sigma_t^2$ a constant comes on top, which no training changes, and $w_t$ keeps its form. (At $t = 1$ the bound
# has its reconstruction term in the place of a KL; with a Gaussian density for it, the same formula gives its weight.)
#
# ### Exercise 3.3: the weight of the bound
#
# *Difficulty 2 of 5, five minutes.*
#
# Return $w_t$ for given times and variances $\sigma_t^2$.
#
# <details><summary>Hint 1</summary>Everything here has shape (N,): <code>s.beta[t]</code> will do, <code>at</code> is not needed.</details>
# <details><summary>Hint 2</summary>Mind which alpha has a bar.</details>

# %% tags=["exercise"]
def bound_weight(s, t, variance):
    """w_t of |eps - eps_hat|^2, (N,): t is int64 (N,), variance is sigma_t^2, float64 (N,)."""
    # BEGIN SOLUTION
    return s.beta[t] ** 2 / (2 * variance * s.alpha[t] * (1 - s.alpha_bar[t]))
    # END SOLUTION

# %% tags=["check"]
the_epsilon_loss.bound_weight(bound_weight)

# %% tags=["fallback"]
def weight_from_table(s, t, variance):
    return eps_weight(s, torch.ones_like(s.beta))[t] / variance

bound_weight = or_library(bound_weight, weight_from_table)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *about one step* | both alphas in one formula: the one outside the parentheses has no bar |
# | *not to be squared*, *the root of* | `variance` is $\sigma_t^2$ already |
# | *`variance` has no effect* | the posterior's variance was put in; any may be asked for |
# | *Only the 2 divides* | `a / 2 * b` is (a / 2) times b |
#
# [One way to solve it](solutions/03_the_epsilon_loss.ipynb). Should look like: `[x] 3.3 the weight of the bound: right.`
#
# Now the whole chain from the KL to the noise in one line. A second form is worth knowing. The signal-to-noise ratio is
# $\mathrm{SNR}_t = \bar\alpha_t/(1-\bar\alpha_t)$; for $\sigma_t^2 = \tilde\beta_t$ the weight says by how much it falls in a
# step:

# %%
w = bound_weight(s, t, s.posterior_variance[t])
same("L_{t-1}, the KL", kl, "w_t |eps - eps_hat|^2", w * (eps - eps_hat).square().sum(1), 1e-7)
same("w_t", w, "(SNR_{t-1} / SNR_t - 1) / 2", 0.5 * (s.snr[t - 1] / s.snr[t] - 1), 1e-7)

# %% [markdown]
# ## Dropping the weight
#
# DDPM's last step is not algebra but a decision: put 1 in the place of $w_t$, and draw $t$ uniformly from $1, \dots, T$. The paper
# calls the result $L_{\text{simple}}$ (its Eq. 14):
#
# $$L_{\text{simple}} = \mathbb E\,\|\epsilon - \hat\epsilon(x_t, t)\|^2 .$$
#
# (It sums over dimensions; in code the mean is taken, which is the same up to the number of dimensions.) What does dropping
# $w_t$ change? Look at $w_t$. For each $t$ we also need the size of the error it multiplies. We take a predictor that
# is easy to compute, the best *linear* one for these digits (the *Wiener filter*; it follows from the data's mean and
# covariance). Its error is known in closed form at every $t$.

# %%
wiener = oracles.FullGaussian.fit(images)
error = wiener.eps_floor(s)[1:]  # mean squared error of eps per pixel, t = 1..T
weight = losses.vlb(s, "eps")[1:] / s.T  # w_t for sigma_t^2 = posterior variance; t = 1: the density's
for time in (1, 10, 100, 500, 1000):
    print(f"t = {time:4d}: w_t = {weight[time - 1]:.4f}, error {error[time - 1]:.5f}")
named = {"the bound, w_t x error": weight * error, "L_simple, error": error}
named = {name: loss / loss.mean() for name, loss in named.items()}
for name, loss in named.items():
    first = loss[:10].sum() / loss.sum()
    print(f"{name}: share of t = 1..10 {first:.2f}, standard deviation / mean {loss.std():.1f}")
plots.curves(torch.arange(1, s.T + 1), named, "t", "contribution / mean", log=True)

# %% [markdown]
# *What to see: in the bound (solid) a handful of the smallest t carries the loss; without the weight (dashed) it is spread
# over the first half of the chain.*
#
# Ten times out of a thousand carry more than half of the bound's loss. With t drawn at random a batch meets them
# rarely, so its loss jumps: over the draws of t the standard deviation of the bound's loss is many times its mean. And what is learned at such small t? To remove noise that no eye can
# see. Dropping the weight gives **less weight to small t and more to large t**, where it is decided what the image shows.
#
# It has a price. L_simple is not the bound any more, so its value bounds no likelihood. DDPM's Table 1 (CIFAR-10) has both:
#
# | trained with | likelihood, bits per dimension (lower is better) | FID of samples (lower is better) |
# |---|---|---|
# | the bound $L$ | 3.70 | 13.51 |
# | $L_{\text{simple}}$ | 3.75 | **3.17** |
#
# (FID compares samples with real images by the statistics of a classifier's features. Both rows: eps predicted, fixed $\sigma_t$.)

# %% [markdown]
# ### Exercise 3.4: the training loss
#
# *Difficulty 2 of 5, ten minutes.*
#
# Write $L_{\text{simple}}$ for a batch: mix $x_t$, ask the network, compare with the noise. Return one number a sample, the
# *mean* of the squares over its dimensions (so that 1 is the loss of a network that always answers 0, whatever the size of the
# image).
#
# <details><summary>Hint 1</summary><code>q_sample(s, x0, t, noise)</code> makes x_t. The network is called as <code>net(x_t, t)</code>.</details>
# <details><summary>Hint 2</summary>For tensors of any shape: <code>.flatten(1).mean(1)</code>.</details>

# %% tags=["exercise"]
def training_loss(net, s, x0, t, noise):
    """Mean squared error of the predicted noise, (N,): x0 and noise are (N, ...), t is int64 (N,)."""
    # BEGIN SOLUTION
    mixed = q_sample(s, x0, t, noise)
    return (net(mixed, t) - noise).square().flatten(1).mean(1)
    # END SOLUTION

# %% tags=["check"]
the_epsilon_loss.training_loss(training_loss)

# %% tags=["fallback"]
training_loss = or_library(training_loss, losses.simple)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *One number for the whole batch* | `.mean()` over everything; keep the first axis |
# | *The target is x_0* | this network predicts noise: compare with `noise` |
# | *noise of your own*, *drew anew* | `torch.randn` inside the function; the argument `noise` is to be used |
# | *was not given t as it is* | `t - 1` or `t / s.T`; the network gets `t` |
# | *not on points* | axes were counted; `flatten(1)` fits images and points |
#
# [One way to solve it](solutions/03_the_epsilon_loss.ipynb). Should look like: `[x] 3.4 the training loss: right.`

# %% [markdown]
# ## A network, and what it should have learned
#
# To see how good a network is we need data for which the best answer is known. Three round Gaussian blobs in the plane will
# do: for such a *mixture* the expected noise given $x_t$ has a closed form (`oracles.Mixture`). A small network trains on
# 4,000 points of it for some seconds. `fit` is Adam on the same loss, in the library's version.

# %%
blobs = oracles.Mixture(
    weights=torch.tensor([0.5, 0.25, 0.25]),
    means=torch.tensor([[-1.0, -0.6], [1.2, -0.4], [0.2, 1.3]]),
    stds=torch.tensor([0.2, 0.35, 0.15]),
)
points = blobs.sample(4000, torch.Generator().manual_seed(0))[0].float()
exact = blobs.denoiser(s)


def train(predicts, weight):
    torch.manual_seed(0)
    net = models.MLP(2, width=64, depth=2)
    history = fit(net, s, points, predicts, weight, steps=1200, lr=2e-3)
    return parameterization.denoiser(net, s, predicts), history

learned, history = train("eps", losses.uniform)
print("mean loss of the first 10 steps above 0.7:", bool(history.loss[:10].mean() > 0.7))
print("mean loss of the last 200 steps below 0.35:", bool(history.loss[-200:].mean() < 0.35))

# %% [markdown]
# The picture shows, at two times, the noise that is found at each place: an arrow points from $x_t$ in the direction of
# $-\hat\epsilon$, the way back to the data.

# %%
grid = torch.cartesian_prod(*[torch.linspace(-2.6, 2.6, 14)] * 2)
figure, axes = plots.picture(11.5, 3.1, 1, 4)
for i, time in enumerate((100, 400)):
    t = torch.full((len(points),), time)
    x_t = q_sample(s, points, t, torch.randn(points.shape, generator=generator(time)))
    with torch.no_grad():
        right, found = exact(x_t, t).eps, learned(x_t, t).eps
    off = (found - right).square().mean() / right.square().mean()
    print(f"t = {time}: mean square of the difference below 3% of the field's: {bool(off < 0.03)}")
    for ax, (name, denoise) in zip(axes[2 * i :], (("exact", exact), ("network", learned)), strict=False):
        arrows = -denoise(grid, t[: len(grid)]).eps.detach()
        ax.plot(*x_t[:500].T, ".", color=plots.COLOURS[5], markersize=2)
        ax.quiver(*grid.T, *arrows.T, color=plots.COLOURS[i], scale=60, width=0.005)
        ax.set(title=f"{name}, t = {time}", xlim=(-3, 3), ylim=(-3, 3), aspect="equal")
figure

# %% [markdown]
# *What to see: the arrows of the network (second and fourth) agree with the exact ones (first and third) wherever there are
# points; in the corners, where it has seen none, they differ.*
#
# ## Why the loss never reaches 0
#
# Even the exact field has an error, for it is an average. Many pairs of image and noise make the same $x_t$, and the best
# answer to "which noise?" is the mean of all that are possible. What remains is their variance. Two points on a line are
# enough to see it.
#
# ### Exercise 3.5: the best answer for two points
#
# *Difficulty 3 of 5, fifteen minutes.*
#
# Let $x_0$ be $-1$ or $+1$, with probability one half each. Return $\mathbb E[x_0 \mid x_t]$.
#
# Given $x_0$, the density of $x_t$ is that of a Gaussian around $\sqrt{\bar\alpha_t}\,x_0$ with variance $1-\bar\alpha_t$. By Bayes'
# rule the probability of each point, given $x_t$, is proportional to this density. Your result is the average of the two points
# with these probabilities as weights.
#
# <details><summary>Hint 1</summary>The logarithm of each density is -(x_t - centre)^2 / (2 variance), up to a constant. <code>torch.softmax(logarithms, 1)</code> turns them into probabilities, if the two points stand side by side, (N, 2).</details>
# <details><summary>Hint 2</summary>Or on paper: x_t^2 cancels, and (e^u - e^-u) / (e^u + e^-u) is tanh(u). What is u?</details>

# %% tags=["exercise"]
def two_points(s, x_t, t):
    """E[x_0 | x_t] for x_0 = -1 or +1, equally likely: x_t is (N, 1), t is int64 (N,)."""
    # BEGIN SOLUTION
    u = at(s.alpha_bar.sqrt() / (1 - s.alpha_bar), t, x_t) * x_t
    return torch.tanh(u)
    # END SOLUTION

# %% tags=["check"]
the_epsilon_loss.two_points(two_points)

# %% tags=["fallback"]
pair = torch.tensor([[-1.0], [1.0]])
two_points = or_library(two_points, oracles.FiniteDataset(pair).posterior_mean)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *nearer of the two* | `sign` or `argmax` in place of a weighted average |
# | *the noise's standard deviation* | a root too many: the exponent has $1-\bar\alpha_t$ |
# | *Half the exponent*, *A factor 2* | the two logarithms differ by $2u$ |
# | *the axis of the two points* | `softmax(..., 0)` shares out probability among the samples |
# | *exp(10000) is infinite* | `exp` by hand; `torch.softmax` and `torch.tanh` cope with large exponents |
#
# [One way to solve it](solutions/03_the_epsilon_loss.ipynb). Should look like: `[x] 3.5 the best answer for two points: right.`
#
# From the best $\hat x_0$ follows the best $\hat\epsilon$ (exercise 3.1), and from that the lowest loss that any network can
# reach on these two points, at each t. Beside it, the same for a Gaussian of the same mean and variance, where this floor is
# $\bar\alpha_t$ in closed form.

# %%
times, g = torch.arange(10, 1001, 30), torch.Generator().manual_seed(0)
floor = []
for time in times:
    t, x0 = torch.full((20_000,), int(time)), pair[torch.randint(2, (20_000,), generator=g)].double()
    noise = torch.randn(x0.shape, generator=g, dtype=torch.float64)
    x_t = q_sample(s, x0, t, noise)
    floor.append((noise_from_image(s, x_t, t, two_points(s, x_t, t)) - noise).square().mean())
floor = torch.stack(floor)
named = {"two points": floor, "Gaussian": s.alpha_bar[times]}
print("lowest possible L_simple:", {name: f"{loss.mean():.2f}" for name, loss in named.items()})
plots.curves(times, named, "t", "lowest possible loss")

# %% [markdown]
# *What to see: with two points (solid) the loss can vanish at small t, where it is clear which point $x_t$ came from, and at
# large t, where $x_t$ is nearly all noise. In between nobody can tell. A Gaussian (dashed) is harder at small t: next to each
# image there are others.*
#
# **So a loss means nothing by itself.** It is to be compared with what is possible, at the same t, on the same data and
# schedule.
#
# ## Real digits: a bracket for the loss
#
# For real data the floor is unknown, as it belongs to the distribution that the data were drawn from. But it can be fenced in:
#
# - **from below**: no predictor beats `FiniteDataset` on the training images, on average over the noise. It knows them by heart.
#   (That is about these images; for fresh digits, knowing others by heart does not help.)
# - **from above**: the Wiener filter is the best that is linear in $x_t$. Where a network does not beat it, nothing shows that it
#   has learned more than mean and covariance.
#
# The course carries a network for these digits, trained on all of them with L_simple.

# %%
net, config = models.load("digits_mlp")
print("made by:", config["command"], "- predicts", config["predicts"], "-", config["training"]["steps"], "steps")
times, by_t, g = torch.tensor([1, 5, 10, 20, *range(50, 1001, 50)]), [], torch.Generator().manual_seed(0)
for time in times:
    t, noise = torch.full((len(images),), int(time)), torch.randn(images.shape, generator=g)
    with torch.no_grad():
        by_heart = losses.mse(best(q_sample(s, images, t, noise), t).eps, noise).mean()
        by_t.append(torch.stack([by_heart, training_loss(net, s, images, t, noise).mean()]))
by_heart, network = torch.stack(by_t).T.double()
by_heart = by_heart.clamp(min=1e-6)  # at small t it is 0 but for rounding
upper = wiener.eps_floor(s)[times]

# %%
for i in (2, 5, 9, 13, 23):
    row = f"by heart {by_heart[i]:.2g}, network {network[i]:.2g}, Wiener {upper[i]:.2g}"
    print(f"t = {times[i]:4d}: {row}; network above Wiener: {bool(network[i] > upper[i])}")
named = {"Wiener filter": upper, "network": network, "known by heart": by_heart}
plots.curves(times, named, "t", "mean squared error of eps", log=True)

# %% [markdown]
# *What to see: up to about t = 400 the network runs between its two limits. Towards the end all errors are tiny, and the network
# is the worst of the three: there it cannot even keep up with a linear formula. (The flat start of the lowest curve at
# 1e-6 is a cut-off; there the error is 0 but for rounding.)*
#
# Three things to take from this picture.
#
# - The loss falls with t by itself. A network looks better at large t because the task is easier there: $x_t$ is almost the
#   noise it is asked for.
# - Far below the Wiener filter at small t is not simply "good": the lowest curve is that of a network which can only
#   return its training images. We come back to this when we measure samples.
# - An error of 0.001 at $t = 1000$ looks like nothing. The next section shows what it does to $\hat x_0$.

# %% [markdown]
# ## Three units for one error
#
# A network need not predict the noise. It may as well predict $x_0$, or
#
# $$v = \sqrt{\bar\alpha_t}\,\epsilon - \sqrt{1-\bar\alpha_t}\,x_0,$$
#
# which Salimans and Ho proposed in 2022. Given $x_t$, each of the three can be computed from any other; so they carry the same
# information. What differs is the unit of an error. By step 3 above, $\epsilon-\hat\epsilon$ is $x_0 - \hat x_0$ times $\sqrt{\mathrm{SNR}_t}$
# (and a sign). For $v$ insert step 3 into its definition: the error is $-(x_0-\hat x_0)$ times
# $\bar\alpha_t/\sqrt{1-\bar\alpha_t} + \sqrt{1-\bar\alpha_t} = 1/\sqrt{1-\bar\alpha_t} = \sqrt{1+\mathrm{SNR}_t}$. In squares:
#
# $$\begin{gathered}\|\epsilon-\hat\epsilon\|^2 = \mathrm{SNR}_t\,\|x_0-\hat x_0\|^2, \\
# \|v-\hat v\|^2 = (1+\mathrm{SNR}_t)\,\|x_0-\hat x_0\|^2 .\end{gathered}$$
#
# Let us see both on the trained network, with its real errors, at every t that we looked at:

# %%
net64, rows = net.double(), []  # float64, so that rounding is not what we see
for time in times:
    t, x0 = torch.full((200,), int(time)), images[:200].double()
    eps = torch.randn(x0.shape, generator=generator(int(time)), dtype=torch.float64)
    x_t = q_sample(s, x0, t, eps)
    with torch.no_grad():
        eps_hat = net64(x_t, t)
    x0_hat = image_from_noise(s, x_t, t, eps_hat)
    v, v_hat = parameterization.v_from(s, x0, t, eps), parameterization.v_from(s, x0_hat, t, eps_hat)
    pairs = (eps, eps_hat), (x0, x0_hat), (v, v_hat)
    rows.append(torch.stack([(a - b).square().mean() for a, b in pairs]))
of_eps, of_x0, of_v = torch.stack(rows).T
same("squared error of eps", of_eps, "SNR x that of x0", s.snr[times] * of_x0, 1e-9)
same("squared error of v", of_v, "(1 + SNR) x that of x0", (1 + s.snr[times]) * of_x0, 1e-9)

# %% [markdown]
# So the error itself (not squared) grows by $1/\sqrt{\mathrm{SNR}_t}$ on the way from $\epsilon$ to $x_0$, and by
# $\sqrt{\mathrm{SNR}_t}$ on the way back. The same measured errors, beside this prediction:

# %%
measured, predicted = (of_x0 / of_eps).sqrt(), s.snr[times].rsqrt()
for i in (0, 8, 13, 23):
    there, back = measured[i], 1 / measured[i]
    print(f"t = {times[i]:4d}: an error of 1 in eps is {there:.3g} in x0; one of 1 in x0 is {back:.3g} in eps")
print("root mean square error of x0-hat at t = 1000 above 2:", bool(of_x0[-1].sqrt() > 2))
plots.curves(times, {"predicted": predicted, "measured": measured}, "t", "error of x0 / error of eps", log=True)

# %% [markdown]
# *What to see: two curves that lie on each other (they must, as $\hat x_0$ was computed from $\hat\epsilon$). The digits live
# between -1 and 1, and at the end of the chain the network's idea of them is off by more than that.*
#
# At $t = 1000$ the network's small error in $\epsilon$ reaches $\hat x_0$ multiplied by 157. At $t = 1$ it is the other way round: a
# network that predicts $x_0$ has its errors multiplied by 100 when a sampler asks it for the noise. An error in $v$ grows on
# neither way: it is at least as large as the other two.

# %% [markdown]
# ## Min-SNR: a weight between the two
#
# A weight on one error is a weight on all three, in other units. L_simple, weight 1 on $\epsilon$, is the weight SNR on $x_0$: up
# to 10,000 at $t = 1$. Weight 1 on $x_0$ is $1/\mathrm{SNR}$ on $\epsilon$. *Min-SNR* (Hang et al., 2023) stands between: on
# $x_0$ it is
#
# $$\min(\mathrm{SNR}_t, \gamma), \qquad \gamma = 5 \text{ as a rule,}$$
#
# so that no t counts more than $\gamma$.
#
# ### Exercise 3.6: min-SNR for v
#
# *Difficulty 2 of 5, ten minutes.*
#
# Return the weight on $\|v-\hat v\|^2$ that gives the same loss as $\min(\mathrm{SNR}_t,\gamma)$ on $\|x_0-\hat x_0\|^2$, as a table for
# $t = 0, \dots, T$. `s.snr` is the table of the SNR, with infinity at $t = 0$; entry 0 of your table is not used.
#
# <details><summary>Hint 1</summary>How many times larger than the error of x_0 is that of v? The weight must be smaller by the same factor.</details>
# <details><summary>Hint 2</summary><code>s.snr.clamp(max=gamma)</code> is the minimum.</details>

# %% tags=["exercise"]
def min_snr_for_v(s, gamma):
    """Weight of |v - v_hat|^2 for t = 0..T, (T + 1,), that equals min(SNR, gamma) on |x0 - x0_hat|^2."""
    # BEGIN SOLUTION
    return s.snr.clamp(max=gamma) / (s.snr + 1)
    # END SOLUTION

# %% tags=["check"]
the_epsilon_loss.min_snr_for_v(min_snr_for_v)

# %% tags=["fallback"]
min_snr_for_v = or_library(min_snr_for_v, epsilon_answers.min_snr_for_v)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *the weight on the error of x_0* (or *of eps*) | the same table for another unit: the mistake of published code |
# | *too early* | `(s.snr + 1).clamp(...)`: the minimum is that of the SNR |
# | *Parentheses*, *1 was added* | `a / s.snr + 1` is (a / SNR) + 1 |
# | *T + 1 entries* | the table begins at t = 0, as all do here |
#
# [One way to solve it](solutions/03_the_epsilon_loss.ipynb). Should look like: `[x] 3.6 min-SNR for v: right.`
#
# All the weights of this page side by side, each as a table that multiplies the error of $\epsilon$. To see what they do, we
# multiply them by the Wiener filter's error, as above, and ask where the loss comes from:

# %%
tables = {
    "the bound": losses.vlb(s, "eps"),
    "1 on eps (L_simple)": losses.uniform(s, "eps"),
    "min-SNR, gamma = 5": min_snr_for_v(s, 5.0) * (1 + 1 / s.snr),  # an error of v is that much larger
    "1 on v": 1 + 1 / s.snr,
    "1 on x0": 1 / s.snr,
}
shown = {name: table[1:] * error / (table[1:] * error).mean() for name, table in tables.items()}
for name, loss in shown.items():
    quarters = [f"{100 * q.sum() / s.T:3.0f}%" for q in loss.split(250)]
    print(f"{name:20s} share of the loss by quarter of t: {' '.join(quarters)}")
figure = plots.curves(torch.arange(1, s.T + 1), shown, "t", "contribution / mean", log=True)
figure.axes[0].legend(fontsize=8, loc="lower center")
figure

# %% [markdown]
# *What to see: from the bound, whose loss comes almost all from the first quarter, to the weight 1 on $x_0$, which hardly counts
# it. Min-SNR and the weight 1 on $v$ stand between. In the last quarter the errors of $\epsilon$ are tiny, and a weight of 1 on
# $x_0$ or $v$ makes up for that.*
#
# "Noise or image?" is thus two questions at once: which weight, and which unit the network works in. To answer the second
# alone, the weights must match.

# %% [markdown]
# ## eps, x0 and v with matched weights
#
# Three networks with the same start, the same batches and the same loss, min-SNR in three units. Only what their outputs
# mean differs. We measure each against the exact answer for the blobs, in both units.

# %%
rivals = {name: train(name, losses.min_snr(5.0)) for name in ("eps", "x0", "v")}
final = torch.stack([history.by_quartile for _, history in rivals.values()])
ratio = final.max(0).values / final.min(0).values
print("losses within 5% of each other in the first three quarters of t:", bool(ratio[:3].max() < 1.05))
print("in the last quarter the largest is more than 1.5 times the smallest:", bool(ratio[3] > 1.5))
print("and is still below 0.01:", bool(final[:, 3].max() < 0.01))
times, errors = torch.tensor([1, 5, 10, 20, *range(50, 1001, 50)]), {name: [] for name in rivals}
for time in times:
    t = torch.full((2000,), int(time))
    x_t = q_sample(s, points[:2000], t, torch.randn(2000, 2, generator=generator(int(time))))
    for name, (denoise, _) in rivals.items():
        with torch.no_grad():
            errors[name].append((denoise(x_t, t).x0 - exact(x_t, t).x0).square().mean().sqrt())

# %%
figure, axes = plots.picture(10.5, 3.2, 1, 2)
in_x0 = {name: torch.stack(e) for name, e in errors.items()}
in_eps = {name: e * s.snr[times].sqrt() for name, e in in_x0.items()}
for ax, named, unit in zip(axes, (in_x0, in_eps), ("x0", "eps"), strict=True):
    plots.draw_curves(ax, times, named, "t", f"distance from the best {unit}")
    ax.set_yscale("log")
far_x0, far_eps = in_x0["eps"][-1] > 4 * in_x0["v"][-1], in_eps["x0"][0] > 3 * in_eps["v"][0]
print("t = 1000: in x0, the eps network is more than 4 times as far off as the v network:", bool(far_x0))
print("t = 1: in eps, the x0 network is more than 3 times as far off as the v network:", bool(far_eps))
figure

# %% [markdown]
# *What to see, left: at large t the network for $\epsilon$ (solid) is far off in $\hat x_0$. Right: at small t the one for $x_0$
# (dashed) is far off in $\hat\epsilon$. The one for $v$ (dash-dotted) is good at both ends.*
#
# The losses hardly differ where they are large; in the last quarter of t they do, but there all of them are next to
# nothing, as at both ends min-SNR gives these errors little weight. No network, though, is without error
# in its own unit, and at the ends of the chain, where the SNR is far from 1, the conversion multiplies it.
#
# Does it matter for samples? One seed cannot say. The comparison below was computed by a script of this repository, with three
# seeds each, on the two moons and on the digits; the page only loads its result. *Distance* is a sliced Wasserstein distance
# between samples and data, lower is better: how far, on average over directions, the points must be moved to make one cloud out
# of the other. *Matched* means min-SNR in each unit, so one loss for all three; *uniform* means weight 1 on each network's own
# output, so three different losses. The *floor*, at which samples are as good as data, is the distance of one half of the data from the other.

# %%
repository = Path(models.__file__).parents[2]
result = json.loads((repository / "benchmarks/results/parameterizations.json").read_text())
about = result["about"]
print(f"{about['date']}, {about['machine']}, {about['seconds']} s: {about['command']}")
settings = result["settings"]
print(f"{settings['schedule']}, T = {settings['T']}, 1 / sqrt(SNR) at T: {settings['snr'][-1] ** -0.5:.0f}")
for name, study in result["results"].items():
    print(f"{name}: floor {study['floor']:.3f}")
    for weighting, by_unit in study["runs"].items():
        for key, how in (("distance", "not clipped"), ("distance_clipped", "clipped")):
            d = {u: torch.tensor([run[key] for run in runs]) for u, runs in by_unit.items()}
            row = [f"{unit} {v.mean():.3f} ± {v.std():.3f}" for unit, v in d.items()]
            print(f"  {weighting:8s} {how:12s}", ", ".join(row))

# %% [markdown]
# Not clipped, the networks for $\epsilon$ fail: their samples end far outside the data, whose values lie within about 1. This is the
# factor $1/\sqrt{\mathrm{SNR}_t}$ at its worst: at the end of this short cosine schedule an error in $\epsilon$ reaches $\hat x_0$
# multiplied by some thousands (printed above). Two things tame it, and practice has both: a schedule whose SNR does not fall so low
# (the factor is 157 at the end of DDPM's; the digits network samples with it, further down), and clipping $\hat x_0$ to $[-1, 1]$ in
# every sampling step, as DDPM's own code does.
#
# Clipped, and with matched weights, the three nearly tie on the moons. On the digits the network for $x_0$ is ahead of the other two,
# which are close to each other. There clipping has a price as well: the samples of the networks for $x_0$ and $v$ get worse by it.
#
# So the three carry the same information, and with the same weight their losses differed only where they are next to nothing. Which of them the network says
# matters wherever its errors are multiplied before they are used.

# %% [markdown]
# ## Explore
#
# Pick a digit, a time and a predictor. The pictures show the digit, its noise, their mixture $x_t$, and what the predictor
# makes of it. The curves are the averages of the bracket above; the dot is this digit. Three things to try:
#
# 1. Move t to 1000 with the trained network: the predicted noise looks perfect. Look at the predicted $x_0$, and at the two
#    errors.
# 2. At t = 300 change the predictor to the Wiener filter: what does a linear answer lack?
# 3. Take "digits known by heart" and raise t slowly from 100. Where does it begin to mix digits?

# %%
explorer = widgets.denoising_explorer()
print(f"1 / sqrt(SNR) at t = 300: {s.snr[300] ** -0.5:.2f}, at t = 1000: {s.snr[1000] ** -0.5:.0f}")
explorer

# %% [markdown]
# ## What people get wrong
#
# *The other way round, from what you see to its cause, for the whole course: [errors and symptoms](../docs/errors.md).*
#
# **The noise of the step as the target.** $x_t$ can be made by walking, and then the noise of the last step, $\epsilon_t$, is at
# hand. It is tempting to train on it: it is what separates $x_{t-1}$ from $x_t$. But of the variance $1-\bar\alpha_t$ of all noise in
# $x_t$, this step has brought $\beta_t$. So even who knew *all* the noise $\epsilon$ could say no more of $\epsilon_t$ than
# $\sqrt{\beta_t/(1-\bar\alpha_t)}\,\epsilon$, and a share $1 - \beta_t/(1-\bar\alpha_t)$ of the loss is out of anyone's reach:

# %%
wrong_net, all_t, all_losses = models.MLP(2, width=64, depth=2), [], []
optimiser = torch.optim.Adam(wrong_net.parameters(), 2e-3)
for step in range(600):
    draw = generator(0, step)
    t = random_t(s, 128, draw).clamp(min=2)
    total, last = torch.randn(2, 128, 2, generator=draw)
    x0 = points[torch.randint(4000, (128,), generator=draw)]
    x_t = q_step(s, q_sample(s, x0, t - 1, total), t, last)
    loss = (wrong_net(x_t, t) - last).square().mean(1)
    optimiser.zero_grad()
    loss.mean().backward()
    optimiser.step()
    all_t, all_losses = [*all_t, t], [*all_losses, loss.detach()]

# %%
reached = losses.by_quartile(s, torch.cat(all_t[300:]), torch.cat(all_losses[300:]))
least = 1 - s.beta[2:] / (1 - s.alpha_bar[2:])
out_of_reach = [f"{q.mean():.3f}" for q in least.split([249, 250, 250, 250])]
print("out of reach, by quarter of t:", " ".join(out_of_reach))
print("loss of the step's noise above 0.9 in every quarter:", bool((reached > 0.9).all()))
print("loss of all the noise below 0.3 in the last three:  ", bool((history.by_quartile[1:] < 0.3).all()))

# %% [markdown]
# The network converges, to an answer that is nearly 0 everywhere. Nothing crashes.
#
# **A mean over the wrong shape.** If a network drops an axis, (N, 1) meets (N,), and the difference broadcasts to (N, N): every
# prediction is compared with every target. No error, and the loss of a perfect
# prediction is not 0.

# %%
prediction, target = torch.linspace(-1, 1, 5)[:, None], torch.linspace(-1, 1, 5)  # all five are right
gap = prediction - target
print(f"shape of the difference {tuple(gap.shape)}, 'loss' {gap.square().mean():.1f}")
try:
    losses.mse(prediction, target)
except ValueError as problem:
    print(type(problem).__name__, "-", str(problem).split(" Usual")[0])

# %% [markdown]
# **One weight for all units.** The weight of min-SNR is printed for $\epsilon$ in one place and for $x_0$ in another. Used on another
# prediction, the same table is another loss. Put on $v$, the weight for $x_0$ counts small t most:

# %%
right, wrong = losses.min_snr(5.0)(s, "v"), losses.min_snr(5.0)(s, "x0")
for name, table in (("the weight for v", right), ("the weight for x0, used on v", wrong)):
    on_x0 = table * (1 + s.snr)  # in units of x0, where min-SNR must never exceed gamma = 5
    print(f"{name}: largest weight on the error of x0 {on_x0[1:].max():.0f}")

# %% [markdown]
# **Noise prediction with no signal left.** On a schedule with $\bar\alpha_T = 0$ (zero terminal SNR, notebook 01), $x_T$ *is* the
# noise. A network that predicts it answers perfectly and says nothing about $x_0$. The conversion divides by 0, and here it is an
# error:

# %%
no_signal, x_T = schedules.zero_terminal_snr(s), torch.zeros(1, 1, 8, 8)
try:
    parameterization.x0_from_eps(no_signal, x_T, torch.tensor([1000]), x_T)
except TimestepError as problem:
    print(type(problem).__name__, "-", problem)

# %% [markdown]
# **"The loss is low, so the model is good."** In the second half of the chain the loss is low for everybody. Compare the network
# with the Wiener filter, which knows a mean and a covariance and nothing of digits:

# %%
net = net.float()
denoisers = {"network": parameterization.denoiser(net, s, "eps"), "Wiener filter": wiener.denoiser(s)}
t, noise = random_t(s, len(images), generator(1)), torch.randn(images.shape, generator=generator(0))
for name, denoise in denoisers.items():
    with torch.no_grad():
        loss = losses.mse(denoise(q_sample(s, images, t, noise), t).eps, noise)
    by_quarter = [f"{q:.2f}" for q in losses.by_quartile(s, t, loss)]
    print(f"{name}: L_simple {loss.mean():.2f}, by quarter of t {' '.join(by_quarter)}")
rows = [sample(d, s, (10, 1, 8, 8), "ddim", generator=generator(2)) for d in denoisers.values()]
plots.images(torch.cat(rows), columns=10, size=0.9)

# %% [markdown]
# *What to see: digits from the network (above), smooth stains from the Wiener filter (below).* In the second half of the chain
# the filter's loss is as low as the network's. The two differ in the first quarter. So look at the loss by quarter of t
# (`losses.by_quartile`, and `by_quartile` in what `fit` returns).

# %% [markdown]
# ### Exercise 3.7: find the bugs: a training step
#
# *Difficulty 3 of 5, fifteen minutes.*
#
# A whole step of training, with random t and noise from a generator `g`. Two bugs are in it. Both were published, in courses
# that many have learned from; neither stops anything, and the loss falls as it should.

# %%
def published_step(net, optimiser, s, x0, g):
    """One step of training on x0 (N, ...), with t and noise from the generator g. Returns the mean loss."""
    t = torch.randint(1, s.T, (len(x0),), generator=g)
    noise = torch.rand(x0.shape, generator=g)
    loss = (net(q_sample(s, x0, t, noise), t) - noise).square().mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item()

def train_by(step):
    torch.manual_seed(0)
    net = models.MLP(2, width=64, depth=2)
    adam, streams = torch.optim.Adam(net.parameters(), 2e-3), [generator(0, i) for i in range(800)]
    found = [step(net, adam, s, points[torch.randint(4000, (128,), generator=g)], g) for g in streams]
    return parameterization.denoiser(net, s, "eps"), sum(found[-300:]) / 300

# %% [markdown]
# We know the lowest loss that is possible on the blobs: that of `exact`. (The mean over all t; a network of this size comes
# close to it.)

# %%
t, noise = random_t(s, 4000, generator(1)), torch.randn(4000, 2, generator=generator(0))
lowest = losses.mse(exact(q_sample(s, points, t, noise), t).eps, noise).mean()
published, its_loss = train_by(published_step)
print("the published step's loss is less than half of the lowest possible:", bool(its_loss < lowest / 2))

# %% [markdown]
# Too good to be true: `exact` is the best there is for the blobs, and a small network does not know 4,000 points by heart.
# **A loss far below the floor says that another question was asked.** Write the step as it should be.
#
# <details><summary>Hint 1</summary>One is in what is drawn as noise. What are its mean and its variance, and what does a sampler begin with?</details>
# <details><summary>Hint 2</summary>The other is about a single t. What is the largest number that <code>torch.randint(1, 6, ...)</code> can return? A function that we imported at the top draws t as it should be.</details>

# %% tags=["exercise"]
def training_step(net, optimiser, s, x0, g):
    """One step of training on x0 (N, ...), with t and noise from the generator g. Returns the mean loss."""
    # BEGIN SOLUTION
    t, noise = random_t(s, len(x0), g), torch.randn(x0.shape, generator=g)
    mean_loss = training_loss(net, s, x0, t, noise).mean()
    optimiser.zero_grad()  # what the step before has left
    mean_loss.backward()
    optimiser.step()  # one, along the gradient of this batch
    return mean_loss.item()
    # END SOLUTION

# %% tags=["check"]
the_epsilon_loss.training_step(training_step)

# %% tags=["fallback"]
training_step = or_library(training_step, epsilon_answers.training_step)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *that is torch.rand* | uniform numbers: one letter is missing |
# | *t = T is never drawn* | `torch.randint(a, b)` ends at b - 1 |
# | *Equal generators gave different ...* | something is drawn without `generator=g` |
# | *it was drawn anew* | noise is drawn twice: once for x_t, once for the loss |
# | *The gradient of the step before* | `zero_grad` is missing |
# | *does not require grad* | the prediction was detached: no gradient reaches the network |
#
# [One way to solve it](solutions/03_the_epsilon_loss.ipynb). Should look like: `[x] 3.7 find the bugs: a training step: right.`
#
# The same training with the mended step, and what a sampler makes of both networks:

# %%
mended, its_loss = train_by(training_step)
print("the mended step's loss is above 0.9 of the lowest possible:", bool(its_loss > 0.9 * lowest))
figure, axes = plots.picture(9, 3, 1, 3)
made = [sample(d, s, (1000, 2), "ddim", generator=generator(2)) for d in (published, mended)]
for ax, name, x in zip(axes, ("published", "mended", "data"), (*made, points[:1000]), strict=True):
    inside = (x.abs() < 3).all(1).double().mean()
    print(f"{name}: more than half of the points in the frame: {bool(inside > 0.5)}, more than 90%: {bool(inside > 0.9)}")
    ax.plot(*x.detach().T, ".", color=plots.COLOURS[0], markersize=2)
    ax.set(title=name, xlim=(-3, 3), ylim=(-3, 3), xlabel="first coordinate", ylabel="second", aspect="equal")
figure

# %% [markdown]
# *What to see: most samples of the published step (left) lie far outside the frame. Those of the mended one (middle) are in the
# three blobs of the data (right), or near them: it has had 800 steps.*
#
# The network of the published step answers its own question well: noise between 0 and 1 has mean 1/2 and variance 1/12, so who
# always says 1/2 has a loss of 0.08. The sampler asks another one, beginning with Gaussian noise. The second bug does not show
# here: of a thousand times nobody misses one. In the check's chain of five steps it is one time in five, and the one that sampling begins with.

# %% [markdown]
# ## Five questions
#
# Answer by mouse or keyboard: every option says why it is right or wrong. What you have solved so far, here and in the
# other lessons, `python -m ddpm_edu progress` shows (it stays on this machine).

# %%
widgets.quiz("03_the_epsilon_loss")

# %% [markdown]
# ## What to read next
#
# - Ho, Jain and Abbeel, *Denoising Diffusion Probabilistic Models* (2020), sections 3.2 and 3.4: the derivation of this page.
#   (They report that predicting $x_0$ gave worse samples early in their experiments. By this page, that may be a matter of weight.)
# - Salimans and Ho, *Progressive Distillation for Fast Sampling of Diffusion Models* (2022), section 4 and appendix D: $v$, and
#   weights. Their Table 1 (CIFAR-10) has FID 2.51 for predicting $x$ and 2.91 for $\epsilon$, each with its own weighting.
# - Hang et al., *Efficient Diffusion Training via Min-SNR Weighting Strategy* (2023).
# - Karras et al., *Elucidating the Design Space of Diffusion-Based Generative Models* (2022), section 5: what the network should be
#   asked for at each noise level.
#
# **Next:** [04 The U-Net](04_the_unet.ipynb): the network, and what it takes to hear the noise in an image.
# [Back to the start](00_start_here.ipynb).
