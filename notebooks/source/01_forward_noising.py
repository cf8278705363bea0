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
# # 1. Forward noising
#
# A diffusion model learns to walk from noise to data. This page builds the road it walks on, in the easy direction:
# from data to noise.
#
# **After this page you can**
#
# - write the noising process as single steps and as one jump, and show that they agree,
# - choose a noise schedule, and say in numbers what is wrong with one,
# - write down where a noisy point came from, given where the walk began: the posterior that training will aim at.
#
# *About an hour with the exercises. Computing: 11 seconds on two CPU cores, 1.2 GB of memory (measured 2026-11-26); no GPU, no network.*

# %%
import time
import warnings

import torch
from IPython.display import display

from ddpm_edu import data, forward, plots, schedules, widgets
from ddpm_edu.errors import ScheduleWarning
from ddpm_edu.exercises import forward_noising, or_library, same
from ddpm_edu.forward import at

digits = data.digits()
images = digits.model_range()  # (N, 1, 8, 8), values from -1 to 1
shape = tuple(images.shape[1:])
print(f"{len(digits)} digits of shape {shape}, from {images.min():.0f} to {images.max():.0f}")
plots.images(images[:10], [str(int(label)) for label in digits.labels[:10]], size=1)

# %% [markdown]
# *What to see: handwritten digits, eight pixels a side. They come with this course, and are small enough for every
# experiment on this page to take seconds. What holds for them holds for photographs.*

# %% [markdown]
# ## The naive way, and how it fails
#
# To turn an image into noise, add a little noise, many times over. In symbols, with fresh standard normal noise
# $\epsilon_t$ in every step and a small variance $\beta_t$:
#
# $$x_t = x_{t-1} + \sqrt{\beta_t}\,\epsilon_t, \qquad t = 1, \dots, T.$$
#
# The list of the $\beta_t$ is called the *schedule*. Let us take a thousand steps with the schedule of DDPM, the paper
# that this course is built around. (The slider of notebook 00 followed another one, the cosine; we come to it.)

# %%
g = torch.Generator().manual_seed(0)
s = schedules.linear(T=1000, beta_start=1e-4, beta_end=0.02)
x = images[:10].clone()
for t in range(1, s.T + 1):
    x = x + s.beta[t].sqrt().float() * torch.randn(x.shape, generator=g)
print(f"variance of all pixel values before: {images[:10].var():.1f}, after: {x.var():.0f}")
plots.images(x, size=1)

# %% [markdown]
# *What to see: no digit can be made out, and there is more black and white than grey: most values lie outside the
# range from -1 to 1, and are clipped to be drawn.*
#
# The image is gone, but the variance has grown by $\beta_1 + \dots + \beta_T \approx 10$, and with twice as many steps it
# would have grown by 20. So there is no fixed place where the walk ends, and a network would have to cope with inputs
# whose size depends on the step. (One family of models does it this way on purpose and rescales what the network sees;
# we come back to it when we sample.)

# %% [markdown]
# ## The idea: shrink a little, then add a little
#
# If every step first makes the image a little smaller, the added noise can fill exactly the room this leaves:
#
# $$x_t = \sqrt{1-\beta_t}\; x_{t-1} + \sqrt{\beta_t}\; \epsilon_t .$$
#
# In words: **keep the share $1-\beta_t$ of the variance, and put noise of variance $\beta_t$ in its place.** Noise and
# image are independent, so variances add. Data of variance $v$ has variance $(1-\beta_t)\,v + \beta_t$ after the step: for
# $v = 1$ that is 1 again, and any other $v$ moves a little towards 1.
#
# That is all that the "forward process" is. Written as a distribution,
# $q(x_t \mid x_{t-1}) = \mathcal N\!\left(\sqrt{1-\beta_t}\,x_{t-1},\; \beta_t I\right)$: a Gaussian around the shrunk image, with
# variance $\beta_t$ in each pixel. The next state depends on the last one and on nothing before it, which is what makes it
# a *Markov chain*. Nothing in it is learned.
#
# A word on the code before you write it. A batch holds N samples, each with a time of its own, so `t` has shape (N,).
# The schedule's tables have an entry for t = 0, the clean image (`s.beta[0]` is 0), so `s.beta[t]` is $\beta_t$ with no
# shift. And `at(table, t, x)` gives `table[t]` in a shape that multiplies `x`, whatever number of dimensions `x` has:

# %%
batch = images[:3]
t = torch.tensor([1, 500, 1000])
print("s.beta[t]           ", tuple(s.beta[t].shape), [f"{b:.4f}" for b in s.beta[t]])
print("at(s.beta, t, batch)", tuple(at(s.beta, t, batch).shape), "beside images", tuple(batch.shape))

# %% [markdown]
# ### Exercise 1.1: one step
#
# *Difficulty 1 of 5, five minutes.*
#
# Write one step of the chain, for data with any number of dimensions. `s.alpha` is the table of $1-\beta_t$.
#
# <details><summary>Hint 1</summary>Two coefficients, one for the image and one for the noise. Each is the square root of a table at t.</details>
# <details><summary>Hint 2</summary><code>at(s.alpha, t, x_prev).sqrt()</code> multiplies the image. The noise's goes the same way, with the other table.</details>

# %% tags=["exercise"]
def q_step(s, x_prev, t, noise):
    """x_t from x_{t-1}: x_prev and noise are (N, ...), t is int64 (N,)."""
    # BEGIN SOLUTION
    return at(s.alpha, t, x_prev).sqrt() * x_prev + at(s.beta, t, x_prev).sqrt() * noise
    # END SOLUTION

