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
# # 90. Primer: Gaussians, divergence, Jensen
#
# An appendix for [notebook 02](02_the_bound.ipynb). Four tools, each in words, as a formula, and as a computation that
# checks it.
#
# **After this page you can**
#
# - scale, shift and add Gaussians, and say what happens to mean and variance,
# - say what the Kullback-Leibler divergence measures, and compute it for two Gaussians,
# - say on which side of an average of logarithms the logarithm of the average lies, and why.
#
# *About twenty minutes. Computing: 6 seconds on two CPU cores, 0.3 GB of memory (measured 2026-11-26); no GPU, no
# network.*

# %%
import math

import torch
from torch.distributions import Normal, kl_divergence

from ddpm_edu import plots
from ddpm_edu.exercises import bound_answers, or_library, same, the_bound

torch.set_default_dtype(torch.float64)  # so that both sides of a formula agree to many digits
z = torch.linspace(-20, 20, 100_001)  # a fine grid for integrals
density = Normal(0.5, 2**0.5).log_prob(z).exp()
print(f"mean 0.5, variance 2: the density integrates to {torch.trapezoid(density, z):.4f}")

# %% [markdown]
# ## Gaussians
#
# A Gaussian (or normal distribution) $\mathcal N(m, v)$ has the density
#
# $$\begin{gathered}p(x) = \frac{1}{\sqrt{2\pi v}}\, \exp\!\left(-\frac{(x-m)^2}{2v}\right), \\
# \log p(x) = -\frac{(x-m)^2}{2v} - \tfrac12 \log(2\pi v).\end{gathered}$$
#
# Two numbers say everything: the mean $m$ and the variance $v$. The *standard deviation* is $\sqrt v$.
# Beware of programs: `torch.distributions.Normal` wants the standard deviation, papers write the variance.

# %%
m, v = 0.5, 2.0
formula = -((z - m) ** 2) / (2 * v) - 0.5 * math.log(2 * math.pi * v)
same("log p(x) by formula", formula, "torch's Normal(m, sqrt(v))", Normal(m, v**0.5).log_prob(z))

# %% [markdown]
# A density is not a probability. It has a unit, and for a narrow Gaussian it is larger than 1. A probability is the
# area over an interval:

# %%
narrow = Normal(0.0, 0.1)
between = narrow.cdf(torch.tensor(0.1)) - narrow.cdf(torch.tensor(-0.1))
peak = narrow.log_prob(torch.tensor(0.0)).exp()
print(f"standard deviation 0.1: density at the mean {peak:.2f}")
print(f"probability within 0.1 of the mean {between:.2f}")

# %% [markdown]
# ## Scaling and adding: what happens to the variance
#
# If $x$ has mean $m$ and variance $v$, then $a x + c$ has mean $a m + c$ and variance $a^2 v$: a variance is a square,
# so the factor is squared. If $x$ and $y$ are independent, the variances add: $x + y$ has variance $v_x + v_y$. And for
# Gaussians the result is a Gaussian again. One step of noising uses all of it:
# $\sqrt{1-\beta}\,x + \sqrt{\beta}\,\epsilon$ has variance $(1-\beta)\,v + \beta$.

# %%
g = torch.Generator().manual_seed(0)
x = 0.5 + 2**0.5 * torch.randn(1_000_000, generator=g)  # mean 0.5, variance 2
noise = torch.randn(1_000_000, generator=g)
beta = 0.3
mixed = (1 - beta) ** 0.5 * x + beta**0.5 * noise
print(f"formula:     mean {(1 - beta) ** 0.5 * 0.5:.2f}, variance {(1 - beta) * 2 + beta:.2f}")
print(f"simulation:  mean {mixed.mean():.2f}, variance {mixed.var():.2f}")

# %% [markdown]
# The *density* changes with the scale, too: if $y = a x$, the same probability lies on an interval $|a|$ times as long.
# So $\log p_y(y) = \log p_x(y / a) - \log |a|$.

# %%
a = 3.0
left = Normal(a * m, a * v**0.5).log_prob(z)  # of y = 3 x
same("log p_y(y)", left, "log p_x(y / a) - log a", Normal(m, v**0.5).log_prob(z / a) - math.log(a))

# %% [markdown]
# ## The Kullback-Leibler divergence
#
# Draw $x$ from $q$, and ask how much more likely $q$ finds it than $p$ does, on a logarithmic scale. The average is the
# divergence,
#
# $$\operatorname{KL}(q\,\|\,p) = \mathbb E_{x\sim q}\,[\log q(x) - \log p(x)].$$
#
# In the language of codes: a code made for $p$, used on data from $q$, is longer than the best one by so much, on
# average (in *nats* with the natural logarithm, in *bits* with the logarithm to base 2). It is never negative (the last
# section shows why), and 0 only if $q$ and $p$ are the same. It is no distance: the direction matters.
#
# For two Gaussians $q = \mathcal N(m_a, a)$ and $p = \mathcal N(m_b, b)$ take the difference of the two log-densities,
#
# $$\log q(x) - \log p(x) = \tfrac12\left[\log\frac ba - \frac{(x-m_a)^2}{a} + \frac{(x-m_b)^2}{b}\right],$$
#
# and average it over $q$. There $(x-m_a)^2$ is $a$ on average. And $(x - m_b)^2$ is $a + (m_a - m_b)^2$ on average: the
# variance, plus the square of how far the mean is off. So
#
# $$\operatorname{KL}(q\,\|\,p) = \tfrac12\left[\log\frac ba - 1 + \frac{a + (m_a - m_b)^2}{b}\right].$$
#
# Each of these lines, by integration on the grid:

