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
# # 6. Is it any good?
#
# [Notebook 05](05_sampling.ipynb) compared samplers by one number and promised to say how it can mislead. This page keeps the promise. You will see a network with the
# lower loss make the worse samples, a worse sampler win because it was given more samples, and a program without a network, which copies its training images,
# get the best score of all. Each time there is a way to notice.
#
# **After this page you can**
#
# - derive the Frechet distance, compute it, and say what it cannot see,
# - choose metrics that would notice the fault you fear, and give each number with its floor, its interval and its protocol,
# - find the bugs that make published numbers wrong, and say honestly which of two models is better, or that you cannot tell.
#
# *About two and a half hours with the exercises. Computing: 55 seconds on two CPU cores, 0.7 GB of memory (measured 2026-11-26); no GPU, no internet.*

# %%
import json
import math
from pathlib import Path

import torch

torch.set_num_threads(1)  # the networks are so small that two threads mostly wait for each other

# %%
from ddpm_edu import data, forward, losses, metrics, models, oracles, parameterization, plots, schedules, widgets
from ddpm_edu.exercises import evaluation_answers, or_library, same, the_evaluation
from ddpm_edu.parameterization import static_clip
from ddpm_edu.sampling import guidance, sample, thresholding
from ddpm_edu.training import ema, generator

digits = data.digits()
images = digits.model_range()  # (1797, 1, 8, 8), values from -1 to 1
s = schedules.linear(1000)
unet, _ = models.load("digits_unet")  # both were trained on all of these digits
mlp, _ = models.load("digits_mlp")
repository = Path(models.__file__).parents[2]
print(f"{len(images)} digits, {sum(p.numel() for p in unet.parameters()):,} weights in the U-Net")

# %% [markdown]
# ## The naive way: look at the loss
#
# The loss is there anyway. It fell, so the model got better; the lowest one is the best. Here is the log of the U-Net's training, as the script that trained it wrote it:

# %%
log = json.loads((repository / "ddpm_edu/models/weights/digits_unet.json").read_text())
print(f"{log['date']}, {log['machine']}, {log['seconds']} s: {log['command']}")
mean, quarters = torch.tensor(log["loss"]["mean"]), torch.tensor(log["loss_by_quartile"])
figure, (left, right) = plots.picture(9, 2.8, 1, 2)
left.plot(log["loss"]["steps an entry"] * torch.arange(1, len(mean) + 1), mean)
left.set(xlabel="step", ylabel="loss (mean of 100 steps)", ylim=(0, 0.15)), left.grid(alpha=0.3)
right.bar(["1..250", "251..500", "501..750", "751..1000"], quarters, color=plots.COLOURS[0])
right.set(xlabel="t", ylabel="loss by quarter, at the end")
print("by quarter of t:", *(f"{q:.4f}" for q in quarters), f"- the first is {quarters[0] / quarters.sum():.0%} of the sum")
figure

# %% [markdown]
# *What to see: left, after a sixth of the steps the curve seems flat (the first point lies above the frame). Right, nearly all of the loss comes from the first quarter of $t$; in the last one
# almost nothing is left.*
#
# What can be read from it: that training runs, that it has not diverged, whether it still falls. The quarters say where. What cannot be read from it: whether samples are good.
# The loss is a mean over $t$, and a mean can hide anything. In the last quarter $x_t$ is nearly the noise itself, so even the answer "$\hat\epsilon = x_t$" has a small loss there.
# But *these* are the times at which a sampler decides what the picture will show.
#
# To see it, we damage the network in two ways. **A** forgets, at $t > 250$, what it sees, and answers as if all digits were their mean. **B** says 0 at $t \le 60$.

# %%
def damaged(low, high):
    """The U-Net, but for 0 at t <= low, and at t > high the noise there would be if x_0 were the mean digit."""
    def net(x, t, labels):
        eps, ab, time = unet(x, t, labels=labels), s.alpha_bar[t].float()[:, None, None, None], t[:, None, None, None]
        of_mean = (x - ab.sqrt() * images.mean(0)) / (1 - ab).sqrt()
        return torch.where(time > high, of_mean, torch.where(time > low, eps, 0 * eps))
    return net

# %%
nets = {"the network": damaged(0, 1000), "A": damaged(0, 250), "B": damaged(60, 1000)}
times, noise = 2 * torch.arange(500) + 1, torch.randn(500, 1, 8, 8, generator=generator(4))
x_t = forward.q_sample(s, images[:500], times, noise)
with torch.no_grad():
    of_each = {name: losses.mse(net(x_t, times, digits.labels[:500]), noise) for name, net in nets.items()}
of_each["x_t itself"] = losses.mse(x_t, noise)
for name, loss in of_each.items():
    print(f"{name:11s} loss {loss.mean():.3f}, by quarter", *(f"{q:.4f}" for q in losses.by_quartile(s, times, loss)))

# %% [markdown]
# A has the lower loss. Now sample with each, the same noise, the same labels, 15 steps:

# %%
extractor = metrics.features.load("digits")  # a classifier of digits
ten, rows = torch.arange(100) % 10, {}
for name, net in nets.items():
    denoise = parameterization.denoiser(net, s, "eps", static_clip, labels=ten)
    rows[name] = sample(denoise, s, (100, 1, 8, 8), "dpmpp_2m", 15, generator=generator(1))
    right = metrics.agreement(extractor.logits(rows[name]), ten)
    print(f"{name:11s} a classifier reads what was asked for in {right:.0%} of 100 samples")
same("samples of B", rows["B"], "samples of the network", rows["the network"], 0)
plots.images(torch.cat([rows[name][:10] for name in nets]), columns=10, size=0.8)

# %% [markdown]
# *What to see: the network, A, and B from above. A's digits have lost contrast and detail, and some cannot be read. B's are the network's, bit for bit.*
#
# So the loss ordered the two the wrong way round. B's fault is at times that 15 steps never visit, where the loss is largest; A's is where the loss is small and the picture is made. (With 1000 steps
# B's fault would show, too. A loss does not know which sampler will be used.)
#
# Nor does it know its own weights. The *same* errors, averaged over $t$ with other weights from notebook 03:

# %%
weights = {"1 (L_simple)": losses.uniform, "min-SNR": losses.min_snr(5.0), "the bound's": losses.vlb}
for title, weight in weights.items():
    table = weight(s, "eps")[times]
    means = {name: (table * of_each[name]).mean().item() for name in nets}
    print(f"weight {title:12s}", ", ".join(f"{name} {mean:.3g}" for name, mean in means.items()),
          "- lower:", min("AB", key=means.get))

# %% [markdown]
# Another weight, another winner. A loss compares checkpoints of one training with one weight; across networks, schedules or weights it compares nothing. **Samples have to be judged as samples.**
#
# ## What is judged: a set of images, as a file holds it
#
# A single sample cannot be right or wrong. "These thousand are like those" is a statement about two sets. And since others will judge files, judge what a file would hold: 8 bits a pixel.
#
# ### Exercise 6.1: eight bits
#
# *Difficulty 1 of 5, five minutes.*
#
# From floats to bytes: -1 becomes 0 and 1 becomes 255, every number the nearest of the 256 levels, and what lies outside of [-1, 1] the first or the last. It is one line, and several well-known repositories have it wrong.
#
# <details><summary>Hint 1</summary>255 steps lie between 256 levels, and [-1, 1] is 2 long: a step is 2 / 255.</details>
# <details><summary>Hint 2</summary>Three methods before <code>.to(torch.uint8)</code>, which cuts off fractions and lets 256 become 0.</details>

# %% tags=["exercise"]
def to_bytes(x):
    """uint8, of the shape of x: the nearest of 256 levels from -1 to 1."""
    # BEGIN SOLUTION
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    # END SOLUTION

# %% tags=["check"]
the_evaluation.to_bytes(to_bytes)