# %% tags=["check"]
forward_noising.one_step(q_step)

# %% tags=["fallback"]
q_step = or_library(q_step, forward.q_step)

# %% [markdown]
# The last cell is how every exercise ends: `or_library` gives back your function if its check passed, and the library's
# if it did not, so that the page goes on either way.
#
# | What you see | Likely cause |
# |---|---|
# | *its square root is missing* | a variance was used where a coefficient belongs |
# | *RuntimeError ... must match* | `s.beta[t]` has shape (N,): use `at(s.beta, t, x_prev)` |
# | *1 - sqrt(beta_t)* | the root was taken first, then the difference: `1 - s.beta[t].sqrt()` |
# | *in place* | `x_prev *= ...` changes the caller's image; write `x_prev * ...` |
# | *the step before* | `s.beta[t - 1]`: the tables need no shift |
# | *noise of your own* | `torch.randn` inside the function; the argument `noise` is to be used |
#
# [One way to solve it](solutions/01_forward_noising.ipynb). Should look like: `[x] 1.1 one step: right.`

# %% [markdown]
# ## The walk
#
# A thousand of these steps, starting from ten digits. (Images are drawn on a scale from -1 to 1; noise beyond it is
# clipped.)

# %%
g = torch.Generator().manual_seed(0)
x, shown, film = images[:10], {0: images[:10]}, [images[:10]]
for t in range(1, s.T + 1):
    x = q_step(s, x, torch.full((10,), t), torch.randn(x.shape, generator=g))
    if t % 25 == 0:
        film.append(x)
    if t in (50, 150, 300, 500, 1000):
        shown[t] = x
for t, states in shown.items():
    print(f"t = {t:4d}: mean of all pixel values {states.mean():4.1f}, variance {states.var():.1f}")
titles = [f"t = {t}" if i == 0 else "" for t in shown for i in range(10)]
plots.images(torch.cat(list(shown.values())), titles, 10, size=0.9)

# %% [markdown]
# *What to see: from top to bottom the digits dissolve. Nothing explodes: the mean settles at 0 and the variance at 1,
# where the naive way grew without end.*
#
# The walk forgets where it began. Whatever the data's mean and variance were, they are shrunk away step by step, and
# after enough steps what is left is noise of mean 0 and variance 1.
#
# The same walk as a film. Press Play, or move the slider: at which t do *you* lose the 3?

# %%
labels = [f"t = {25 * i}, variance {states.var():.2f}" for i, states in enumerate(film)]
widgets.player(film, labels, "ten digits walking into noise", width=720)

# %% [markdown]
# ## Every step at once
#
# A thousand steps for one training example would be slow. They are not needed, and seeing why is the most useful piece
# of algebra on this page. Take two steps, and put the first into the second:
#
# $$x_2 = \sqrt{\alpha_2}\left(\sqrt{\alpha_1}\,x_0 + \sqrt{\beta_1}\,\epsilon_1\right) + \sqrt{\beta_2}\,\epsilon_2
#      = \sqrt{\alpha_1\alpha_2}\,x_0 + \underbrace{\sqrt{\alpha_2\beta_1}\,\epsilon_1 + \sqrt{\beta_2}\,\epsilon_2}_{\text{two noises}},
# \qquad \alpha_t = 1-\beta_t .$$
#
# Two independent normal noises add up to one normal noise, and the variances add:
#
# $$\alpha_2\beta_1 + \beta_2 = \alpha_2(1-\alpha_1) + 1-\alpha_2 = 1-\alpha_1\alpha_2 .$$
#
# So two steps look like one step that keeps the share $\alpha_1\alpha_2$. The next step only puts another factor into the
# product: if $t-1$ steps leave the share $p$ and noise of variance $1-p$, then one more leaves $\alpha_t\,p$, and noise of
# variance $\alpha_t(1-p) + 1-\alpha_t = 1-\alpha_t\,p$. Each line is computed below; if one were wrong, the cell would stop.

# %%
a1, a2, b1, b2 = s.alpha[1], s.alpha[2], s.beta[1], s.beta[2]
same("both noises, alpha_2 beta_1 + beta_2", a2 * b1 + b2, "1 - alpha_1 alpha_2", 1 - a1 * a2)

product, signal = torch.ones_like(s.beta), torch.ones_like(s.beta)
variance = torch.zeros_like(s.beta)  # of the noise
for t in range(1, s.T + 1):
    product[t] = s.alpha[t] * product[t - 1]
    signal[t] = s.alpha[t].sqrt() * signal[t - 1]
    variance[t] = s.alpha[t] * variance[t - 1] + s.beta[t]
same("factor on x_0 after t steps", signal, "sqrt(alpha_1 ... alpha_t)", product.sqrt())
same("variance of all noise after t steps", variance, "1 - alpha_1 ... alpha_t", 1 - product)

# %% [markdown]
# So after any number of steps there is one number that says everything: the product of all the shares kept,
#
# $$\bar\alpha_t = \alpha_1 \alpha_2 \cdots \alpha_t, \qquad \bar\alpha_0 = 1,$$
#
# written "alpha bar". The state at time $t$ is a share $\bar\alpha_t$ of image and a share $1-\bar\alpha_t$ of noise.