# %%
m_a, a, m_b, b = 0.5, 2.0, -0.3, 1.2
log_q, log_p = Normal(m_a, a**0.5).log_prob(z), Normal(m_b, b**0.5).log_prob(z)


def average(values):
    """The average over q, as an integral."""
    return torch.trapezoid(log_q.exp() * values, z)


bracket = math.log(b / a) - (z - m_a) ** 2 / a + (z - m_b) ** 2 / b
same("log q - log p", log_q - log_p, "half the bracket", 0.5 * bracket)
same("average of (x - m_a)^2", average((z - m_a) ** 2), "a", a, 1e-8)
second = a + (m_a - m_b) ** 2
same("average of (x - m_b)^2", average((z - m_b) ** 2), "a + (m_a - m_b)^2", second, 1e-8)
formula = 0.5 * (math.log(b / a) - 1 + second / b)
same("KL(q || p), integrated", average(log_q - log_p), "formula", formula, 1e-8)

# %%
q, p = Normal(0.0, 0.5), Normal(0.0, 2.0)
print(f"KL(narrow || wide) = {kl_divergence(q, p):.2f} nats")
print(f"KL(wide || narrow) = {kl_divergence(p, q):.2f} nats")
grid = torch.linspace(-6, 6, 400)
named = {"narrow": q.log_prob(grid).exp(), "wide": p.log_prob(grid).exp()}
plots.curves(grid, named, "x", "density")

# %% [markdown]
# *What to see: a wide Gaussian is a tolerable description of what the narrow one makes. The narrow one is a terrible
# description of what the wide one makes: it finds most of it all but impossible.*
#
# ### Exercise: it is the first exercise of notebook 02
#
# *Difficulty 1 of 5, five minutes.*
#
# Write the formula as a function of tensors. The check is the one of notebook 02, and needs to be passed only once: keep
# your answer for there.
#
# <details><summary>Hint 1</summary>The formula stands above; its a and b are variance_a and variance_b. Everything is element by element: .log() of a tensor, ** 2.</details>
# <details><summary>Hint 2</summary>Three terms in the bracket, and half of their sum: the log of b over a; minus 1; the average of (x - m_b)², divided by b. For equal Gaussians they give 0.</details>

# %% tags=["exercise"]
def gaussian_kl(mean_a, variance_a, mean_b, variance_b):
    """KL(N(mean_a, variance_a) || N(mean_b, variance_b)) in nats, element by element."""
    # BEGIN SOLUTION
    second_moment = variance_a + (mean_a - mean_b) ** 2
    return 0.5 * ((variance_b / variance_a).log() - 1 + second_moment / variance_b)
    # END SOLUTION

# %% tags=["check"]
the_bound.gaussian_kl(gaussian_kl)

# %% tags=["fallback"]
gaussian_kl = or_library(gaussian_kl, bound_answers.gaussian_kl)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *divergence of the second from the first* | a and b are swapped: the direction matters |
# | *upside down* | $\log(a/b)$ in place of $\log(b/a)$ |
# | *as if they were standard deviations* | the arguments are variances: no squares on them |
#
# [One way to solve it](solutions/90_primer.ipynb). Should look like:
# `[x] 2.1 how far apart two Gaussians are: right.`
#
# Yours beside the integral above, which knows no formula for the result:

# %%
yours = gaussian_kl(*(torch.tensor(value) for value in (m_a, a, m_b, b)))
same("gaussian_kl", yours, "KL(q || p), integrated", average(log_q - log_p), 1e-8)

# %% [markdown]
# ## Jensen's inequality
#
# The logarithm curves downwards: it rises by less and less. Take two numbers and draw the straight line between their
# points on the curve. The line runs below the curve. Its middle is the average of the two logarithms; the point of the
# curve above it is the logarithm of their average. So
#
# $$\log \mathbb E[w] \;\ge\; \mathbb E[\log w].$$
#
# The two are equal only if $w$ does not vary. The same holds for any number of values, and for integrals.

# %%
w = torch.linspace(0.3, 10, 300)
low, high = torch.tensor(1.0), torch.tensor(9.0)
middle = (low + high) / 2
of_logs = (low.log() + high.log()) / 2
print(f"log of the average {middle.log():.2f}, average of the logs {of_logs:.2f}")
figure, (ax,) = plots.picture(6, 3)
chord = low.log() + (w - low) * (high.log() - low.log()) / (high - low)
plots.draw_curves(ax, w, {"log w": w.log(), "the straight line": chord}, "w", "logarithm")
ax.plot([middle, middle], [of_logs, middle.log()], "o-", color=plots.COLOURS[2])
figure

# %% [markdown]
# *What to see: between the two points the curve lies above the line; the green stroke is the gap between the two kinds
# of average.*
#
# How large is the gap? If $\log w$ is Gaussian with mean $m$ and variance $v$, then the average of $w$ is
# $e^{m + v/2}$. So the gap is half the variance of $\log w$:

# %%
m, v = -2.0, 0.5
average_w = torch.trapezoid(Normal(m, v**0.5).log_prob(z).exp() * z.exp(), z)
same("log of the average of w", average_w.log(), "m + v / 2", m + v / 2, 1e-8)

# %% [markdown]
# With $w = p(x)/q(x)$ and the average over $q$, Jensen's inequality says $-\operatorname{KL}(q\,\|\,p) \le \log 1 = 0$: that is
# why the divergence is never negative.
#
# And it is the pattern of the whole of notebook 02: the gap of a bound grows with how much something varies that one
# would like to be constant.
#
# [Back to notebook 02](02_the_bound.ipynb).