# %% tags=["fallback"]
to_bytes = or_library(to_bytes, evaluation_answers.to_bytes)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *truncates* | no `.round()`: everything gets darker by half a level |
# | *wraps around* | no `.clamp(-1, 1)`, or too late: 256 as a byte is 0 |
# | *half-way between levels* | times 128 and cut off: that is 256 bins of equal width, another rounding |
# | *smallest and largest number of this set* | scaled by `x.min()` and `x.max()`: two files would not compare |
#
# [One way to solve it](solutions/06_is_it_any_good.ipynb). Should look like: `[x] 6.1 eight bits: right.`
#
# What the line without `.round()`, as it was published more than once, does to images that *are* bytes already, there and back:

# %%
levels = torch.arange(256).to(torch.uint8)
there = data.to_model_range(levels)
published = ((there + 1) * 127.5).clamp(0, 255).to(torch.uint8)
lost, kept = int((published != levels).sum()), int((to_bytes(there) == levels).sum())
print(f"{lost} of 256 levels come back as another one; with rounding {256 - kept}")
x = 2 * torch.rand(10_000, generator=generator(0)) - 1
darker = data.to_model_range(((x + 1) * 127.5).to(torch.uint8)) - x
print(f"random pixels come back darker by {-darker.mean() * 127.5:.2f} levels")

# %% [markdown]
# ## What it is measured in: features
#
# Pixel by pixel, a 3 shifted by one pixel is far from itself. A network that was trained to name digits is not so easily irritated. What it computes just before it names the class, 64 numbers here, are the *features* in which sets are compared. (For photographs
# it is Inception's last layer with 2,048 numbers; the distance that we derive next is then called FID.) Other features are other numbers, and compare with none.
#
# Three sets of a thousand samples will be with us: of the U-Net, of the same U-Net with 5 steps only, and of the small MLP of notebook 03. The U-Net is asked for classes drawn at random, since the MLP, which takes no labels, draws its classes at random, too.

# %%
asked = torch.randint(10, (1000,), generator=generator(9))

def draw(denoise, n, steps=15, seed=0):
    """n samples as a file holds them; a seed is the same noise for every network."""
    x = sample(denoise, s, (n, 1, 8, 8), "dpmpp_2m", steps, generator=generator(seed))
    return data.to_model_range(to_bytes(x))

of_unet = parameterization.denoiser(unet, s, "eps", static_clip, labels=asked)
of_mlp = parameterization.denoiser(mlp, s, "eps", static_clip)
samples = {"U-Net": draw(of_unet, 1000), "U-Net, 5 steps": draw(of_unet, 1000, 5), "MLP": draw(of_mlp, 1000)}
features = {name: extractor.features(x) for name, x in samples.items()}
real = extractor.features(images)
print(f"features of the real digits: {tuple(real.shape)}")
plots.images(torch.cat([x[:10] for x in samples.values()]), columns=10, size=0.8)

# %% [markdown]
# *What to see: samples of the U-Net, of the U-Net with 5 steps (the same digits, softer), and of the MLP (some are hardly digits).* Which is best? Keep your guess.
#
# ## The Frechet distance
#
# In words: fit a Gaussian to each set of features; the distance of the sets is how far one must carry the mass of one Gaussian to make it the other. Carried from $x$ to $y$, a unit of mass costs $|x-y|^2$, and the cheapest plan counts.
#
# **In one dimension.** Let $x$ have mean $m_1$ and standard deviation $s_1$, $y$ have $m_2$ and $s_2$. A plan says which $x$ goes with which $y$: a joint distribution. Whatever the plan,
#
# $$\mathbb E|x-y|^2 = (m_1-m_2)^2 + s_1^2 + s_2^2 - 2\,\mathrm{Cov}(x, y),$$
#
# so only the covariance can be chosen. At most it is $s_1 s_2$, which is the case where $y$ is a rising straight line of $x$, and then
#
# $$d^2 = (m_1-m_2)^2 + (s_1-s_2)^2 .$$
#
# Both lines, checked on 1,001 points. To have no sampling error in the way, the numbers are the quantiles of a normal distribution, scaled to have exactly mean 0 and variance 1:

# %%
z = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(1001, dtype=torch.float64) + 0.5) / 1001)
z = z / z.square().mean().sqrt()
(m1, s1), (m2, s2) = (0.3, 0.5), (1.0, 2.0)
x, y = m1 + s1 * z, m2 + s2 * z[torch.randperm(1001, generator=generator(1))]  # a plan by chance
covariance = ((x - m1) * (y - m2)).mean()
same("E |x - y|^2", (x - y).square().mean(), "means, variances, covariance", (m1 - m2) ** 2 + s1**2 + s2**2 - 2 * covariance)
best = (x.sort().values - y.sort().values).square().mean()  # smallest with smallest: y is a rising line of x
same("the plan that sorts", best, "(m1 - m2)^2 + (s1 - s2)^2", (m1 - m2) ** 2 + (s1 - s2) ** 2)
print(f"plan by chance {(x - y).square().mean():.2f}, sorted {best:.2f}")

# %% [markdown]
# **In many dimensions**, with covariances $A$ and $B$ and the cross-covariance $C = \mathrm{Cov}(x, y)$ to be chosen, the same line reads
#
# $$\mathbb E|x-y|^2 = |\mu_1-\mu_2|^2 + \mathrm{tr}\,A + \mathrm{tr}\,B - 2\,\mathrm{tr}\,C .$$
#
# Not every $C$ is possible. It always has the form $C = A^{1/2} K B^{1/2}$, where $K$ shortens vectors or keeps their length (the correlations of $A^{-1/2}x$ with $B^{-1/2}y$). Traces may be turned around, $\mathrm{tr}\,A^{1/2}KB^{1/2} = \mathrm{tr}\,K(B^{1/2}A^{1/2})$, and
# that is largest when $K$ undoes the rotations of $B^{1/2}A^{1/2}$: then it is the sum of its singular values. Here with the features of real threes and eights:

# %%
(mu1, A), (mu2, B) = (metrics.moments(real[digits.labels == k]) for k in (3, 8))