# %% [markdown]
# ### Exercise 1.2: the running product
#
# *Difficulty 2 of 5, five minutes.*
#
# From the T values `betas` = $(\beta_1, \dots, \beta_T)$ make the T + 1 values $(\bar\alpha_0, \dots, \bar\alpha_T)$,
# without a loop if you can.
#
# <details><summary>Hint 1</summary>torch has a function for running products: <code>torch.cumprod(values, 0)</code>. What are the factors here?</details>
# <details><summary>Hint 2</summary>The factors are 1 - betas. The product of no factors is 1, and has to be put in front: <code>torch.cat([torch.ones(1), ...])</code>.</details>

# %% tags=["exercise"]
def alpha_bar(betas):
    """alpha_bar for t = 0..T from the betas of t = 1..T: (T,) -> (T + 1,)."""
    # BEGIN SOLUTION
    return torch.cat([torch.ones(1, dtype=betas.dtype), torch.cumprod(1 - betas, 0)])
    # END SOLUTION

# %% tags=["check"]
forward_noising.running_product(alpha_bar)

# %% tags=["fallback"]
alpha_bar = or_library(alpha_bar, schedules.cumulative)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *alpha_bar_0 = 1 comes first* | `cumprod` alone has T values; the clean image's 1 is missing in front |
# | *You multiply the betas* | what survives a step is `1 - betas` |
# | *All entries are 0* | `torch.zeros(1)` in front and then `cumprod`: one factor 0 makes the whole product 0 |
# | *TypeError: cumprod() missing ... "dim"* | `cumprod(x, 0)`: torch wants to know along which axis |
#
# [One way to solve it](solutions/01_forward_noising.ipynb). Should look like: `[x] 1.2 the running product: right.`
#
# Yours and the table that the library carries around must be the same:

# %%
same("alpha_bar(betas)", alpha_bar(s.beta[1:]), "s.alpha_bar", s.alpha_bar, tolerance=1e-6)
print("DDPM's alpha_bar:", {t: f"{s.alpha_bar[t]:.5f}" for t in (0, 100, 250, 500, 1000)})

# %% [markdown]
# ### Exercise 1.3: the jump
#
# *Difficulty 2 of 5, five minutes.*
#
# Go from $x_0$ to $x_t$ at once:
# $\;x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\epsilon$. This is the line that training calls millions of
# times.
#
# <details><summary>Hint 1</summary>The same shape as exercise 1.1, with another table.</details>
# <details><summary>Hint 2</summary>The table of 1 - alpha_bar is <code>1 - s.alpha_bar</code>.</details>

# %% tags=["exercise"]
def q_sample(s, x0, t, noise):
    """x_t from x_0 at once: x0 and noise are (N, ...), t is int64 (N,)."""
    # BEGIN SOLUTION
    return at(s.alpha_bar, t, x0).sqrt() * x0 + at(1 - s.alpha_bar, t, x0).sqrt() * noise
    # END SOLUTION

# %% tags=["check"]
forward_noising.jump(q_sample)

# %% tags=["fallback"]
q_sample = or_library(q_sample, forward.q_sample)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *Every t gets the end of the chain* | `s.alpha_bar[-1]`, or a product over all steps, in place of `[t]` |
# | *That is a single step* | `s.alpha` in place of `s.alpha_bar` |
# | *that of step t alone* | `s.beta` for the noise: the noise of all steps together has variance $1-\bar\alpha_t$ |
# | *RuntimeError ... must match* | `s.alpha_bar[t]` has shape (N,): use `at(...)` |
#
# [One way to solve it](solutions/01_forward_noising.ipynb). Should look like: `[x] 1.3 the jump: right.`

# %% [markdown]
# ### The loop and the jump: same law, another price
#
# They do not give the same *image*, as the noise differs. They give the same *distribution*: same mean, same variance,
# and the same correlation with the image they started from. We walk 5,000 numbers with mean 0.3 and variance 0.25, and
# send the same numbers through the jump.

# %% tags=["nbval-ignore-output"]
g = torch.Generator().manual_seed(0)
x0 = 0.3 + 0.5 * torch.randn(5_000, 1, generator=g)
start = time.perf_counter()
walked = x0
for t in range(1, 301):
    walked = q_step(s, walked, torch.full((len(x0),), t), torch.randn(x0.shape, generator=g))
between = time.perf_counter()
jumped = q_sample(s, x0, torch.full((len(x0),), 300), torch.randn(x0.shape, generator=g))
end = time.perf_counter()
print(f"300 steps: {1000 * (between - start):.1f} ms, one jump: {1000 * (end - between):.1f} ms, here and now")

# %%
ab = s.alpha_bar[300].item()
total = ab * 0.25 + 1 - ab
print(f"formula: mean {0.3 * ab**0.5:.2f}, variance {total:.2f}, squared correlation {ab * 0.25 / total:.2f}")
for name, x in (("walked", walked), ("jumped", jumped)):
    correlation = torch.corrcoef(torch.stack([x0.flatten(), x.flatten()]))[0, 1]
    print(f"{name}:  mean {x.mean():.2f}, variance {x.var():.2f}, squared correlation {correlation**2:.2f}")

# %% [markdown]
# The last digit is chance: 5,000 draws know a mean to about one hundredth.

# %% [markdown]
# ## A loop that looks right
#
# An article of 2025 on DDPM's architecture, whose claims this course checks one by one, prints the forward loop as
# below (its variable names are mended here, so that it runs). Read it before you run it: would you have let it pass?

# %%
def article_loop(s, x0, generator):
    x, states = x0, [x0]
    for t in range(1, s.T + 1):
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        x = s.alpha_bar[t].sqrt() * x + (1 - s.alpha_bar[t]).sqrt() * noise
        states.append(x)
    return states


g = torch.Generator().manual_seed(0)
x0 = torch.randn(20_000, 1, generator=g, dtype=torch.float64)  # variance 1
states = article_loop(s, x0, g)
for t in (20, 60, 100):
    correlation = torch.corrcoef(torch.stack([x0.flatten(), states[t].flatten()]))[0, 1]
    print(f"t = {t:3d}: variance {states[t].var():.2f}, squared correlation {correlation**2:.2f}, "
          f"should be {s.alpha_bar[t]:.2f}")

# %% [markdown]
# The variance is right at every step: $\bar\alpha_t \cdot 1 + (1-\bar\alpha_t) = 1$. A test of the variance passes. What is
# wrong is how much of the image is left: $\bar\alpha_t$ is already a product over all steps, and the loop multiplies these
# products up once more.
#
# **A test that can tell looks at the correlation with $x_0$.** Noise and image are independent, so the covariance of
# $x_0$ and $x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\epsilon$ is $\sqrt{\bar\alpha_t}$ times the variance of
# $x_0$. Here both variances are 1, and the squared correlation must be $\bar\alpha_t$: the share of image. That is the
# last column.

# %%
left = torch.cumprod(s.alpha_bar, 0)  # what the article's loop keeps: a product of products
end = s.alpha_bar[-1]
passed = int((left < end).nonzero()[0])
print(f"DDPM's chain is down to {end:.1e} at t = {s.T}, the article's loop at t = {passed}")
print(f"at t = 100 the chain keeps {s.alpha_bar[100]:.3f} of the variance, the loop {left[100]:.3f}")
named = {"the chain": s.alpha_bar[:301], "the article's loop": left[:301]}
plots.curves(torch.arange(301), named, "t", "share of variance from x_0")

# %% [markdown]
# *What to see: the loop has destroyed the image before the chain has really begun. A model trained on it would spend
# six sevenths of its time on pure noise: 859 of the 1,000 steps.*
#
# ### Exercise 1.4: the loop, mended
#
# *Difficulty 2 of 5, five minutes.*
#
# Write the loop as it should be. So that it can be examined, the noise is given: `noises[t - 1]` is the noise of step t.
#
# <details><summary>Hint 1</summary>t runs over 1, 2, ..., s.T, and each step starts from the result of the one before.</details>
# <details><summary>Hint 2</summary>Each step needs s.alpha[t], s.beta[t] and noises[t - 1], and no alpha_bar. All samples have the same t, so a number from the table will do: no at().</details>

# %% tags=["exercise"]
def last_state(s, x0, noises):
    """x_T after all steps of the chain: x0 is (N, ...), noises is (T, N, ...)."""
    # BEGIN SOLUTION
    x = x0
    for alpha, beta, noise in zip(s.alpha[1:], s.beta[1:], noises, strict=True):
        x = alpha.sqrt() * x + beta.sqrt() * noise
    return x
    # END SOLUTION

# %% tags=["check"]
forward_noising.mended_loop(last_state)

# %% tags=["fallback"]
last_state = or_library(last_state, forward_noising.last_state)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *The noise of the last step has no effect* | `range(1, s.T)` ends at T - 1 |
# | *The noise of the first step has no effect* | `range(s.T)` begins at 0, the clean image |
# | *IndexError: index 5 is out of bounds* | `noises[t]`: the list of T noises begins with that of step 1 |
# | *Only the last step has any effect* | `x0`, not `x`, on the right-hand side |
# | *inside the loop* | `return` is indented too far |
#
# [One way to solve it](solutions/01_forward_noising.ipynb). Should look like: `[x] 1.4 the loop, mended: right.`
#
# Now the test that the article's loop failed: twenty thousand numbers of variance 1, the first hundred steps.

# %%
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ScheduleWarning)  # a hundred steps leave much of the image, and should
    first_steps = schedules.from_betas(s.beta[1:101])
noises = torch.randn(100, *x0.shape, generator=g, dtype=x0.dtype)
x_100 = last_state(first_steps, x0, noises)
correlation = torch.corrcoef(torch.stack([x0.flatten(), x_100.flatten()]))[0, 1]
print(f"t = 100: variance {x_100.var():.2f}, squared correlation {correlation**2:.2f}, "
      f"should be {s.alpha_bar[100]:.2f}")

# %% [markdown]
# ## Schedules
#
# How fast should the image go? DDPM lets $\beta_t$ rise in a straight line. Improved DDPM found that this destroys the
# image too early, and lets $\bar\alpha_t$ follow a cosine. With $u = t/T$:
#
# | name | what is chosen |
# |---|---|
# | `linear` | $\beta_t$ from 0.0001 to 0.02 in a straight line, whatever T is |
# | `linear_scaled` | the same, times 1000/T |
# | `quadratic` | $\sqrt{\beta_t}$ in a straight line |
# | `cosine` | $\bar\alpha_t = f(u)/f(0)$, $\;f(u) = \cos^2\!\left(\frac{u + 0.008}{1.008}\cdot\frac{\pi}{2}\right)$ |
# | `sigmoid` | $\bar\alpha_t$ falls like the logistic function $1/(1+e^{6u-3})$, stretched to run from 1 to 0 |
#
# (In the last two, no $\beta_t$ is let above 0.999.)