def root(matrix):
    """The symmetric root of a covariance: the roots of its eigenvalues, along its eigenvectors."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T

same("root times root", root(A) @ root(A), "A", A)
U, sigma, Vh = torch.linalg.svd(root(B) @ root(A))
same("tr A^(1/2) K B^(1/2) with the best K", (root(A) @ (Vh.T @ U.T) @ root(B)).trace(), "sum of singular values", sigma.sum())
rotations = [torch.linalg.qr(torch.randn(64, 64, generator=generator(i), dtype=torch.float64)).Q for i in range(200)]
tried = torch.stack([(root(A) @ K @ root(B)).trace() for K in rotations])
print(f"with 200 rotations by chance: {tried.min():.2f} to {tried.max():.2f}; the best {sigma.sum():.2f}")

# %% [markdown]
# Singular values of $B^{1/2}A^{1/2}$ are the roots of the eigenvalues of its square, $A^{1/2}BA^{1/2}$. So (Dowson and Landau, 1982)
#
# $$\boxed{\;d^2 = |\mu_1-\mu_2|^2 + \mathrm{tr}\big(A + B - 2\,(A^{1/2}BA^{1/2})^{1/2}\big)\;}$$
#
# and as $AB$ has the same eigenvalues, one also writes $(AB)^{1/2}$.

# %%
inner = root(A) @ B @ root(A)
same("sum of singular values", sigma.sum(), "tr (A^(1/2) B A^(1/2))^(1/2)", root((inner + inner.T) / 2).trace(), 1e-6)
by_hand = (mu1 - mu2).square().sum() + A.trace() + B.trace() - 2 * sigma.sum()
same("by hand", by_hand, "metrics.frechet_distance_of", metrics.frechet_distance_of(mu1, A, mu2, B))
print(f"threes beside eights: {by_hand:.0f}; eights beside eights: {metrics.frechet_distance_of(mu2, B, mu2, B):.0f}")

# %% [markdown]
# It stays a *square*, in squared units of the features. (FID, too, in spite of its name.)
#
# ### Exercise 6.2: two Gaussians
#
# *Difficulty 2 of 5, ten minutes.*
#
# Where all coordinates are independent, $A$ and $B$ are diagonal, and the matrix roots are no more than roots of numbers. Write $d^2$ for that case, from means and **standard deviations**.
#
# <details><summary>Hint 1</summary>What does the formula in the box become, coordinate by coordinate?</details>
# <details><summary>Hint 2</summary>The one-dimensional distance, summed.</details>

# %% tags=["exercise"]
def frechet_diagonal(mean_a, std_a, mean_b, std_b):
    """The squared distance of two Gaussians with independent coordinates; all arguments are float64 (D,)."""
    # BEGIN SOLUTION
    return ((mean_a - mean_b) ** 2 + (std_a - std_b) ** 2).sum()
    # END SOLUTION

# %% tags=["check"]
the_evaluation.frechet_diagonal(frechet_diagonal)

# %% tags=["fallback"]
frechet_diagonal = or_library(frechet_diagonal, evaluation_answers.frechet_diagonal)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *Variances are subtracted* | $(s_1^2-s_2^2)^2$ in place of $(s_1-s_2)^2$ |
# | *taken for variances* | a root of the arguments: they are standard deviations already |
# | *lacks the root* | $\mathrm{tr}(A+B-2AB)$ |
# | *The distance is their sum* | one number a coordinate came back |
# | *Two lengths are added* | `.norm()` without its square |
#
# [One way to solve it](solutions/06_is_it_any_good.ipynb). Should look like: `[x] 6.2 two Gaussians: right.`
#
# ## What it cannot see
#
# Two Gaussians are fitted, and all else is forgotten. So **two sets with equal means and covariances have distance 0**, whatever they are. Let us make such a set for the pixels of the digits. Take normal noise, make its mean and covariance *exactly* those of the digits (not nearly), and look:

# %%
flat = images.flatten(1).double()
mean, covariance = metrics.moments(flat)
chance = torch.randn(len(flat), 64, generator=generator(2), dtype=torch.float64)
Q = torch.linalg.qr(chance - chance.mean(0)).Q  # columns of length 1, at right angles, each with mean 0
impostors = mean + math.sqrt(len(flat) - 1) * Q @ root(covariance)
halves = flat[torch.randperm(1797, generator=generator(3))[:1796]].split(898)
as_images = data.to_model_range(to_bytes(impostors.float().view(-1, 1, 8, 8)))
print(f"Frechet distance of the pixels {metrics.frechet_distance(impostors, flat):.3f}; "
      f"two halves of the digits {metrics.frechet_distance(*halves):.3f}")
print(f"in the classifier's features: {metrics.frechet_distance(extractor.features(as_images), real):.1f}")
plots.images(torch.cat([as_images[:10], images[:10]]), columns=10, size=0.8)

# %% [markdown]
# *What to see: above, ten of the set that has distance 0 from the digits; below, ten digits.* In pixels, the impostors are nearer to the digits than one half of the digits is to the other.
#
# The classifier's features tell them apart at once: what is no Gaussian in pixels shows there as another mean. That is what features are for. But in *their* space the blindness is the same. It is no defect that a cleverer matrix root would cure; the sets that follow are chosen to find where it matters.

# %% [markdown]
# ## Few samples
#
# Cut the real digits in two by chance: 1,000 and 797. Here are the distances of our three sets from the 797, and beside them that of the 1,000 *real* digits.

# %%
def distance(found, reference=real):
    return metrics.frechet_distance(found, reference)

order = torch.randperm(1797, generator=generator(5))
some, others = real[order[:1000]], real[order[1000:]]
for name, found in {**features, "real digits": some}.items():
    print(f"{name:15s} {distance(found, others):.2f}")

# %% [markdown]
# Did you guess that? The U-Net's samples are about as far from the digits as digits are, and the MLP's not much farther. Before we believe it: why are *real* digits not at 0?
#
# Because $n$ images do not settle 64 means and 2,080 covariances. What they lack shows as distance, always upwards: two samples of the same distribution are never equal. To second order it is
#
# $$\mathbb E\,d^2 \approx \Big(\mathrm{tr}\,\Sigma + \sum_{ij}\frac{\sigma_i\sigma_j\,(1+[i=j])}{2(\sigma_i+\sigma_j)}\Big)\Big(\frac1n+\frac1m\Big)$$
#
# for Gaussians with a covariance of eigenvalues $\sigma_i$ and $n$ and $m$ samples: **it falls as $1/n$**. Measured with real digits, and with our sets, each cut into as many parts of $n$ as it has, beside the formula:

# %%
sizes, spread = [50, 100, 200, 400, 800], torch.linalg.eigvalsh(metrics.moments(real).covariance)
pairs = torch.outer(spread, spread) * (1 + torch.eye(64)) / (2 * (spread[:, None] + spread))
curves = {"formula": [float((spread.sum() + pairs.sum()) * (1 / n + 1 / 797)) for n in sizes],
          "real digits": [metrics.floor(some, n, 10, generator(n), others).mean for n in sizes]}
for name, found in features.items():
    curves[name] = [sum(distance(part, others) for part in found[: 1000 // n * n].split(n)) / (1000 // n) for n in sizes]
for name, values in curves.items():
    print(f"{name:15s}", ", ".join(f"n = {n}: {value:.2f}" for n, value in zip(sizes, values, strict=True)))

# %%
figure = plots.curves(torch.tensor(sizes), {k: torch.tensor(v) for k, v in curves.items()}, "n", "Frechet distance")
(ax,) = figure.axes
ax.set(xscale="log", yscale="log"), ax.minorticks_off()
ax.set_xticks(sizes, map(str, sizes)), ax.set_yticks([1, 2, 4, 8], ["1", "2", "4", "8"])
print(f"from n = {sizes[0]} to {sizes[-1]} the formula falls by a factor of {curves['formula'][0] / curves['formula'][-1]:.1f}")
figure

# %% [markdown]
# *What to see: distance to the same 797 digits, both axes logarithmic. All curves fall, that of real digits, too, and the formula goes through them. With 50 samples one sees hardly anything but $n$; with 800 the 5-step samples stand apart.*
#
# (Up to $n = 400$ the U-Net's curve runs even a little below that of real digits. It was trained on all digits, these 797 included. What that may mean is the subject of "The copy machine".)
#
# The curve of real digits is the **floor**. It says what "perfect" would look like, at this $n$ and with this reference. A distance means something only beside it. The literature's FID takes 50,000 samples for this reason; with 2,000, people report a floor of about 30 where a good model has 3.
#
# ### How the worse sampler wins
#
# Someone has time for 1,000 samples with 5 steps, or for 100 with 15 steps, and compares. (From here to the end of "How sure?" the reference is all 1,797 digits, where nothing else is said; so the distances
# are other ones than above.)

# %%
print(f"5 steps, 1,000 samples: {distance(features['U-Net, 5 steps']):.2f}")
print(f"15 steps, 100 samples:  {distance(features['U-Net'][:100]):.2f}")
print(f"5 steps, 100 samples:   {distance(features['U-Net, 5 steps'][:100]):.2f}")

# %% [markdown]
# The worse sampler wins, by more samples. Only equal $n$ compares (third line with second).
#
# ### Labels in turn
#
# A subtler one. It is customary to ask a conditional model for its classes in turn: 0, 1, ..., 9, 0, 1, ... Then every class comes exactly a hundred times. By chance it would be 80 here and 115 there, and that is a part of the floor:

# %%
in_turn = draw(parameterization.denoiser(unet, s, "eps", static_clip, labels=torch.arange(1000) % 10), 1000)
print(f"U-Net, 1,000 samples, classes by chance {distance(features['U-Net']):.2f}, "
      f"in turn {distance(extractor.features(in_turn)):.2f}")
labels, by_chance, balanced = digits.labels[order[:1000]], [], []
for i in range(20):
    mixed = torch.randperm(1000, generator=generator(6, i))
    classes = torch.cat([mixed[labels[mixed] == k][:20] for k in range(10)])  # 20 of each
    by_chance.append(distance(some[mixed[:200]], others))
    balanced.append(distance(some[classes], others))
print(f"200 real digits: by chance {sum(by_chance) / 20:.2f}, 20 of each class {sum(balanced) / 20:.2f}")

# %% [markdown]
# A large part of the distance is gone, and no sample is better. There is nothing wrong with classes in turn, *if all that one compares is made so*, the floor included. (The numbers of notebook 05 were all made in turn: they compare with each other, and not with those on this page. Nor with their floor, which was by chance.)
#
# ### How sure?
#
# Draw other samples, and the distance is another. From one set one can guess by how much: draw from the set, with replacement, as many as it has, and again, two hundred times (the *bootstrap*). Such sets lack a third of the images and have others twice, so they are farther from the
# reference, just as a smaller set would be; `metrics.bootstrap` takes this shift off. Do five sets of the MLP agree with it?

# %%
def fast(found, reference):
    """The distance from moments that are known already."""
    return metrics.frechet_distance_of(*metrics.moments(found), *reference)

truth = metrics.moments(real)
seeds = [extractor.features(draw(of_mlp, 1000, seed=seed)) for seed in range(5)]
interval = metrics.bootstrap(seeds[0], truth, fast, generator=generator(7))
print(f"MLP, first set: {interval.value:.2f}, 95% interval {interval.low:.2f} to {interval.high:.2f}")
print("all five sets: ", ", ".join(f"{fast(found, truth):.2f}" for found in seeds))

# %% [markdown]
# The interval covers what other seeds do. Three digits after the point would have been a lie.

# %% [markdown]
# ## A distance without a bias
#
# The bias comes from comparing a set with itself: in the covariance of $n$ samples each is paired with itself, too. Another distance leaves those pairs out. A *kernel* $k(x, y)$ says how alike two samples are, and
#
# $$\mathrm{MMD}^2 = \mathbb E\,k(x, x') + \mathbb E\,k(y, y') - 2\,\mathbb E\,k(x, y)$$
#
# compares how alike samples are within each set with how alike they are across. ($|u-v|^2 = u\cdot u + v\cdot v - 2\,u\cdot v$, for means in the kernel's own space.) With $k(x, y) = (x\cdot y/D + 1)^3$ on Inception features it is called KID (Binkowski et al. 2018).
#
# ### Exercise 6.3: MMD without a bias
#
# *Difficulty 2 of 5, ten minutes.*
#
# The three matrices are given: `k_xx` (n, n), `k_yy` (m, m), `k_xy` (n, m). Estimate each expectation by a mean. $x$ and $x'$ are two *different* samples.
#
# <details><summary>Hint 1</summary>In which of the three matrices does a sample meet itself, and where?</details>
# <details><summary>Hint 2</summary><code>k.sum() - k.trace()</code>; how many numbers are left in it?</details>

# %% tags=["exercise"]
def unbiased_mmd(k_xx, k_yy, k_xy):
    """MMD^2, one number; it may be negative."""
    # BEGIN SOLUTION
    def of_others(k):
        return (k.sum() - k.trace()) / (len(k) * (len(k) - 1))

    return of_others(k_xx) + of_others(k_yy) - 2 * k_xy.mean()
    # END SOLUTION

# %% tags=["check"]
the_evaluation.unbiased_mmd(unbiased_mmd)

# %% tags=["fallback"]
unbiased_mmd = or_library(unbiased_mmd, evaluation_answers.unbiased_mmd)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *The diagonals are in* | `.mean()` of `k_xx`: the biased estimate |
# | *divided by n^2* | the diagonal is set to 0 and still counted |
# | *missing from k_xy* | $x_i$ and $y_i$ are two samples like any others: nothing is to be left out there |
# | *cut off at 0* | an estimate without a bias is negative half of the time, where the truth is 0 |
# | *is nan* | a root was taken: asked for is MMD^2 |
#
# [One way to solve it](solutions/06_is_it_any_good.ipynb). Should look like: `[x] 6.3 MMD without a bias: right.` Below, `mine` and the library's agree, and "without the diagonals" stays where it is.

# %%
def kernel(x, y):
    return (x.double() @ y.double().T / 64 + 1) ** 3

within, all_five = kernel(others, others), torch.cat(seeds)
mine = unbiased_mmd(kernel(some, some), within, kernel(some, others))
same("mine", mine, "metrics.kernel_distance", metrics.kernel_distance(some, others))
for n in (50, 100, 250, 1000):
    parts = all_five.split(n)
    k = [(kernel(part, part), within, kernel(part, others)) for part in parts]
    with_it = sum((a.mean() + b.mean() - 2 * c.mean()).item() for a, b, c in k) / len(k)
    without = torch.tensor([float(unbiased_mmd(*three)) for three in k])
    frechet = sum(distance(part, others) for part in parts) / len(parts)
    print(f"MLP, {len(parts):3d} sets of {n:4d}: without the diagonals {without.mean():.2f} (scatter {without.std():.2f}), "
          f"with them {with_it:.2f}; Frechet distance {frechet:.2f}")

# %% [markdown]
# Without the diagonals the mean stays where it is, from 50 samples to 1,000, and the others fall with $n$. (The scatter is another matter: a single value from 50 samples says little.) It compares means, covariances and third moments, so it sees a little more than the Frechet distance. It has no floor to beat: perfect is 0, and *below* 0 is nothing
# to be proud of.
#
# ## Two faults, two numbers
#
# A bad set can be bad in two ways. Samples look like nothing real, or real things are missing from it. One distance mixes both. *Precision and recall* (Kynkäänniemi et al. 2019) ask two questions:
#
# - **precision**: which share of the samples lies where real images are?
# - **recall**: which share of the real images lies where samples are?
#
# "Where real images are" is the union of balls, one about each real image, out to its $k$-th nearest other real image; and the other way round.
#
# ### Exercise 6.4: precision and recall
#
# *Difficulty 3 of 5, fifteen minutes.*
#
# Given are distances: `d_rr` (N, N) among the real images, `d_gg` (M, M) among the generated ones, `d_rg` (N, M) from each real to each generated one. A ball's surface belongs to it.
#
# <details><summary>Hint 1</summary>First the radii: in each row of d_rr the k-th smallest distance to <i>another</i> one. The smallest in a row is 0, to itself.</details>
# <details><summary>Hint 2</summary>A generated sample is column j of d_rg. It counts if any entry of its column is at most the radius of that row. For recall rows and columns change places, and the radii come from d_gg.</details>

# %% tags=["exercise"]
def precision_recall(d_rr, d_gg, d_rg, k):
    """(precision, recall), two shares from 0 to 1."""
    # BEGIN SOLUTION
    real_radius = d_rr.sort(1).values[:, k]
    made_radius = d_gg.sort(1).values[:, k]
    precision = (d_rg <= real_radius[:, None]).any(0).double().mean()
    recall = (d_rg <= made_radius[None, :]).any(1).double().mean()
    return precision, recall
    # END SOLUTION

# %% tags=["check"]
the_evaluation.precision_recall(precision_recall)

# %% tags=["fallback"]
precision_recall = or_library(precision_recall, evaluation_answers.precision_recall)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *one neighbour too small* | the sample itself was counted as its first neighbour |
# | *about the wrong set* | precision: balls about *real* images |
# | *Only the nearest centre* | a farther centre may have the larger ball |
# | *wrong axis* | balls that hold something were counted, not samples that are held |
# | *The size of tensor a (12) must match* | real radii need `[:, None]` before they meet `d_rg` |
#
# [One way to solve it](solutions/06_is_it_any_good.ipynb). Should look like: `[x] 6.4 precision and recall: right.` Below, real digits get nearly 0.9 for both.

# %%
def shares(found, reference):
    a, b = found.double(), reference.double()
    return precision_recall(torch.cdist(b, b), torch.cdist(a, a), torch.cdist(b, a), 3)

for name, found in {**features, "real digits": some}.items():
    precision, recall = shares(found, others)
    print(f"{name:15s} precision {float(precision):.2f}, recall {float(recall):.2f}")

# %% [markdown]
# Now they are told apart. The MLP, whose Frechet distance looked nearly as good as the U-Net's, makes many more samples that lie where no digit does; its variety is that of the U-Net. With 5 steps it is the other way round: softer samples are *more* typical than real digits, and much of the
# digits' variety is missing. **A precision above that of real images is no praise.**
#
# Both depend on $n$, $m$ and $k$, so the row of real digits belongs to it.
#
# ## A score that never looks at real images
#
# The *inception score* (Salimans et al. 2016) asks a classifier only: is it sure of each image, and are its answers varied? With $p(y\mid x)$ its probabilities and $p(y)$ their mean over the samples,
#
# $$\begin{gathered}\mathrm{IS} = \exp\, \mathbb E_x\, \mathrm{KL}\big(p(y\mid x)\,\|\,p(y)\big), \\
# 1 \le \mathrm{IS} \le \text{number of classes}.\end{gathered}$$
#
# Three things to hold against it: samples with guidance (notebook 05), a set of ten images, each of them fifty times, and real digits:

# %%
def judged(name, x):
    logits = extractor.logits(x)
    score, apart = metrics.inception_score(logits), distance(extractor.features(x))
    print(f"{name:25s} inception score {score:.2f}, Frechet distance {apart:5.2f}")

of_digits = extractor.logits(images).double()
p = of_digits.softmax(1)
kl = (p * (p / p.mean(0)).log()).sum(1)
same("exp of the mean KL", kl.mean().exp(), "metrics.inception_score", metrics.inception_score(of_digits))
for w in (0.0, 1.0, 4.0):
    guided = thresholding.limited(guidance.of_network(unet, s, "eps", asked[:500], w), s, static_clip)
    judged(f"500 samples, w = {w:.0f}", samples["U-Net"][:500] if w == 0 else draw(guided, 500))
ten_digits = torch.stack([images[digits.labels == k][0] for k in range(10)])
judged("ten digits, 50 times each", ten_digits.repeat(50, 1, 1, 1))
judged("500 real digits", images[order[:500]])

# %% [markdown]
# Without guidance the score is above that of real digits already; with guidance it rises further, while the distance from them grows. Ten images are as good as the real ones. It is a score of how easy images are to name; a model that learns its training set by heart gets full marks. (For ImageNet at 64 pixels Ho and Salimans 2022 found the same: $w$ from 0.1 to 4 takes IS from 66 to 260, and FID from 1.55 to 26.)
#
# ## No features at all
#
# The *sliced Wasserstein distance* asks no network: it looks at the pixels along random directions, where the cheapest plan is sorting, as above. It has no opinion on what matters, which is its strength and its weakness:

# %%
digits_again = images[order[:1000]]
more = {"impostors": as_images[:1000], "real digits": digits_again, "moved": digits_again.roll(1, 3)}
for name, x in {**samples, **more}.items():
    value = metrics.sliced_wasserstein(x, images[order[1000:]], generator=generator(8))
    print(f"{name:15s} sliced {value:.3f}, Frechet {distance(extractor.features(x), others):.2f}")

# %% [markdown]
# It sees the impostors in their own pixels: sorting compares whole distributions, not two moments. But digits moved to the right by one pixel are worse to it than anything else here.
#
# ## Smooth or not: the path length
#
# One more number that is often named for generators is no distance at all. *Perceptual path length* (Karras et al. 2019) walks from one latent to another and asks how fast the features move:
#
# $$\begin{gathered}\mathbb E\,\frac{|f(g(z_{u+\varepsilon})) - f(g(z_u))|^2}{\varepsilon^2}, \\
# z_u = \mathrm{slerp}(z_a, z_b; u).\end{gathered}$$
#
# It needs a map from latent to image without noise: DDIM with $\eta = 0$ is one. (The article whose claims this course checks asks to "monitor P-FID (perceptual path length)". These are two things: P-FID is the Frechet distance of point clouds' features. And DDPM has no path length.)

# %%
ends = [torch.randn(50, 1, 8, 8, generator=generator(seed)) for seed in (20, 21)]

def image_of(net, **condition):
    denoise = parameterization.denoiser(net, s, "eps", static_clip, **condition)
    return lambda x_T: sample(denoise, s, x_T.shape, "ddim", 20, x_T=x_T).clamp(-1, 1)

nothing = torch.full((50,), unet.no_label)
maps = {"MLP": image_of(mlp), "U-Net, no label": image_of(unet, labels=nothing)}
maps["U-Net, a label"] = image_of(unet, labels=asked[:50])
for name, map_ in maps.items():
    length = metrics.path_length(map_, extractor.features, *ends, generator=generator(22))
    print(f"{name:16s} path length {float(f'{length:.1g}'):.0f} (to one digit)")

# %% [markdown]
# With its label fixed the U-Net moves within a class. Without one a walk from noise to noise crosses from digit to digit, and at the crossings features jump: few paths meet a jump, and they make most of the mean. A small number means smooth. It does not mean good: a model that always makes the same image has 0.
#
# ## Who notices what?
#
# Below, real digits are damaged in one way at a time, 200 of them, and held against 700 other real ones. The first row is undamaged.

# %%
explorer = widgets.metric_explorer()
numbers, kinds = explorer.drawing.numbers, explorer.controls["kind"].options
columns = ("frechet", "kernel", "sliced", "precision", "recall", "score", "copies")
print(f"{'':24s}", *(f"{column:>9s}" for column in columns))
for kind, strength in [("blur", 0), *((kind, 3) for kind in kinds)]:
    found = numbers(kind, strength, 200, 0)
    name = kind if strength else "undamaged"
    print(f"{name:24s}", *(f"{found[column]:9.2f}" for column in columns))

# %% [markdown]
# - **Blur** (three quarters of a 3 x 3 average) and **noise** are seen by all distances, and by precision.
# - **Dropped classes** (three of ten): recall falls, *precision does not*. The inception score falls by the classes that are missing, and would not if they were rare.
# - **Repeated images** (25 of them, eight times each): precision sees nothing. Recall is 0: an image that is there four times has its third neighbour at distance 0, and a ball that is a point.
# - **Copies of the reference** (three quarters): every distance gets *better*. Only the last column notices. It needs a section of its own.

# %% [markdown]
# ## The copy machine
#
# Notebook 05 sampled with the perfect denoiser of a finite set, which returns its images. As a model it is worthless. We give it the 797 digits from above; the 1,000 others it never sees:

# %%
training, held_out = images[order[1000:]], images[order[:1000]]
machine = draw(oracles.FiniteDataset(training).denoiser(s), 1000)
sets = {**samples, "copy machine": machine, "real digits": held_out}
for name, x in sets.items():
    found = extractor.features(x)
    precision, recall = shares(found, others)
    print(f"{name:15s} Frechet distance to the 797 {distance(found, others):.2f}, "
          f"precision {float(precision):.2f}, recall {float(recall):.2f}")

# %% [markdown]
# The best of all, by far. It beats the networks, and it beats *real digits* that it was not given. Its samples are drawn from the reference itself, and to the reference they are compared. A distance below the floor of fresh real images is not a triumph. It is a question: was the reference trained on?
#
# No distance between distributions can answer it, since "the training set again" is a perfect answer to what such a distance asks. One has to look at single images.
#
# ### Exercise 6.5: looking for copies
#
# *Difficulty 3 of 5, fifteen minutes.*
#
# Of each sample, find the distance to its nearest training image. When is that suspiciously small? Images that were held out tell: they are real, and nobody copied them. Return, for each sample, whether it is nearer to a training image than *any* held-out image is.
#
# <details><summary>Hint 1</summary><code>torch.cdist(a.flatten(1), b.flatten(1))</code> has a row for each of a, and a column for each of b.</details>
# <details><summary>Hint 2</summary>The limit is one number: of the held-out images' distances to the training images the smallest.</details>

# %% tags=["exercise"]
def copies(samples, training, held_out):
    """bool (N,), for samples (N, C, H, W): nearer to a training image than any held-out image is."""
    # BEGIN SOLUTION
    nearest = torch.cdist(samples.flatten(1), training.flatten(1)).amin(1)
    limit = torch.cdist(held_out.flatten(1), training.flatten(1)).min()
    return nearest < limit
    # END SOLUTION

# %% tags=["check"]
the_evaluation.copies(copies)

# %% tags=["fallback"]
copies = or_library(copies, evaluation_answers.copies)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *Nothing is found*, *Only exact copies* | training images were compared with themselves: the smallest distance is 0 |
# | *near duplicates* | the limit comes from the training set, which may hold the same image nearly twice |
# | *held-out images are compared with the samples* | they are asked how near *they* come to the training images |
# | *a low quantile* | "any held-out image" asks for the smallest of their distances |
#
# [One way to solve it](solutions/06_is_it_any_good.ipynb). Should look like: `[x] 6.5 looking for copies: right.` Below, nearly all of the copy machine's samples are found, and none of the networks'.

# %%
del sets["real digits"]  # they are the yardstick
for name, x in sets.items():
    found = metrics.memorised(x, training, held_out)
    print(f"{name:15s} copies: {copies(x, training, held_out).double().mean():5.1%}; nearer than 1% of the held-out: "
          f"by distance {found.distance.share:5.1%} (p = {found.distance.p_value:.1g}), "
          f"by ratio {found.ratio.share:5.1%} (p = {found.ratio.p_value:.1g})")

# %% [markdown]
# The machine is caught. A *smallest* distance is a matter of one image, so `metrics.memorised` takes the 1% quantile of the held-out distances, and says how likely a share as large would be by chance. The second share is of the distance *divided by the mean distance of the 50 nearest*. A plain, soft image is near to many, so it may be suspicious by its distance and is not by its ratio; a copy is near to one (Carlini et al. 2023). Where the two disagree, as they may for the networks, look at the images.
#
# (The two networks were trained on the held-out digits as well. So this would not find a copy of *those*: for a model of your own, hold images out before training.)
#
# Now look, as numbers alone are not enough. Each sample with its nearest training image below it:

# %%
rows = []
for name in ("U-Net", "copy machine"):
    near = metrics.nearest(sets[name][:10], training)
    rows += [sets[name][:10], training[near.index]]
    print(f"{name:12s} distance to the nearest training image: {near.distance.min():.2f} to {near.distance.max():.2f}")
plots.images(torch.cat(rows), columns=10, size=0.8)

# %% [markdown]
# *What to see: from above, samples of the U-Net, the nearest training image of each; samples of the copy machine, and theirs. The first two rows are cousins, the last two are twins.*
#
# ## The protocol
#
# The same samples, the same network, and another number each time. Only the evaluation changes:

# %%
mine = features["U-Net"]
print(f"as above                                  {distance(mine):.2f}")
print(f"reference: 797 of the 1,797 digits        {distance(mine, others):.2f}")
print(f"reference: mirrored images are in it, too {distance(mine, extractor.features(torch.cat([images, images.flip(3)]))):.2f}")
extractor.net.train()  # dropout is on: what a classifier is after its training, if nobody says .eval()
with torch.random.fork_rng():
    torch.manual_seed(0)
    print(f"reference: its features in training mode  {distance(mine, extractor.features(images)):.2f}")
_ = extractor.net.eval()

# %%
for mode, options in {"nearest": {}, "bilinear": {"antialias": True}, "bicubic": {"antialias": True}}.items():
    larger = torch.nn.functional.interpolate(samples["U-Net"], (12, 12), mode=mode, **options)
    resized = torch.nn.functional.interpolate(larger, (8, 8), mode=mode, **options).clamp(-1, 1)
    print(f"resized to 12 x 12 and back, {mode:8s}     {distance(extractor.features(resized)):.2f}")
for count in (256, 17):
    cut = data.to_model_range(((samples["U-Net"] + 1) * (count - 1) / 2).to(torch.uint8), count)
    darker = cut.mean() - samples["U-Net"].mean()
    print(f"truncated to {count:3d} levels                   {distance(extractor.features(cut)):.2f}, brightness {darker:+.3f}")

# %% [markdown]
# None of these is far-fetched. Each is the cause of a "your repository gives me another FID" in the issue list of a well-known repository. Only truncation to 8 bits does nothing that one could see here, on digits that are black or white for the most part; with the 17 levels that they have it does. DDPM's own FID on CIFAR-10 is 3.17 against the training images and 5.24 against the test images (Ho et al. 2020): one model, two references.
#
# So a number is published with its protocol: **$n$, and how classes were chosen; reference (which split, trained on or not); network of the features; resizing; rounding; flips; sampler, steps, guidance, average of the weights; seeds.** `python -m ddpm_edu evaluate --samples x.npz` prints such a card, and the floor and the interval beside each number.
#
# Two evaluations to mend. Both are made of mistakes that were found in published code.
#
# ### Exercise 6.6: find the bug: moments, batch by batch
#
# *Difficulty 2 of 5, ten minutes.*
#
# Features come batch by batch, and this function wants their mean and covariance. It looks reasonable:

# %%
def published_moments(batches):
    """Mean and covariance of features, from a list of batches (n, D)."""
    means = [batch.mean(0) for batch in batches]
    covariances = [batch.T.cov() for batch in batches]
    return torch.stack(means).mean(0), torch.stack(covariances).mean(0)

by_class = real.double()[digits.labels.argsort()]  # as a loader has them that goes through folders, one a class
for size in (1797, 900, 100, 50):
    found = published_moments(list(by_class.split(size)))
    apart = metrics.frechet_distance_of(*found, *truth)
    print(f"batches of {size:4d}: distance of the real digits from themselves {apart:.3f}")

# %% [markdown]
# With one batch it is right. With more it is not, and the smaller the batches the worse. Two things are wrong with it. Write it so that the batches make no difference.
#
# <details><summary>Hint 1</summary>The last batch is smaller than the others. And a covariance is about the distance from <i>which</i> mean?</details>
# <details><summary>Hint 2</summary>All rows in one tensor would be the easiest. If memory is short: sums of x and of x x^T over all batches, and n.</details>

# %% tags=["exercise"]
def moments_in_batches(batches):
    """Mean (D,) and covariance (D, D), over n - 1, of all rows of a list of batches (n, D)."""
    # BEGIN SOLUTION
    rows = torch.cat(batches)
    away = rows - rows.mean(0)
    return rows.mean(0), away.T @ away / (len(rows) - 1)
    # END SOLUTION

# %% tags=["check"]
the_evaluation.moments_in_batches(moments_in_batches)

# %% tags=["fallback"]
moments_in_batches = or_library(moments_in_batches, evaluation_answers.moments_in_batches)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *It averages the covariances* | how far the batches' means are apart is missing |
# | *the smaller last one counts as much* | a mean of means is right for equal batches only |
# | *divided by n* | FID divides by $n - 1$ |
# | *second moments* | `x.T @ x` of rows from which no mean was taken |
#
# [One way to solve it](solutions/06_is_it_any_good.ipynb). Should look like: `[x] 6.6 find the bug: moments, batch by batch: right.` Below, two zeros.

# %%
for size in (900, 50):
    found = moments_in_batches(list(by_class.split(size)))
    apart = metrics.frechet_distance_of(*found, *truth)
    print(f"batches of {size:3d}: distance of the real digits from themselves {apart:.3f}")

# %% [markdown]
# ### Exercise 6.7: find the bugs: an evaluation
#
# *Difficulty 3 of 5, fifteen minutes.*
#
# And this one evaluates a model. `net.embed(images)` gives features (and `net(images)` would give logits); `net` comes straight from its training. `real` are images in [-1, 1], as they are in their files. Samples are floats, and a few overshoot [-1, 1]. There are four mistakes in it.

# %%
def published_distance(net, samples, real):
    """The Frechet distance of samples (n, 1, H, W) from real images, as a file and a loader have them."""
    as_stored = ((samples + 1) * 127.5).to(torch.uint8).float() / 127.5 - 1
    as_loaded = torch.cat([real, real.flip(3)])
    with torch.no_grad():
        return metrics.frechet_distance(net.embed(as_stored), net.embed(as_loaded))

net = metrics.features.load("digits").net.train()
overshooting = samples["U-Net"] * 1.02
with torch.random.fork_rng():
    torch.manual_seed(0)
    print(f"as published: {published_distance(net, overshooting, images):.1f}")

# %% [markdown]
# Write `honest_distance`, without them.
#
# <details><summary>Hint 1</summary>Two are in the line <code>as_stored</code>; you have written it right in 6.1.</details>
# <details><summary>Hint 2</summary>One is in the line <code>as_loaded</code>: what does a mirrored 3 do among digits? And one line is missing: which layers behave differently in training?</details>

# %% tags=["exercise"]
def honest_distance(net, samples, real):
    """The Frechet distance of samples, as a file would hold them, from the real images as they are."""
    # BEGIN SOLUTION
    net.eval()
    as_stored = data.to_model_range(data.to_uint8(samples))
    with torch.inference_mode():
        return metrics.frechet_distance(net.embed(as_stored), net.embed(real))
    # END SOLUTION

# %% tags=["check"]
the_evaluation.honest_distance(honest_distance)

# %% tags=["fallback"]
honest_distance = or_library(honest_distance, evaluation_answers.honest_distance)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *Still wrong: ...* | the check knows which mistakes are left, and names them |
# | *do not go through 8 bits* | the whole line was dropped; a file holds bytes |
# | *Expected ..., got ...* | something new: features of other images, or another distance |
#
# [One way to solve it](solutions/06_is_it_any_good.ipynb). Should look like: `[x] 6.7 find the bugs: an evaluation: right.` Below, less than 1.

# %%
print(f"mended:       {honest_distance(net, overshooting, images):.1f}")

# %% [markdown]
# ## Choosing the average of the weights
#
# One samples from an average of the weights over the last steps (EMA), with a decay that somebody chose. Which? A script of this repository trained the digits U-Net for 2,000 steps at a constant rate, on four fifths of the digits, and kept eleven averages of the *same* training: six decays (0 is the last weights themselves) with a constant decay, five of them also with warm-up.

# %%
result = json.loads((repository / "benchmarks/results/averages.json").read_text())
about = result["about"]
print(f"{about['date']}, {about['machine']}, {about['seconds']} s: {about['command']}")
final = [entry for entry in result["entries"] if entry["step"] == 2000]
print("decay, kind      of the first weights   held-out loss     Frechet distance to digits trained on / held out")
for entry in final:
    values = {key: torch.tensor([run[key] for run in entry["frechet"]]) for key in ("trained on", "held out")}
    told = ", ".join(f"{v.mean():6.3f} ± {v.std():.3f}" for v in values.values())
    kind = "warm-up" if entry["warm-up"] else "constant"
    print(f"{entry['decay']:<6g} {kind:8s} {entry['of the first']:16.1%} {sum(entry['loss']) / 4:17.4f}        {told}")

# %%
def loss_of(entry):
    return sum(entry["loss"]) / 4

def distance_of(entry):
    return sum(run["held out"] for run in entry["frechet"]) / len(entry["frechet"])

figure, (left, right) = plots.picture(9, 3.2, 1, 2)
for i, name in enumerate(("constant", "warm-up")):
    rows = [entry for entry in final if entry["warm-up"] == (i == 1)]
    for ax, value in ((left, loss_of), (right, distance_of)):
        ax.plot([f"{entry['decay']:g}" for entry in rows], list(map(value, rows)), marker="os"[i], label=name,
                color=plots.COLOURS[i], linestyle=plots.LINE_STYLES[i])

# %%
left.set(xlabel="decay", ylabel="loss on held-out digits", ylim=(0.072, 0.082)), left.legend(fontsize=8)
right.set(xlabel="decay", ylabel="Frechet distance (held out)", ylim=(0, 1.3))
first, worst = (max(final, key=value) for value in (loss_of, distance_of))
print(f"lowest loss: decay {min(final, key=loss_of)['decay']:g}; lowest distance: {min(final, key=distance_of)['decay']:g}")
print(f"highest, above the frame: loss {loss_of(first):.2f}, distance {distance_of(worst):.0f}")
figure

# %% [markdown]
# *What to see: without warm-up (blue) a valley, and behind it a wall: the two last points lie far above the frame. With warm-up (orange, from 0.9 on) the wall is gone. The loss on the left falls by a few hundredths of itself.*
#
# - **The average is worth more than its loss says.** From the last weights to the best average the loss falls by a few per cent, and the distance to the digits trained on is halved. At the bottom of the valley the loss is the same to three digits, and cannot choose.
# - **The lowest loss and the lowest distance need not be at the same decay**, and differences as small as those between neighbours are within the scatter of the seeds. Nothing is lost by taking either.
# - **The wall is the beginning.** An average with a constant decay $d$ still has $d^n$ of its first weights after $n$ steps, and these are random. With DDPM's decay of 0.9999, made for 800,000 steps, 82% of the average are random after 2,000: it samples noise, and the loss that the training printed was fine all the time, since it is
#   the loss of the network and not of its average. With warm-up the decay of step $n$ is $\min(d, (1+n)/(10+n))$, and that trap does not exist. (It also makes large decays alike: after 2,000 steps the second term has just passed 0.995. So the three last rows are nearly one.)
# - **To the digits trained on all are nearer than to those held out.** How much of it is memory? The two references differ in size, so in their floors, and do not compare. The second column is the one to choose by: nothing was trained on it.
#
# To choose by the metric is right; the metric is what one wants. But choose with some seeds and report others, and give the floor. (For large models Karras et al. 2024 found that the best length depends on the metric, too: longer for one set of features than for another, shorter under guidance.)

# %%
for steps in (2000, 8000, 50_000):
    shares_left = [ema.share_of_the_first(kind(0.9999), steps) for kind in (ema.constant, ema.warmed_up)]
    told = f"{shares_left[0]:.1%} of the first weights, with warm-up {shares_left[1]:.1%}"
    print(f"after {steps:6,} steps with decay 0.9999: {told}")
print(f"0.9999^2000 = {0.9999**2000:.2f}; what training said:\n{result['warned'][-1]}")

# %% [markdown]
# ## Two models, honestly
#
# Back to the guess. Which is better, the U-Net or the MLP? And the U-Net with 15 steps or with 5? Same $n$, same reference, same seeds, classes by chance in all. What is asked for is the interval of the *difference*.
#
# The two sets of the U-Net were made from the same noise and the same labels: sample $i$ of one and sample $i$ of the other are alike, and their luck cancels, *if both are drawn together*: each time the same $i$ for both (a *paired* bootstrap).

# %%
def difference(pairs, reference):
    """How much larger the first set's distance is than the second's; pairs: (n, 2, D)."""
    return fast(pairs[:, 0], reference) - fast(pairs[:, 1], reference)

def compared(name, a, b):
    found = metrics.bootstrap(torch.stack([a, b], 1), truth, difference, generator=generator(11))
    verdict = "cannot be told" if found.low < 0 < found.high else "the first" if found.high < 0 else "the second"
    print(f"{name:29s} {found.value:+.2f}, 95% interval {found.low:+.2f} to {found.high:+.2f}; nearer: {verdict}")

fifteen, five = features["U-Net"], features["U-Net, 5 steps"]
compared("15 steps against 5, paired", fifteen, five)
compared("the same, pairs torn apart", fifteen, five[torch.randperm(1000, generator=generator(12))])
compared("U-Net against MLP", fifteen, features["MLP"])

# %% [markdown]
# - **Steps.** The interval is far from 0, paired or not. Pairing makes it much narrower: half as wide is as good as four times the samples, and it is free.
# - **Networks.** Of the distances alone it cannot be told: 0 lies in the interval. (Here pairs help little. The two networks make different images of the same noise.) That is not the same as "equally good".
#
# The two have another difference, which you have seen in the table of precision:

# %%
def precision_of(pairs, reference):
    inside = [metrics.precision_recall(reference, pairs[:, i], 3).precision for i in (0, 1)]
    return inside[0] - inside[1]

both = torch.stack([fifteen[:500], features["MLP"][:500]], 1)
found = metrics.bootstrap(both, real[:500], precision_of, 40, generator(13))
print(f"precision, U-Net minus MLP: {found.value:+.2f}, 95% interval {found.low:+.2f} to {found.high:+.2f}")

# %% [markdown]
# In precision the difference is plain. What may be said: *"With 1,000 samples each the Frechet distances of the two cannot be told apart. More of the U-Net's samples lie where digits are."* What may not: "the U-Net's distance is the smaller one, so it is better", nor "they are equally good". A difference that one cannot see with
# $n = 1000$ may be there at 10,000.
#
# (One warning more. An interval is for *one* comparison. Who tries twenty settings and reports the best has chosen luck as well: choose with some seeds, and report with others.)

# %% [markdown]
# ## Explore
#
# Real digits, damaged; every metric on its own axis, better to the right. Orange is this set, grey are six undamaged sets of the same size: what chance does. Three things to try:
#
# 1. Blur with strength 1. From which number of images on does the Frechet distance notice, and from which the inception score?
# 2. Dropped classes, strength 2. Which metrics complain? Which one gets *better*?
# 3. Copies of the reference, strength 4. Move the number of images. Is there a metric, besides the search for copies, that would make you suspicious?
#
# <details><summary>What you should find</summary>1: with 25 images none of them; with 50 all distances and recall. The inception score never complains: with 100 it even puts the blurred digits ahead of all grey points. 2: the distances, recall and the inception score complain, and precision is better than that of all undamaged sets.
# 3: no. With 200 or 400 images the Frechet and the sliced distance, precision and recall are better than all grey points: "too good" is the only hint. With 100 the distances do not even say that.</details>

# %%
print(f"{explorer.controls['n'].value:g} of {len(explorer.drawing.pool)} digits, beside {len(explorer.drawing.reference)} others; "
      f"{explorer.controls['kind'].value}, strength {explorer.controls['strength'].value}")
explorer

# %% [markdown]
# ## What people get wrong
#
# *The other way round, from what you see to its cause, for the whole course: [errors and symptoms](../docs/errors.md).*
#
# **The root, entry by entry.** $(AB)^{1/2}$ is a root of matrices. The root of each entry of $AB$ is something else, and of negative entries it does not exist:

# %%
product = A @ B
wrong = product.clamp(min=0).sqrt().trace()
negative = (product < 0).double().mean()
print(f"tr (AB)^(1/2) = {sigma.sum():.1f}, roots of the entries: {wrong:.1f}; {negative:.0%} of the entries are negative")

# %% [markdown]
# **NaN with few samples.** 40 samples in 64 dimensions leave 25 eigenvalues that should be 0, and rounding makes some of them negative. Their roots are NaN (or imaginary, with `scipy.linalg.sqrtm`, of which some scripts just take the real part):

# %%
few = metrics.moments(real[:40])
naive = torch.linalg.eigvals(few.covariance @ B).real
negative = int((naive < 0).sum())
print(f"some eigenvalues of A B are below 0: {negative > 0}; sum of roots finite: {bool(naive.sqrt().sum().isfinite())}")
print(f"by singular values of the roots: {metrics.frechet_distance_of(*few, mu2, B):.0f}")

# %% [markdown]
# **Rows and columns.** `torch.cov` and `numpy.cov` take variables as *rows*. Features have them as columns. The result has another shape, and where $n = D$ not even that:

# %%
print(f"cov of features {tuple(real.shape)}: {tuple(real.cov().shape)}; of their transpose: {tuple(real.T.cov().shape)}")
square = real[:64]
print(f"with 64 samples both are {tuple(square.cov().shape)}, and differ by {(square.cov() - square.T.cov()).abs().max():.1f}")

# %% [markdown]
# **The best of ten.** A paper that reports the best of its seeds, beside another that reports the mean:

# %%
tenths = [distance(part) for found in seeds for part in found.split(500)]
print(f"MLP, 10 sets of 500 samples: mean {sum(tenths) / 10:.2f}, best {min(tenths):.2f}, worst {max(tenths):.2f}")

# %% [markdown]
# **Half precision for sums.** Features in bfloat16 are good enough, sums of a thousand of them are not. The mean of a column, added up one after the other in bfloat16:

# %%
column = real[:, real.mean(0).argmax()]
total = torch.zeros((), dtype=torch.bfloat16)
for value in column.bfloat16():
    total += value
print(f"mean {column.double().mean():.2f}, with a sum in bfloat16 {(total / len(column)).item():.2f}")

# %% [markdown]
# From some size on, adding one more value changes nothing: the sum stands still. The library takes moments in float64.
#
# ## Five questions
#
# Answer by mouse or keyboard: every option says why it is right or wrong. What you have solved so far, here and in the
# other lessons, `python -m ddpm_edu progress` shows (it stays on this machine).

# %%
widgets.quiz("06_is_it_any_good")

# %% [markdown]
# ## What to read next
#
# - Heusel et al., *GANs Trained by a Two Time-Scale Update Rule* (2017): FID. Dowson and Landau (1982): the formula.
# - Binkowski et al., *Demystifying MMD GANs* (2018): KID, and why FID is biased. Chong and Forsyth, *Effectively Unbiased FID and Inception Score* (2020): what to do about it.
# - Kynkäänniemi et al., *Improved Precision and Recall Metric for Assessing Generative Models* (2019).
# - Parmar, Zhang and Zhu, *On Aliased Resizing and Surprising Subtleties in GAN Evaluation* (2022): resizing and compression, measured.
# - Barratt and Sharma, *A Note on the Inception Score* (2018). Stein et al., *Exposing Flaws of Generative Model Evaluation Metrics* (2023): other features, human judges.
# - Carlini et al., *Extracting Training Data from Diffusion Models* (2023): copies in large models. Meehan, Chaudhuri and Dasgupta (2020): the test with three sets.
# - Karras et al., *Analyzing and Improving the Training Dynamics of Diffusion Models* (2024), section 3: averages of the weights, chosen after the training.
#
# **Next:** [07 Train the full model](07_train_the_full_model.ipynb): a training that can be trusted for days.
# [Back to the start](00_start_here.ipynb).