# %%
families = {name: schedules.by_name(name, 1000) for name in ("linear", "quadratic", "cosine", "sigmoid")}
for name, family in families.items():
    half = int((family.alpha_bar < 0.5).nonzero()[0])
    wasted = (family.alpha_bar[1:] < 0.01).double().mean()
    print(f"{name:10s} half gone at t = {half}, steps with less than 1% left: {100 * wasted:4.1f}%")
plots.compare_schedules(families)

# %% [markdown]
# *What to see, left: linear falls early and then creeps along the bottom, cosine and sigmoid use the whole range. Right:
# the signal-to-noise ratio $\bar\alpha_t / (1-\bar\alpha_t)$, on a logarithmic scale. A schedule is really a choice of how
# many steps to spend at each height of this curve.*
#
# ### Explore
#
# Move the sliders (mouse, or click one and use the arrow keys). The dashed curve is DDPM's own; it shows once you leave
# the setting you start with. On the right is a second kind of data, points in the plane from two half-moons. "Bits left"
# measures how far the end of the chain, started from this photograph, is from pure noise: the Kullback-Leibler
# divergence from $\mathcal N(0, I)$, in bits per pixel and colour. Notebook 02 meets it again as a term of the bound. Three
# things to try:
#
# 1. Set T to 400 and leave the family at `linear`. Read the factor left on the image, above the pictures, then change
#    the family to `linear_scaled`.
# 2. At the same t, compare the photograph under `linear` and `cosine`.
# 3. Take `linear_scaled` down to T = 10. What does the message say, and why must it be so?

# %%
explorer = widgets.schedule_explorer()
print(f"alpha_bar_200 = {s.alpha_bar[200]:.4f}, sqrt(alpha_bar_1000) = {s.alpha_bar[1000].sqrt():.4f}")
explorer

# %% [markdown]
# The same controls once more, worked out by your browser alone: this one needs no kernel, so it also moves on the reading
# site. It opens with `cosine`; the dashed curves are DDPM's. Move t, and watch the dots, the photograph and the numbers.

# %%
widgets.schedule_curves("cosine", T=400, t=200)

# %% [markdown]
# ## What is left at the end
#
# A sampler starts from pure noise, as if nothing of the image were left at $t = T$. With DDPM's betas and T = 1000 that is
# nearly true. The same betas with T = 400, a setting that the article recommends to begin with, are another matter, and
# the library says so:

# %%
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    raw_400 = schedules.linear(400)
print(caught[0].category.__name__, "-", str(caught[0].message).split(" Samplers")[0])
candidates = {
    "DDPM's T = 1000": s,
    "same betas, T = 400": raw_400,
    "scaled, T = 400": schedules.linear_scaled(400),
    "cosine, T = 400": schedules.cosine(400),
    "same betas, shifted": schedules.zero_terminal_snr(raw_400),
}
for name, c in candidates.items():
    print(f"{name:20s} factor left on the image: {c.alpha_bar[-1].sqrt():.4f}")

# %% [markdown]
# A factor of 0.13 seems little. It is little for a single pixel. But images do not vary pixel by pixel: they vary together,
# above all in brightness, and along such a direction the signal is much stronger than in any pixel, while the noise is
# not.
#
# ### Exercise 1.5: what is left of x_0
#
# *Difficulty 2 of 5, ten minutes.*
#
# For data of variance 1 the squared correlation of $x_0$ and $x_t$ was $\bar\alpha_t$. Compute it for data of any variance
# $v$ along some direction, for all t at once.
#
# It is the share of $x_t$'s variance that still comes from $x_0$. It is also the best $R^2$ with which a straight line can
# read $x_0$ off $x_t$: how much of $x_0$'s variance the line explains, from 0 (nothing) to 1 (all).
#
# <details><summary>Hint 1</summary>A share is a part divided by the whole. The whole is x_t's variance: signal plus noise.</details>
# <details><summary>Hint 2</summary>The signal's variance in x_t is alpha_bar times the data's; the noise's is 1 - alpha_bar.</details>

# %% tags=["exercise"]
def squared_correlation(s, variance):
    """corr(x_0, x_t)^2 for t = 0..T, (T + 1,), along a direction in which the data has this variance."""
    # BEGIN SOLUTION
    signal = s.alpha_bar * variance
    return signal / (signal + 1 - s.alpha_bar)
    # END SOLUTION

# %% tags=["check"]
forward_noising.signal_left(squared_correlation)

# %% tags=["fallback"]
squared_correlation = or_library(squared_correlation, forward.squared_correlation)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *Right for data of variance 1 only* | `variance` is not used |
# | *signal-to-noise ratio* | signal divided by noise; the share is signal divided by (signal + noise) |
# | *Are brackets missing?* | `a / b + c` divides by `b` alone |
# | *One number came* | `[-1]`: the answer has an entry for every t |
#
# [One way to solve it](solutions/01_forward_noising.ipynb). Should look like: `[x] 1.5 what is left of x_0: right.`
#
# Now measure. The principal components of a data set are the directions of largest variance. We send the digits to
# $t = T$, fit a straight line from each component of $x_T$ back to the same component of $x_0$, and compare its $R^2$ with
# your formula. To average out chance, each digit is sent off fifty times.

# %%
flat = images.flatten(1).double()
variances, directions = torch.linalg.eigh(torch.cov(flat.T))
variances, directions = variances.flip(0), directions.flip(1)  # largest first
components = ((flat - flat.mean(0)) @ directions).repeat(50, 1)  # (50 N, 64)
g = torch.Generator().manual_seed(0)
final = torch.full((len(components),), raw_400.T)
noise = torch.randn(components.shape, generator=g, dtype=torch.float64)
at_the_end = q_sample(raw_400, components, final, noise)

# %%
pairs = [torch.stack([components[:, i], at_the_end[:, i]]) for i in range(10)]
measured = torch.tensor([torch.corrcoef(pair)[0, 1] ** 2 for pair in pairs])
predicted = torch.tensor([squared_correlation(raw_400, variances[i])[-1] for i in range(10)])
print(f"component 1, variance {variances[0]:.1f}: R^2 predicted {predicted[0]:.3f}, measured {measured[0]:.2f}")
print("all ten within 0.01:", bool((measured - predicted).abs().max() < 0.01))
named = {"predicted": predicted, "measured": measured}
plots.curves(torch.arange(1, 11), named, "principal component", "R^2 of x_0 from x_T")

# %% [markdown]
# *What to see: the larger a component's variance, the more of it survives to the end of the T = 400 chain.*
#
# Eight-pixel digits are an easy case: their first component has a variance below 3. The larger the images, the more pixels
# vary together. Fashion-MNIST's first component is more than twenty times as strong:

# %% tags=["nbval-ignore-output"]
if data.fashion_mnist_available():
    fashion = data.fashion_mnist("test").model_range()
    largest = torch.linalg.eigvalsh(torch.cov(fashion.flatten(1).double().T))[-1]
    print(f"Fashion-MNIST: component 1 has variance {largest:.0f}")
    for name, c in candidates.items():
        print(f"{name:20s} R^2 of component 1 at T: {squared_correlation(c, largest)[-1]:.4f}")
    steps, example = torch.tensor([1, 100, 200, 400]), fashion[:1].expand(4, -1, -1, -1)
    noise = torch.randn(example.shape, generator=torch.Generator().manual_seed(0))
    titles = [f"t = {int(t)} of 400" for t in steps]
    display(plots.images(q_sample(raw_400, example, steps, noise), titles))
else:
    print("Fashion-MNIST is not on this machine. To fetch it: python -m ddpm_edu data fetch fashion-mnist")

# %% [markdown]
# That component is mostly the brightness of the picture as a whole, and more than half of it can still be read off the
# "pure noise" at the end of the raw T = 400 chain. A model trained on this chain learns to take the brightness from
# there. A sampler then starts from real pure noise, which has a brightness of about zero, and the images come out too
# close to medium grey. Three remedies: scale the betas with T (`linear_scaled`), use a schedule that looks the same at
# every T (`cosine`), or shift and stretch the chain so that its end is exactly zero (`zero_terminal_snr`, the last line
# of the table).
#
# A photograph shows the same by eye. Averaging over many noisy copies of one photograph at $t = T$ removes the noise and
# leaves what was left of the image:

# %%
portrait = data.to_model_range(data.photograph(size=64))[None]
averages = []
for c in (s, raw_400):
    g, copies = torch.Generator().manual_seed(0), portrait.expand(2000, -1, -1, -1)
    noisy = q_sample(c, copies, torch.full((2000,), c.T), torch.randn(copies.shape, generator=g))
    averages.append(noisy.mean(0))
ghost = [torch.corrcoef(torch.stack([portrait.flatten(), average.flatten()]))[0, 1] for average in averages]
print(f"correlation with the photograph: T = 1000 {ghost[0]:.1f}, raw T = 400 {ghost[1]:.2f}")
shown = torch.stack([portrait[0], averages[0] * 5, averages[1] * 5])
plots.images(shown, ["photograph", "average at T = 1000, x 5", "average at raw T = 400, x 5"], size=2.4)

# %% [markdown]
# *What to see: the average of two thousand states at the end of DDPM's chain is grey noise with a trace of the face at
# most; at the end of the raw T = 400 chain the face is plainly there, in colour.*

# %% [markdown]
# ## One step back, when the beginning is known
#
# Generation walks backwards: from $x_t$ to $x_{t-1}$. That step is hard, because it depends on all the images there are.
# But if we *knew* $x_0$, it would be easy. Two things are then known about $x_{t-1}$:
#
# - it came from $x_0$ by the jump: $x_{t-1} \sim \mathcal N(\sqrt{\bar\alpha_{t-1}}\,x_0,\; 1-\bar\alpha_{t-1})$;
# - it leads to $x_t$ by one step: $x_t \sim \mathcal N(\sqrt{\alpha_t}\,x_{t-1},\; \beta_t)$.
#
# Turned around, the second says $x_{t-1} \approx x_t/\sqrt{\alpha_t}$ with variance $\beta_t/\alpha_t$. Bayes' rule multiplies the
# two, and the product of two Gaussians is a Gaussian. Its precision (one over variance) is the sum of the two
# precisions, and its mean is the average of what the two say, weighted by precision:
#
# $$\begin{aligned}\frac{1}{\tilde\beta_t} &= \frac{1}{1-\bar\alpha_{t-1}} + \frac{\alpha_t}{\beta_t}, \\
# \tilde\mu_t &= \tilde\beta_t \left(\frac{\sqrt{\bar\alpha_{t-1}}\,x_0}{1-\bar\alpha_{t-1}} + \frac{\sqrt{\alpha_t}\,x_t}{\beta_t}\right).\end{aligned}$$
#
# The papers print it multiplied out, which also covers $t = 1$, where the first precision is infinite:
#
# $$\begin{aligned}\tilde\beta_t &= \frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\,\beta_t, \\
# \tilde\mu_t &= \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}\,x_0 + \frac{\sqrt{\alpha_t}\,(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}\,x_t \\
# &= \frac{1}{\sqrt{\alpha_t}}\left(x_t - \frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\,\epsilon\right).\end{aligned}$$
#
# Below, each of these is computed for every $t \ge 2$ and some $x_0$ and $x_t$, and compared.

# %%
a, b, ab, before = s.alpha[2:], s.beta[2:], s.alpha_bar[2:], s.alpha_bar[1:-1]
x0, x_t = torch.tensor(0.7), torch.tensor(-0.4)

precision = 1 / (1 - before) + a / b
papers = b * (1 - before) / (1 - ab)
same("1 / (sum of precisions)", 1 / precision,
     "beta_t (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t)", papers, 1e-9)

mean = (before.sqrt() * x0 / (1 - before) + a.sqrt() * x_t / b) / precision
paper_mean = before.sqrt() * b / (1 - ab) * x0 + a.sqrt() * (1 - before) / (1 - ab) * x_t
same("precision-weighted average", mean, "the papers' mean, from x_0", paper_mean, 1e-9)

eps = (x_t - ab.sqrt() * x0) / (1 - ab).sqrt()  # the noise that leads from x_0 to x_t
eps_mean = (x_t - b / (1 - ab).sqrt() * eps) / a.sqrt()
same("the papers' mean, from x_0", paper_mean,
     "(x_t - beta_t eps / sqrt(1 - alpha_bar_t)) / sqrt(alpha_t)", eps_mean, 1e-9)

# %% [markdown]
# The last form is the one to remember. It says the same mean in terms of the *noise* $\epsilon$, and it is the reason
# why DDPM's network is trained to predict noise. That story is notebook 03.
#
# ### Exercise 1.6: the posterior
#
# *Difficulty 3 of 5, fifteen minutes.*
#
# Return $\tilde\mu_t$ and $\tilde\beta_t$, mean and variance of $q(x_{t-1} \mid x_t, x_0)$. The table of $\tilde\beta_t$ is at hand
# as `s.posterior_variance`; the mean is yours to write. It must hold for $t = 1$ as well, where
# $\bar\alpha_{t-1} = \bar\alpha_0 = 1$ and the answer is $x_0$: not every form above survives that.
#
# <details><summary>Hint 1</summary>Take the two coefficients of paper_mean above, and look up each table at the t of each sample.</details>
# <details><summary>Hint 2</summary>alpha_bar one step before is <code>at(s.alpha_bar, t - 1, x0)</code>. Here t - 1 is allowed: it is 0 at worst, and entry 0 exists.</details>

# %% tags=["exercise"]
def q_posterior(s, x0, x_t, t):
    """Mean (N, ...) and variance (N, 1, ...) of q(x_{t-1} | x_t, x_0); t is int64 (N,)."""
    # BEGIN SOLUTION
    ab, before = at(s.alpha_bar, t, x0), at(s.alpha_bar, t - 1, x0)
    alpha, beta = at(s.alpha, t, x0), at(s.beta, t, x0)
    mean = before.sqrt() * beta / (1 - ab) * x0 + alpha.sqrt() * (1 - before) / (1 - ab) * x_t
    return mean, at(s.posterior_variance, t, x0)
    # END SOLUTION

# %% tags=["check"]
forward_noising.posterior(q_posterior)

# %% tags=["fallback"]
q_posterior = or_library(q_posterior, forward.q_posterior)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *sqrt(alpha_bar_t) where sqrt(alpha_t) belongs* | the bar is one too many: $x_t$'s coefficient is about this one step |
# | *that of the step forwards* | the variance is $\beta_t$; it should be the smaller $\tilde\beta_t$ |
# | *swap them* | each coefficient belongs to the other point |
# | *At t = 1 your result is not finite* | a division by $1-\bar\alpha_{t-1}$, which is 0 there: the form with precisions |
# | *The variance has shape (N,)* | `s.posterior_variance[t]`: use `at(...)` |
#
# [One way to solve it](solutions/01_forward_noising.ipynb). Should look like: `[x] 1.6 the posterior: right.`
#
# A picture of it, for a short chain with strong steps. The grey histogram is a simulation that knows no formula: a
# million chains from $x_0 = 0.8$, of which we keep those that arrive near $x_3 = -0.5$.

# %%
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ScheduleWarning)  # four steps leave signal; no harm here
    short = schedules.from_betas([0.2, 0.3, 0.4, 0.5])
beginning = torch.full((1_000_000, 1), 0.8, dtype=torch.float64)
states = dict(forward.walk(short, beginning, torch.Generator().manual_seed(0)))  # {t: x_t}
arrived = states[2][(states[3] + 0.5).abs() < 0.02]

x0, x3 = torch.tensor([[0.8]]), torch.tensor([[-0.5]])
mean, variance = q_posterior(short, x0, x3, torch.tensor([3]))
print(f"formula:    mean {mean.item():.2f}, variance {variance.item():.2f}")
print(f"simulation: mean {arrived.mean():.2f}, variance {arrived.var():.2f}")
print(f"({len(arrived) // 1000} thousand chains arrived: the last digit is chance)")
plots.between(short, 3, x0=0.8, x_t=-0.5, posterior=(mean.item(), variance.item()), simulated=arrived)

# %% [markdown]
# *What to see: the posterior (solid) lies between what $x_0$ says about $x_2$ (dashed) and what $x_3$ says (dash-dotted),
# and is narrower than both: two sources know more than one. The simulation agrees.*
#
# The posterior variance is also smaller than $\beta_t$, that of the step forwards: in $\tilde\beta_t =
# \frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\beta_t$ the fraction is below 1, as $\bar\alpha$ falls.

# %% [markdown]
# ## Points in the plane
#
# Nothing on this page is about images. Here are points from two moons on their way to a round cloud; a model for such
# points is small enough to draw, and we shall use them whenever a picture explains more than a number.

# %%
g = torch.Generator().manual_seed(0)
moons, cosine = 2 * data.moons(1500, g), schedules.cosine(1000)
noise = torch.randn(moons.shape, generator=g)
states = {}
for t in (1, 150, 350, 600, 1000):
    states[f"t = {t}"] = q_sample(cosine, moons, torch.full((1500,), t), noise)
for name, cloud in states.items():
    print(f"{name:8s} variance along x {cloud[:, 0].var():.1f}, along y {cloud[:, 1].var():.1f}")
plots.clouds(states)

# %% [markdown]
# *What to see: the two moons blur, melt into one tilted cloud, and end as a round Gaussian that no longer knows of
# them. (The last t, with variances of 1.1 and 1.0, is as round as 1,500 points are.)*

# %% [markdown]
# ## What people get wrong
#
# *The other way round, from what you see to its cause, for the whole course: [errors and symptoms](../docs/errors.md).*
#
# Each of these stands, or stood for years, in a published course, tutorial or library. Each is a failing example you can
# run.
#
# **Raw pixels.** Images come as whole numbers from 0 to 255. Mixed with noise of size 1 they would swamp it; as unsigned
# bytes they may wrap around. Here it is an error that says what to do.

# %%
pixels = data.photograph(size=64)[None]
try:
    forward.q_sample(s, pixels, torch.tensor([500]), torch.randn(pixels.shape))
except ValueError as error:
    print(type(error).__name__, "-", error)

# %% [markdown]
# **Half precision.** In bfloat16 the number $\bar\alpha_5 = 0.9993$ is rounded to 1, so $1-\bar\alpha_5$ is 0: no noise at
# all at the first steps. Libraries in wide use do this when images are cast first. The cure: compute in float64, round
# last.

# %%
zero, one = torch.zeros(1, 1, dtype=torch.bfloat16), torch.ones(1, 1, dtype=torch.bfloat16)
early = torch.tensor([5])
naive = (1 - s.alpha_bar[early].bfloat16()).sqrt()
ours, exact = forward.q_sample(s, zero, early, one), (1 - s.alpha_bar[5]).sqrt()
print(f"noise at t = 5: naive {naive.item():.4f}, exact {exact:.4f}, ours {ours.item():.4f} (rounded to bfloat16)")

# %% [markdown]
# **One t for all, by accident.** A `t` of shape (1,) or (N, 1) broadcasts without a word: every sample gets the same time,
# or the batch grows a dimension. Here both are errors.

# %%
x = images[:8]
for wrong in (torch.tensor([500]), torch.arange(1, 9)[:, None]):
    try:
        forward.q_sample(s, x, wrong, torch.randn(x.shape))
    except ValueError as error:
        print(type(error).__name__, "-", str(error).split(". Usual")[0])

# %% [markdown]
# **Times counted from 0.** With tables that start at 0, `table[t - 1]` at t = 0 quietly reads the *last* entry, in Python.
# The chain here has times 1 to T, and anything else is refused.

# %%
print("beta[t - 1] at t = 0 is", f"{s.beta[0 - 1]:.2f}", "- the strongest noise of all, for a clean image")
try:
    forward.q_sample(s, x, torch.zeros(8, dtype=torch.int64), torch.randn(x.shape))
except ValueError as error:
    print(type(error).__name__, "-", str(error).split(". Usual")[0])

# %% [markdown]
# **Uniform noise.** `torch.rand` for `torch.randn` is a slip of one letter. The noise then has mean 0.5 and a variance of
# one twelfth: in a single jump the picture looks merely a little bright, and over a thousand steps the state drifts away.

# %%
g, x = torch.Generator().manual_seed(0), images[:10]
for t in range(1, s.T + 1):
    x = q_step(s, x, torch.full((10,), t), torch.rand(x.shape, generator=g))
print(f"with rand: mean {x.mean():.0f} (should be 0), variance {x.var():.1f} (should be 1.0)")

# %% [markdown]
# ## Five questions
#
# Answer by mouse or keyboard: every option says why it is right or wrong. What you have solved so far, here and in the
# other lessons, `python -m ddpm_edu progress` shows (it stays on this machine).

# %%
widgets.quiz("01_forward_noising")

# %% [markdown]
# ## What to read next
#
# - Ho, Jain and Abbeel, *Denoising Diffusion Probabilistic Models* (2020), section 2: this page in one column of a paper.
# - Nichol and Dhariwal, *Improved Denoising Diffusion Probabilistic Models* (2021), section 3.2: why cosine.
# - Lin et al., *Common Diffusion Noise Schedules and Sample Steps are Flawed* (2024): what is left at T, and what it costs.
# - Sohl-Dickstein et al., *Deep Unsupervised Learning using Nonequilibrium Thermodynamics* (2015): where the chain comes
#   from.
#
# **Next:** [02 The bound](02_the_bound.ipynb): what exactly is optimised when a model learns to walk this road backwards.
# [Back to the start](00_start_here.ipynb).
