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
# # 4. The U-Net, block by block
#
# Notebook 03 asked a network for the noise in an image. This page builds that network from its parts. Where we can, we leave a
# part out and measure what is lost.
#
# **After this page you can**
#
# - write the parts of DDPM's U-Net yourself: the time embedding, the residual block, attention,
# - say what each part is for, with a measurement,
# - tell where parameters, arithmetic and memory of such a network go, and trade memory for time.
#
# *About two hours with the exercises. Computing: 25 seconds on two CPU cores, 0.7 GB of memory (measured 2026-11-26);
# no GPU, no internet.*

# %%
import json
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

torch.set_num_threads(1)  # the networks are so small that two threads mostly wait for each other

# %%
from ddpm_edu import data, losses, models, parameterization, plots, schedules, widgets
from ddpm_edu.diagram import unet_diagram
from ddpm_edu.exercises import or_library, same, the_unet, unet_answers
from ddpm_edu.forward import q_sample, random_t
from ddpm_edu.models import checkpointing, resblock
from ddpm_edu.models.attention import CrossAttention, SelfAttention, weights
from ddpm_edu.models.memory import peak_bytes
from ddpm_edu.models.summary import summary, training_flops
from ddpm_edu.models.unet import at_once, left_behind
from ddpm_edu.sampling import sample
from ddpm_edu.training import generator

images = data.digits().model_range()  # (1797, 1, 8, 8), values from -1 to 1
s = schedules.linear(1000)  # DDPM's schedule
unet, _ = models.load("digits_unet")
print(f"a U-Net for 8x8 digits: {sum(p.numel() for p in unet.parameters()):,} parameters")

# %% [markdown]
# We also load a network for Fashion-MNIST, pictures of clothes with 28 x 28 pixels. The data set itself may not be on your
# machine, but the network can make pictures of its own: ten classes, from T-shirt to ankle boot (`sample` is the subject of
# notebook 05: DDIM is a sampler with few steps, and `static_clip` keeps $\hat x_0$ in $[-1, 1]$).

# %%
fashion, about = models.load("fashion_unet")  # about: its file says what it predicts, and on which schedule
classes, chain = torch.arange(10), schedules.by_name(*about["schedule"].values())
denoise = parameterization.denoiser(fashion, chain, about["predicts"], parameterization.static_clip, labels=classes)
clothes = sample(denoise, chain, (10, 1, 28, 28), "ddim", 50, generator=generator(4))
print(f"{len(clothes)} images of {clothes.shape[2]} x {clothes.shape[3]} pixels, values from -1 to 1")
plots.images(clothes, data.FASHION_CLASSES, columns=10, size=1.1)

# %% [markdown]
# *What to see: ten made-up garments, one of each class. Nobody has drawn them.*
#
# ## The naive way: a network that knows pixels by number
#
# The network of notebook 03 was an MLP: it takes the 64 pixels as 64 numbers, and each pixel has weights of its own. What
# it learned of pixel 20 says nothing about pixel 21. To see that, shift all digits to the right by one pixel. To us they are
# the same digits. Both networks below were trained on the digits where they were.

# %%
no_label = torch.full((900,), unet.no_label)  # this U-Net can be told which digit it sees; we do not
mlp, _ = models.load("digits_mlp")
some = images[:900]
shifted = torch.cat([torch.full((900, 1, 8, 1), -1.0), some[..., :-1]], 3)
t, noise = random_t(s, 900, generator(0)), torch.randn(some.shape, generator=generator(1))
networks = {"MLP": mlp, "U-Net": lambda x, t: unet(x, t, labels=no_label[: len(x)])}
for name, net in networks.items():
    with torch.no_grad():
        here, there = (losses.simple(net, s, x, t, noise).mean() for x in (some, shifted))
    print(f"{name}: L_simple of the digits {here:.2f}, shifted by a pixel {there:.2f}")

# %% [markdown]
# The MLP is lost: shifted digits are news to it. The U-Net suffers too, but far less.
# (It is not indifferent to place either: it sees the border of the image.)
#
# There is a second fault. The number of weights grows with the number of pixels. One layer of 512 numbers, looking at all
# pixels, has this many:

# %%
for name, side, channels in (("digits", 8, 1), ("CIFAR-10", 32, 3), ("a photograph", 256, 3)):
    print(f"{name}, {side} x {side} x {channels}: {512 * side * side * channels:,} weights in the first layer")
print(f"a 3x3 convolution from 3 channels to 512, for any size: {512 * 3 * 9:,}")

# %% [markdown]
# ## Convolutions, and how far they see
#
# A *convolution* uses the same small set of weights at each place. It fixes both faults, and brings a new one: each output
# pixel sees a 3 x 3 window, no more. Several layers see further. How far?
#
# The *receptive field* is the number of input pixels a side that one output pixel depends on. Each layer has a *kernel* (its
# window, in pixels a side) and a *stride* (by how many pixels the window moves from one output pixel to the next; stride 2 halves the
# image).
#
# ### Exercise 4.1: how far a pixel sees
#
# *Difficulty 2 of 5, ten minutes.*
#
# Return the receptive field of layers that follow each other. `layers` is a list of (kernel, stride), the first layer first.
#
# <details><summary>Hint 1</summary>A pixel sees itself: start with 1. A layer with kernel k adds k - 1 steps. How long is a step, in input pixels?</details>
# <details><summary>Hint 2</summary>A step is as long as the product of the strides of the layers <em>before</em>.</details>

# %% tags=["exercise"]
def receptive_field(layers):
    """Input pixels a side that one output pixel depends on; layers: a list of (kernel, stride)."""
    # BEGIN SOLUTION
    field, step = 1, 1
    for kernel, stride in layers:
        field += (kernel - 1) * step
        step *= stride
    return field
    # END SOLUTION

# %% tags=["check"]
the_unet.receptive_field(receptive_field)

# %% tags=["fallback"]
def by_gradient(layers):
    """Ask the gradient: which inputs does one output depend on?"""
    line = torch.zeros(1, 1, 4000, requires_grad=True)
    out = line
    for window, move in layers:
        out = F.conv1d(out, torch.ones(1, 1, window), stride=move)
    return int((torch.autograd.grad(out[0, 0, 0], line)[0] != 0).sum())

receptive_field = or_library(receptive_field, by_gradient)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *the product of the strides before it* | kernels were added or multiplied as they are |
# | *own stride does not widen* | a stride lengthens the steps of the layers after it, not its own |
# | *Start from 1* | the pixel itself was not counted |
#
# [One way to solve it](solutions/04_the_unet.ipynb). Should look like: `[x] 4.1 how far a pixel sees: right.` What it says of two networks:

# %%
flat = [(3, 1)] * 16  # sixteen convolutions, one after the other
down = [(3, 1), (3, 1), (3, 2)] * 3  # two convolutions, then one with stride 2, three times
print(f"16 convolutions see {receptive_field(flat)} pixels a side")
print(f"9 of them, with three strides of 2, see {receptive_field(down)}")

# %% [markdown]
# Strides make the difference: after each halving, a step is twice as long. And the layers at half the size cost a quarter.
#
# Does an image need to be seen whole? At small $t$ hardly: the noise of a pixel shows in its neighbours. At large $t$ it does. The
# picture is nearly gone, and whether a grey patch is a sleeve or a shoe can only be told from everything at once.

# %% [markdown]
# ## Down, up, and a look across
#
# So the network goes *down*: blocks of convolutions, then half the size, and again. At the bottom each pixel stands for a
# large piece of the image. But noise must be predicted pixel by pixel, so it must come *up* again. And what has been lost on the
# way down, the exact place of each edge, cannot be guessed on the way up. Hence the third part, *skip connections*: the way
# up is shown what the way down had at the same size. This is the U-Net (Ronneberger et al., 2015).
#
# Here is ours for the clothes, drawn from the network itself:

# %%
plan = summary(fashion, 28)
print(f"{plan.parameters:,} parameters, {plan.flops / 1e6:.0f} million floating point operations for one image")
unet_diagram(plan)

# %% [markdown]
# *What to see: the way down on the left, the way up on the right, and arrows across for what is kept. The image enters in 2 x 2
# patches, each as one pixel with four channels, so the top level is 14 x 14: a quarter of the work of 28 x 28. At the end the four channels of the prediction are laid out as 2 x 2 pixels again.*
#
# Now send a noisy garment through it, and look at what comes out of each block: for each pixel, the root mean square of its
# channels (each panel has a grey scale of its own).

# %%
passed = []
def watched(block, h, *rest):
    """Runs a block as usual and keeps what comes out."""
    passed.append(at_once(block, h, *rest))
    return passed[-1]

t = torch.full((10,), 150)
x_t = q_sample(chain, clothes, t, torch.randn(clothes.shape, generator=generator(2)))
fashion.run = watched
with torch.no_grad():
    eps = denoise(x_t, t).eps
fashion.run = at_once
views = [x_t[9, 0], *(h[9].square().mean(0).sqrt() for h in passed), eps[9, 0]]

# %%
stages = ["block", "shrink", "block", "middle", "middle", "block", "block", "grow", "block", "block"]
figure, axes = plots.picture(11.5, 1.4, 1, 12)
for ax, view, name in zip(axes, views, ["x_150", *stages, "noise found"], strict=True):
    ax.imshow(view, cmap="gray")
    ax.set_title(f"{name}\n{view.shape[0]} x {view.shape[1]}", fontsize=8)
    ax.set_axis_off()
print(f"{len(passed)} results, from {tuple(passed[0].shape[1:])} over {tuple(passed[4].shape[1:])} to {tuple(passed[-1].shape[1:])}")
figure

# %% [markdown]
# *What to see: on the way down the boot dissolves; at 7 x 7 it is 64 channels deep, and what they say together no eye can tell. On the way
# up its outline is back, and the last results are as fine-grained as the noise that is to be named.*
#
# What are the skips worth? We take a trained network and put zeros in their place. `net.run` is the function by which a U-Net runs
# its blocks; on the way up each gets what comes from below and, as the last channels, what comes across.

# %%
def without_skips(net, levels):
    """A way to run the blocks of ``net`` that puts zeros in the place of the skips of these levels."""
    widths, cut = left_behind(net.config), {}
    for level, up in zip(reversed(range(net.config.levels)), net.up, strict=True):
        cut |= {block: widths.pop() * (level in levels) for block in up.blocks}

    def run(block, h, *rest):
        if cut.get(block):
            h = torch.cat([h[:, : -cut[block]], torch.zeros_like(h[:, -cut[block] :])], 1)
        return at_once(block, h, *rest)

    return run

# %%
rows = [clothes, x_t]
for name, levels in (("all skips", ()), ("none at 14 x 14", (0,)), ("none at 7 x 7", (1,))):
    fashion.run = without_skips(fashion, levels)
    with torch.no_grad():
        found = denoise(x_t, t).x0
    rows.append(found)
    error = (found - clothes).square().mean().sqrt().item()
    print(f"{name}: root mean square error of x0_hat {error:.2f}")
fashion.run = at_once
plots.images(torch.cat(rows), columns=10, size=0.9)

# %% [markdown]
# *What to see, from above: the images, $x_{150}$, and $\hat x_0$ from the whole network; then without the skips at 14 x 14, then without
# those at 7 x 7. Without the upper ones the noise stays in the picture: the network no longer knows which pixel has how much. Without the
# lower ones a little contrast is lost, and the error is nearly the same: at so little noise not much has to be known from afar.*
#
# This network was trained with skips and cannot be blamed for missing them. A fair comparison trains each network anew. A script
# of this repository did so for seven networks on the digits, three seeds each; the page loads its result. The last columns are the
# loss on digits that were held out.

# %%
repository = Path(models.__file__).parents[2]
result = json.loads((repository / "benchmarks/results/blocks.json").read_text())
about, settings = result["about"], result["settings"]
print(f"{about['date']}, {about['machine']}, {about['seconds']} s: {about['command']}")
print(f"{settings['steps']} steps of {settings['batch']} digits; loss: mean ± standard deviation of three seeds")
print("in brackets: the loss by quarter of t, small t first; MFLOP: millions of operations a forward pass and image")
for name, found in result["results"].items():
    loss = torch.tensor([run["loss"] for run in found["runs"]])
    quarters = torch.tensor([run["by_quarter"] for run in found["runs"]]).mean(0)
    shown = " ".join(f"{quarter:.4f}" for quarter in quarters)
    size = f"{found['parameters']:7,} parameters, {found['flops'] / 1e6:4.1f} MFLOP"
    print(f"{name:23s} {size}: {loss.mean():.4f} ± {loss.std():.4f} ({shown})")

# %% [markdown]
# All were made to have about 700,000 parameters. Read each line against that of the U-Net. The MLP has one and a half times its loss. Without skips the loss is a sixth higher, most of it at small $t$,
# where the exact place of things counts. Convolutions at one size come close, for more than twice the arithmetic: 16 layers
# see all of an image of 8 x 8 pixels, and of larger ones they would not. And attention makes no difference that three
# seeds can show: at 8 x 8 there is nothing far away. ADM (Dhariwal and Nichol, 2021) measured it where there is (ImageNet at 128 pixels, 700,000 steps): attention at 32, 16
# and 8 in place of 16 alone brought FID 15.33 down by 0.72 (their Table 1).

# %%
shown = [torch.tensor(found["runs"][0]["samples"]) for found in result["results"].values()]
print(f"{len(shown)} networks, {len(shown[0])} samples each, values {shown[0].min()} to {shown[0].max()}")
plots.images(torch.cat(shown).view(-1, 1, 8, 8) / 127.5 - 1, columns=10, size=0.7)

# %% [markdown]
# *What to see: one row a network, in the order of the list, all from the same noise (DDIM, 50 steps). After so short a training
# some samples of the MLP (first row) and of the network that is not told t (fourth) are still noise, and without skips (third) some are washed out. The others mostly agree.*
#
# ## The residual block
#
# All work is done by one kind of block. In DDPM it is this, with $h$ for what enters:
#
# 1. normalise, SiLU, 3 x 3 convolution,
# 2. add the time (below),
# 3. normalise, SiLU, dropout, 3 x 3 convolution,
# 4. add $h$ itself; where the number of channels changes, a 1 x 1 convolution of it.
#
# *Group normalisation* brings groups of channels of one image to mean 0 and variance 1, then scales and shifts each channel by learned
# numbers. *SiLU* is $x / (1 + e^{-x})$, a smooth cousin of $\max(x, 0)$. *Dropout* sets some numbers to zero while
# training.
#
# ### Exercise 4.2: counting a block's parameters
#
# *Difficulty 2 of 5, ten minutes.*
#
# How many parameters has this block? A convolution of $k \times k$ pixels has a weight for each input channel, output channel and pixel,
# and a bias for each output channel. A norm has two numbers a channel. The time comes as `e` numbers through a linear layer with
# bias to `c_out`.
#
# <details><summary>Hint 1</summary>Six parts: two norms, two convolutions, the linear layer, and the 1 x 1 convolution where c_in != c_out.</details>
# <details><summary>Hint 2</summary>The first norm has c_in channels, the second c_out.</details>

# %% tags=["exercise"]
def block_parameters(c_in, c_out, e):
    """The number of parameters of DDPM's residual block from c_in to c_out channels, told the time in e numbers."""
    # BEGIN SOLUTION
    norms = 2 * c_in + 2 * c_out
    convolutions = 9 * c_in * c_out + c_out + 9 * c_out * c_out + c_out
    told = e * c_out + c_out
    shortcut = c_in * c_out + c_out if c_in != c_out else 0
    return norms + convolutions + told + shortcut
    # END SOLUTION

# %% tags=["check"]
the_unet.block_parameters(block_parameters)

# %% tags=["fallback"]
def by_counting(c_in, c_out, e):
    """Make the block, without numbers in it, and count."""
    with torch.device("meta"):
        block = resblock.ResBlock(c_in, c_out, e, "add", 1, 1e-6, 0.0)
    return sum(p.numel() for p in block.parameters())

block_parameters = or_library(block_parameters, by_counting)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *Two things*, *Three things* | several parts are missing at once, most often norms and biases |
# | *the shortcut is x itself* | a 1 x 1 convolution was counted in every block |
# | *2 c_out are missing* | two causes give the same number: the biases of both convolutions, or the second norm |
#
# [One way to solve it](solutions/04_the_unet.ipynb). Should look like: `[x] 4.2 counting a block's parameters: right.`
#
# DDPM's network for CIFAR-10 has 22 such blocks and 35,746,307 parameters. The blocks on the way up are the
# larger ones, as they also read the skips:

# %%
cifar10 = models.UNetConfig()  # the defaults are DDPM's network
widths, e = [128, 256, 256, 256], 512
left, blocks, c = left_behind(cifar10), 0, 128
for width in widths:  # down, two a level
    blocks += block_parameters(c, width, e) + block_parameters(width, width, e)
    c = width
blocks += 2 * block_parameters(c, c, e)  # in the middle
for width in reversed(widths):  # up, three a level
    for _ in range(3):
        blocks += block_parameters(c + left.pop(), width, e)
        c = width
whole = summary(cifar10, 32).parameters
print(f"{blocks:,} of {whole:,} parameters, {blocks / whole:.0%}, are in residual blocks")

# %% [markdown]
# ### Why it starts as nothing
#
# The last convolution of each block starts at zero. So a new block returns its input, and a new network, whose last layer is
# zero as well, says 0 everywhere:

# %%
torch.manual_seed(0)
block = resblock.ResBlock(32, 32, 128, "add", groups=8, eps=1e-6, dropout=0.0)
h, told = torch.randn(4, 32, 8, 8), torch.randn(4, 128)  # told: what it is told of the time, see below
same("a new block of h", block(h, told).detach(), "h", h, 0)

fresh, t = models.unet_digits(), random_t(s, 500, generator(0))
noise = torch.randn(500, 1, 8, 8, generator=generator(1))
with torch.no_grad():
    loss = losses.simple(lambda x, t: fresh(x, t, labels=no_label[:500]), s, images[:500], t, noise)
same("L_simple of a new network", loss.mean(), "mean square of the noise", noise.square().mean(), 1e-6)

# %% [markdown]
# What would happen otherwise? Let the blocks start with the usual random weights, stack some, and see how large the numbers
# become. Each block's branch adds variance:

# %%
def spread_after(depth, awake):
    torch.manual_seed(1)
    h = torch.randn(16, 32, 8, 8)
    for _ in range(depth):
        block = resblock.ResBlock(32, 32, 128, "add", groups=8, eps=1e-6, dropout=0.0)
        if awake:
            nn.init.xavier_uniform_(block.conv2.weight)
        h = block(h, torch.zeros(16, 128))
    return h.std().item()

with torch.no_grad():
    for depth in (1, 4, 16, 64):
        print(f"{depth:2d} blocks: standard deviation {spread_after(depth, False):.1f} if they start at zero, "
              f"{spread_after(depth, True):.1f} otherwise")

# %% [markdown]
# The last norm of the network would bring the numbers back to size, but the share that is the image itself has shrunk by as much.
# With the zeros, training starts at the loss of the best constant answer, whatever the depth of the network. Nothing is dead: the gradient of the
# zero layer is not zero, and once it has moved, the layers before it learn as well.

# %% [markdown]
# ## Telling the time
#
# The network must know $t$: how much of what it sees is noise. A single number between 1 and 1000 is hard to use for a network
# whose inputs are all of size 1. DDPM makes a row of waves from it, fast ones and slow ones:
#
# $$\begin{gathered}\big(\sin\omega_0 t, \dots, \sin\omega_{d/2-1} t,\ \cos\omega_0 t, \dots, \cos\omega_{d/2-1} t\big), \\
# \omega_k = 10000^{-k/(d/2-1)} .\end{gathered}$$
#
# The fast ones tell neighbours apart, the slow ones early from late, as the second hand and the hour hand of a clock do. (The very slowest
# hardly move in 1000 steps: the 10000 was made for the places of words in a text, Vaswani et al., 2017.)
#
# ### Exercise 4.3: the time as a row of waves
#
# *Difficulty 2 of 5, ten minutes.*
#
# Write this as a function of `t` and of $d$, called `dim`.
#
# <details><summary>Hint 1</summary>Make the row of frequencies first: <code>torch.arange(dim // 2)</code> gives k.</details>
# <details><summary>Hint 2</summary>An outer product gives all angles: <code>t[:, None] * frequencies</code>. Then <code>torch.cat</code> along dimension 1.</details>

# %% tags=["exercise"]
def time_embedding(t, dim):
    """t int64 (N,) -> float32 (N, dim): the sines of w_k t for all k, then the cosines."""
    # BEGIN SOLUTION
    k = torch.arange(dim // 2)
    frequencies = 10_000.0 ** (-k / (dim // 2 - 1))
    angles = t[:, None] * frequencies
    return torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)
    # END SOLUTION

# %% tags=["check"]
the_unet.time_embedding(time_embedding)

# %% tags=["fallback"]
time_embedding = or_library(time_embedding, models.sinusoidal)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *Here it is dim/2 - 1* | the formula of the Transformer and of improved DDPM; DDPM's code differs |
# | *another sample's row* | `reshape` or `view` where sines and cosines should be joined |
# | *must match* | `t` meets the frequencies without being a column |
# | *rounded to whole numbers* | `//`, or `10_000` to the power of whole numbers |
#
# [One way to solve it](solutions/04_the_unet.ipynb). Should look like: `[x] 4.3 the time as a row of waves: right.` All waves of all times:

# %%
waves = time_embedding(torch.arange(1, 1001), 64)
inner = (waves @ waves.T / 32).double()
same("inner product of 100 and 110", inner[99, 109], "of 700 and 710", inner[699, 709], 1e-4)
figure, (left, right) = plots.picture(11, 3, 1, 2)
shown = left.imshow(waves.T, aspect="auto", cmap="RdBu", extent=(1, 1000, 64, 0), interpolation="nearest")
left.set(xlabel="t", ylabel="number in the row", title="sines above, cosines below")
figure.colorbar(shown, ax=left)
apart = torch.arange(-90, 91)
plots.draw_curves(right, apart, {f"with t = {a}": inner[a - 1, a - 1 + apart] for a in (100, 500)},
                  "distance in t", "inner product / 32")
print(f"inner product of t = 500 with itself {inner[499, 499]:.2f}, with 510 {inner[499, 509]:.2f}, "
      f"with 1000 {inner[499, 999]:.2f}")
figure

# %% [markdown]
# *What to see, left: fast waves at the top of each half, slow ones below. Right: how alike two times look depends on their
# distance alone (the two curves lie on each other), and neighbours look alike.* Two small layers then make the *told* vector of it that all blocks read: 4 times as
# many numbers as the row has. In DDPM's network 128 waves become 512 numbers. (So "a 512-dimensional embedding", as one often
# reads, is half right.)
#
# ### What if it is told the wrong time?
#
# Take digits at one noise level, and tell the trained network another. Each row below is a true $t$, each column what it was told.

# %%
times, some = (25, 100, 200, 400, 600, 800), images[:100]
table = torch.zeros(len(times), len(times))
for i, true in enumerate(times):
    t = torch.full((100,), true)
    x_t = q_sample(s, some, t, noise[:100])
    for j, said in enumerate(times):
        with torch.no_grad():
            found = unet(x_t, torch.full((100,), said), labels=no_label[:100])
        table[i, j] = losses.mse(found, noise[:100]).mean()
# %%
print("the truth is best in every row:", bool((table.argmin(1) == torch.arange(len(times))).all()))
print("t = 800, told 25: worse than saying nothing (1.0):", bool(table[5, 0] > 1))
figure, (ax,) = plots.picture(5.5, 3.6)
ax.imshow(table.log10(), cmap="cividis", vmin=-3)
for i, j in torch.cartesian_prod(*[torch.arange(len(times))] * 2).tolist():
    error = table[i, j].item()
    ax.text(j, i, "<0.005" if error < 0.005 else f"{error:.2f}", ha="center", va="center", fontsize=8,
            color="white" if error < 0.1 else "black")
ax.set(xticks=range(len(times)), xticklabels=times, yticks=range(len(times)), yticklabels=times)
ax.set(xlabel="t it was told", ylabel="true t", title="mean squared error of the noise")
figure

# %% [markdown]
# *What to see: in each row the smallest error is on the diagonal. Above 1 the network does worse than saying nothing. Told that $t$ is large when it is
# small (upper right), it takes the picture itself for noise; told that it is small when it is large (lower left), it overstates the noise.*
#
# Yet the network could find out the noise level for itself: it has 64 pixels to measure it by. The network "not told t" in the list
# above had to, and its loss is an eighth higher. It is known from larger networks too that without the time they get worse,
# but gracefully (Sun et al., 2025).

# %% [markdown]
# ## Two ways to tell a block
#
# **DDPM adds.** A linear layer turns the told vector into one number a channel. It is added to all pixels of that channel, between the
# two convolutions.
#
# ### Exercise 4.4: telling a block the time
#
# *Difficulty 1 of 5, five minutes.*
#
# Add `w` (N, C) to `h` (N, C, H, W): each image its own row, each channel its own number.
#
# <details><summary>Hint 1</summary><code>h + w</code> compares shapes from the right: it meets height and width first.</details>
# <details><summary>Hint 2</summary><code>w[:, :, None, None]</code> has shape (N, C, 1, 1).</details>

# %% tags=["exercise"]
def tell_time(h, w):
    """h (N, C, H, W) plus w (N, C), one number a channel of each image."""
    # BEGIN SOLUTION
    return h + w[:, :, None, None]
    # END SOLUTION

# %% tags=["check"]
the_unet.tell_time(tell_time)

# %% tags=["fallback"]
tell_time = or_library(tell_time, resblock.add_per_channel)

# %% [markdown]
# **Improved DDPM (Nichol and Dhariwal, 2021) and ADM scale and shift**, after the second norm: $\text{norm}(h)\,(1 + w) + b$. It is called AdaGN, adaptive group
# normalisation. The told vector can now turn a channel up or down, or off.
#
# ### Exercise 4.5: scale and shift
#
# *Difficulty 1 of 5, five minutes.*
#
# Write this formula, with `w` and `b` of shape (N, C).
#
# <details><summary>Hint 1</summary>As in 4.4, twice.</details>
# <details><summary>Hint 2</summary>The 1 belongs to the scale alone.</details>

# %% tags=["exercise"]
def scale_shift(normal, w, b):
    """normal * (1 + w) + b: normal (N, C, H, W), w and b (N, C)."""
    # BEGIN SOLUTION
    return normal * (1 + w[:, :, None, None]) + b[:, :, None, None]
    # END SOLUTION

# %% tags=["check"]
the_unet.scale_shift(scale_shift)

# %% tags=["fallback"]
scale_shift = or_library(scale_shift, resblock.scale_and_shift)

# %% [markdown]
# For 4.4 and 4.5:
#
# | What you see | Likely cause |
# |---|---|
# | *other axes than those of the image* | (N, C) meets (N, C, H, W) from the right: two axes are missing |
# | *lines w up with the last two axes* | plain `h + w`; where sizes happen to fit, torch says nothing |
# | *The 1 is missing* | `normal * w`: while w is small the branch is all but off |
# | *1 + w multiplies b* | a bracket: the shift comes after the scale |
#
# [One way to solve them](solutions/04_the_unet.ipynb). Should look like: `[x] 4.4 telling a block the time: right.` and `[x] 4.5 scale and shift: right.`
#
# ### Is the 1 needed?
#
# ADM's paper prints the formula without the 1, all code has it. After training the two can say the same. Before, they differ: the
# scale comes from a linear layer and starts small, so without the 1 little gets through. Take the extreme case: that layer starts *at* zero,
# as the last convolution does. Then each waits for the other:

# %%
class WithoutOne(resblock.ScaleShift):
    """The formula as ADM's paper prints it."""

    def forward(self, h, told):
        w, b = self.linear(F.silu(told)).chunk(2, 1)
        return self.norm(h) * w[:, :, None, None] + b[:, :, None, None]


for name, kind in (("1 + w", resblock.ScaleShift), ("w alone", WithoutOne)):
    torch.manual_seed(0)
    block = resblock.ResBlock(32, 32, 128, "scale_shift", groups=8, eps=1e-6, dropout=0.0)
    block.told = kind(32, 128, 8, 1e-6)
    nn.init.zeros_(block.told.linear.weight)
    (block(h, told) * torch.randn(h.shape, generator=generator(3))).sum().backward()
    grads = {"last convolution": block.conv2.weight.grad, "w's layer": block.told.linear.weight.grad[:32]}
    print(name, {part: "not zero" if grad.abs().max() > 0 else "exactly zero" for part, grad in grads.items()})

# %% [markdown]
# With the 1 the last convolution can move at once, and the layer of $w$ follows. Without it nothing ever moves.
#
# Which of the two is better? ADM reports FID 13.06 with AdaGN and 15.08 with addition (their Table 3, ImageNet at 128 pixels). On the
# digits, in the list above (three seeds each):

# %%
runs = {name: torch.tensor([r["loss"] for r in result["results"][name]["runs"]]) for name in ("U-Net", "U-Net with AdaGN")}
gap = runs["U-Net"].mean() - runs["U-Net with AdaGN"].mean()
noise_of_it = (runs["U-Net"].var() / 3 + runs["U-Net with AdaGN"].var() / 3).sqrt()
print(f"loss with addition minus loss with AdaGN: {gap:.4f} ± {noise_of_it:.4f} (standard error, three seeds each)")

# %% [markdown]
# A small advantage for AdaGN, several times its standard error; part of it may be its 8 % more parameters. Do not read it as ADM's
# result: another data set, a thousandth of the training.
#
# ## Attention: every pixel asks every pixel
#
# At the bottom of the U each pixel already stands for a piece of the image. Now let the pieces talk directly. In *attention* each
# pixel sends a *query* $q$ and offers a *key* $k$ and a *value* $v$, all linear maps of its channels. It receives the average of all values,
# weighted by how well its query fits each key:
#
# $$\text{attention}(q, k, v) = \text{softmax}\Big(\frac{q\,k^\top}{\sqrt d}\Big)\,v .$$
#
# The softmax runs over the keys, so that the weights of each query sum to 1; $d$ is the length of $q$ and $k$. Without the root the
# scores grow like $\sqrt d$, and the softmax picks one winner and has no gradient left.
#
# ### Exercise 4.6: attention
#
# *Difficulty 3 of 5, fifteen minutes.*
#
# Write the formula for batches: `q` has X queries and `k` has M keys of length d, `v` a value of length e for each key.
#
# <details><summary>Hint 1</summary><code>k.transpose(1, 2)</code> has shape (N, d, M); <code>@</code> multiplies matrices batch by batch.</details>
# <details><summary>Hint 2</summary><code>torch.softmax(scores, dim=-1)</code> is over the last axis, the keys.</details>

# %% tags=["exercise"]
def attention(q, k, v):
    """q (N, X, d), k (N, M, d), v (N, M, e) -> (N, X, e)."""
    # BEGIN SOLUTION
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
    return torch.softmax(scores, dim=-1) @ v
    # END SOLUTION

# %% tags=["check"]
the_unet.attention(attention)

# %% tags=["fallback"]
attention = or_library(attention, F.scaled_dot_product_attention)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *k is not transposed* | `q @ k`, or a `reshape`: it gives the right shape and the wrong numbers |
# | *over the queries*, *over the batch* | the softmax along another axis. `F.softmax` without `dim` takes the batch here |
# | *You divide by the root of ...* | the size of another axis: $d$ is the last of `q` |
# | *Large scores overflow* | `exp` by hand |
#
# [One way to solve it](solutions/04_the_unet.ipynb). Should look like: `[x] 4.6 attention: right.`
#
# The library's block is this, with a norm before, a convolution after (that starts at zero), and its input added. It
# may use several *heads*: the channels are split, each part has queries and keys of its own, and can look elsewhere.

# %%
torch.manual_seed(0)
layer = SelfAttention(32, heads=1, groups=8, eps=1e-6)
nn.init.xavier_uniform_(layer.project.weight)
q, k, v = (x[:, 0] for x in layer.queries_keys_values(h))  # the only head: (4, 64 pixels, 32)
mixed = attention(q, k, v).transpose(1, 2).reshape(h.shape)
same("the library's block", layer(h).detach(), "h + project(attention(q, k, v))", (h + layer.project(mixed)).detach(), 1e-5)

# %% [markdown]
# What does a trained head look at? We watch the attention of the clothes network at 7 x 7, its lower level, for one query pixel, marked in orange.

# %%
layer, seen = fashion.down[1].blocks[0].attend, {}
watch = layer.register_forward_pre_hook(lambda module, inputs: seen.update(h=inputs[0]))
t = torch.full((10,), 300)
x_t = q_sample(chain, clothes, t, torch.randn(clothes.shape, generator=generator(2)))
with torch.no_grad():
    denoise(x_t, t)
    q, k, _ = layer.queries_keys_values(seen["h"])
    looks = weights(q, k)[:, 0]  # (10, 49, 49): the query's pixel, the key's pixel
watch.remove()
query = 3 * 7 + 3  # the middle
same("weights of each query", looks.sum(-1), "1", torch.ones(10, 49), 1e-5)
largest = looks[:, query].max(1).values
print(f"an even look would give each pixel {1 / 49:.3f}; the largest weights are above that: {bool((largest > 1 / 49).all())}")

# %%
figure, axes = plots.picture(11, 2.5, 2, 10)
for i, (above, below) in enumerate(zip(axes[:10], axes[10:], strict=True)):
    above.imshow(x_t[i, 0], cmap="gray", vmin=-1.5, vmax=1.5)
    below.imshow(looks[i, query].view(7, 7), cmap="cividis", vmin=0)
    below.plot(3, 3, "s", markersize=10, markerfacecolor="none", markeredgecolor="black", markeredgewidth=3.5)
    below.plot(3, 3, "s", markersize=10, markerfacecolor="none", markeredgecolor=plots.COLOURS[1], markeredgewidth=2)
    above.set_axis_off(), below.set_axis_off()
near = looks[:, query].view(10, 7, 7)[:, 2:5, 2:5].sum((1, 2))
print(f"below: {looks.shape[-1]} weights of the pixel in the middle, dark: 0; share on the 3 x 3 pixels around it:")
print(" ".join(f"{share:.1f}" for share in near))
figure

# %% [markdown]
# *What to see: the middle looks at the garment that it is part of, and hardly at the ground: up and down a dress, along a shoe. A few bright spots give it the most; in three of the ten they are mostly not its
# nearest neighbours. (Each panel has a scale of its own.)* Pixels of one garment are alike, so together they say better how bright each should be. (So it is with this head of this network;
# another training may find another use for it.)
#
# ### What it costs
#
# Each pixel asks each: the table of weights has (pixels)$^2$ entries. From 16 x 16 to 32 x 32 that is 16 times as many. This
# is why attention stands at the lower levels only.

# %%
for side in (8, 16, 32, 64, 256):
    print(f"{side:3d} x {side:3d}: {side**4:13,} weights a head and image, {4 * side**4 / 2**20:9.2f} MiB in float32")

# %% [markdown]
# ### How far does the network see, with and without?
#
# We ask the gradient: on which pixels does the pixel in the middle of the output depend? (The norms are taken out first. They compute means over
# the whole image, and by that alone every pixel depends a little on every other.)

# %%
def sight(multipliers, blocks, attends, size=96):
    """By which input pixels the middle output pixel changes: |gradient|, (size, size), of random weights."""
    config = models.UNetConfig(channels=1, width=16, groups=8, multipliers=multipliers, blocks=blocks, attention=())
    net, x = models.UNet(config).eval(), torch.randn(1, 1, size, size, generator=generator(0)).requires_grad_()
    if not attends:
        net.middle[0].attend = None  # the only one: DDPM's middle always has it
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.GroupNorm):
                setattr(module, name, nn.Identity())
    for p in net.parameters():
        nn.init.normal_(p, std=0.05, generator=generator(p.numel()))
    net(x, torch.tensor([500]))[0, 0, size // 2, size // 2].backward()
    return x.grad[0, 0].abs()

# %%
rivals = {"one size": ((1,), 2, False), "two sizes": ((1, 1), 1, False), "two sizes, attention": ((1, 1), 1, True)}
figure, axes = plots.picture(9.5, 3.3, 1, 3)
for ax, (name, how) in zip(axes, rivals.items(), strict=True):
    field = sight(*how)
    seen = (field > 0).nonzero()
    high, wide = (seen.max(0).values - seen.min(0).values + 1).tolist()
    print(f"{name}: sees {high} x {wide} of 96 x 96 pixels")
    ax.imshow(torch.where(field > 0, field / field.max(), torch.nan).log10(), cmap="cividis", vmin=-8, vmax=0)
    ax.set(title=f"{name}: {high} x {wide}", xticks=[], yticks=[], facecolor="0.85")
figure

# %% [markdown]
# *What to see: the output pixel in the middle depends on the coloured pixels, strongly on the bright ones (logarithm); grey: not at all.* The
# network with two sizes has a few more convolutions, but only half of them at full size, and sees nearly twice as far. With attention at the bottom, everything is in sight,
# if faintly: these networks are not trained.

# %% [markdown]
# ### And the time as a query?
#
# One sometimes reads that the time enters by attention, with $t$ as the query. It cannot: one query gives one answer, and each pixel
# needs its own. Where attention reads something from outside (*cross-attention*, for text), the *pixels* ask and the words answer. And
# if there were only one word, such as a single time vector? Then the softmax over one key is 1, whatever the query, and all that is left is to add the same
# vector everywhere: what exercise 4.4 does.

# %%
torch.manual_seed(0)
read = CrossAttention(32, token_width=128, heads=4, groups=8, eps=1e-6)
nn.init.xavier_uniform_(read.project.weight)
one = told[:, None]  # (4, 1, 128): one token
added = read.project(read.v(one).transpose(1, 2)[..., None])[..., 0, 0]  # (4, 32): one number a channel
same("cross-attention with one token", read(h, one).detach(), "h + one number a channel", tell_time(h, added).detach(), 1e-5)

# %% [markdown]
# ## Where it all goes
#
# The library counts without computing, on torch's *meta* device, whose tensors have a shape and no numbers. So DDPM's network, or one of
# half a billion parameters, can be planned on a laptop. FLOPs are floating point operations of the forward pass; *saved* is what must be kept
# in memory until the backward pass, in float32, weights not counted. Both are for 16 images.

# %%
plan = summary(cifar10, 32, batch=16)
print(plan)

# %% [markdown]
# FLOPs and memory are where the pixels are many, at the two upper sizes. Parameters are where the channels are many, everywhere but at the top:

# %%
for side in (32, 16, 8, 4):
    rows = [stage for stage in plan.stages if stage.shape[1:] == (side, side)]
    shares = [sum(getattr(r, kind) for r in rows) / getattr(plan, kind) for kind in ("parameters", "flops", "saved")]
    print(f"{side:2d} x {side:2d}: {shares[0]:4.0%} of the parameters, {shares[1]:4.0%} of the FLOPs, {shares[2]:4.0%} of the memory")

# %% [markdown]
# ## Gradient checkpointing: memory for time
#
# Training keeps every intermediate result for the backward pass. Often that is the limit, not the parameters. The way out: keep a few,
# and compute the others a second time when they are needed (Chen et al., 2016).
#
# Take a chain of $n$ equal layers, cut into $k$ segments. Kept are the $k$ results at the cuts, and, while one segment is worked on, its
# $n/k$ results: $k + n/k$ together. The price is one more forward pass.
#
# ### Exercise 4.7: how many checkpoints?
#
# *Difficulty 1 of 5, five minutes.*
#
# Return a $k$ from 1 to $n$ that makes $k + \lceil n/k \rceil$ smallest.
#
# <details><summary>Hint 1</summary>Try them all: n is small.</details>
# <details><summary>Hint 2</summary><code>-(-n // k)</code> is n / k, rounded up; <code>min(..., key=...)</code>.</details>

# %% tags=["exercise"]
def best_checkpoints(n):
    """A number of segments k, 1 <= k <= n, with the least k + ceil(n / k)."""
    # BEGIN SOLUTION
    sums = {k: k + -(-n // k) for k in range(1, n + 1)}
    return min(sums, key=sums.get)
    # END SOLUTION

# %% tags=["check"]
the_unet.best_checkpoints(best_checkpoints)

# %% tags=["fallback"]
best_checkpoints = or_library(best_checkpoints, checkpointing.best_segments)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *n / k is rounded down* | `n // k` forgets the layers that are left over |
# | *That is the least memory* | the smallest sum was returned, not the k that it belongs to |
# | *For n = 1 nothing is left*, *k begins at 1* | `range` begins at 0 and stops before its end |
#
# [One way to solve it](solutions/04_the_unet.ipynb). Should look like: `[x] 4.7 how many checkpoints: right.`
#
# Now with torch. 64 convolutions in a chain, cut into $k$ segments; `peak_bytes` watches every tensor of a forward and backward pass and returns the most
# that was alive at once (on the meta device: nothing is computed).

# %%
with torch.device("meta"):
    chain = [nn.Conv2d(8, 8, 3, padding=1) for _ in range(64)]
    start = torch.zeros(16, 8, 32, 32)

def peak(k):
    """Peak memory of forward and backward in k segments, in results of one layer."""
    segments = [nn.Sequential(*chain[i : i + 64 // k]) for i in range(0, 64, 64 // k)]

    def work():
        h = start
        for segment in segments:
            h = checkpoint(segment, h, use_reentrant=False)
        h.sum().backward()

    return peak_bytes(work) / (start.numel() * 4)

# %%
ks = torch.tensor([1, 2, 4, 8, 16, 32, 64])
measured = torch.tensor([peak(int(k)) for k in ks])
print("k:       ", *(f"{k:4d}" for k in ks.tolist()))
print("measured:", *(f"{m:4.0f}" for m in measured))
print("k + 64/k:", *(f"{k + 64 // k:4d}" for k in ks.tolist()), f"  smallest at k = {best_checkpoints(64)}")
plots.curves(ks, {"measured": measured, "k + n / k": ks + 64 / ks}, "segments k", "memory, in results of a layer")

# %% [markdown]
# *What to see: the measured curve follows the formula; 8 segments need 16 results where one segment needs 65.* The best $k$ is $\sqrt n$, with about $2\sqrt n$
# kept. (It is sometimes said that checkpointing makes memory constant. It does not: from 16 layers to 256 it goes
# from 8 to 32.)
#
# In a U-Net each block is a segment. Skips must be kept anyway. One can also choose *what* is computed twice: the results of
# convolutions and matrix products are costly and are kept, the rest is cheap (`enable_selective`). Here is what each choice
# saves, and what it costs in arithmetic:

# %%
with torch.device("meta"):
    net = models.unet_cifar10()
kept, work = summary(net, 32, 16).saved, training_flops(net, 32)
for name, switch in (("everything kept", checkpointing.disable), ("products kept", checkpointing.enable_selective),
                     ("blocks with attention twice", lambda net: checkpointing.enable(net, checkpointing.with_attention)),
                     ("every block twice", checkpointing.enable)):
    switch(net)
    saved, more = summary(net, 32, 16).saved, training_flops(net, 32) / work
    print(f"{name:28s} {saved / 2**20:4.0f} MiB for 16 images ({saved / kept:4.0%}), FLOPs of a step {more:4.0%}")

# %% [markdown]
# For a fifth of the memory a step takes about a quarter more arithmetic. Or keep the products: a bit more than half the memory, for no arithmetic to speak of.
# (The backward pass counts twice the forward pass, so one more forward pass is a third more at most.)
#
# The gradients are the same, to the last bit, also with dropout: torch restores the random generator before it computes a block again.

# %%
small = models.UNet(replace(models.DIGITS, classes=None, dropout=0.5))
for p in small.parameters():
    nn.init.normal_(p, std=0.05, generator=generator(0))
found = []
for switch in (checkpointing.disable, checkpointing.enable, checkpointing.enable_selective):
    switch(small), small.zero_grad(), torch.manual_seed(1)
    small(images[:8], torch.arange(1, 9)).square().sum().backward()
    found.append(torch.cat([p.grad.flatten() for p in small.parameters()]))
same("gradients, everything kept", found[0], "every block twice", found[1], 0)
same("gradients, everything kept", found[0], "products kept", found[2], 0)

# %% [markdown]
# ## What the papers used
#
# Statements about "the" diffusion network are easily made and rarely checked. Here are the networks of three papers, from their
# published code, as this package builds them:

# %%
papers = (
    ("DDPM, CIFAR-10", models.CIFAR10, 32), ("improved DDPM, CIFAR-10", models.IMPROVED_CIFAR10, 32),
    ("improved DDPM, ImageNet", models.IMPROVED_IMAGENET64, 64), ("ADM, ImageNet", models.ADM_IMAGENET64, 64),
    ("ADM, ImageNet", models.ADM_IMAGENET256, 256),
)
for name, config, size in papers:
    widths = [config.width_at(level) for level in range(config.levels)]
    looks = [size // 2**level for level in config.attention]
    plan = summary(config, size)
    print(f"{name:24s} {size:3d} pixels, {plan.parameters / 1e6:5.1f} M: channels {widths[0]} to {widths[-1]}, "
          f"attention at {looks}, told in {4 * config.width}, {config.told}")

# %% [markdown]
# Against this list, what an article that this course follows says of DDPM's U-Net:
#
# | Claim | What the code says |
# |---|---|
# | channels from 64 to 1280 | none of these; DDPM has 128 to 256 on CIFAR-10 |
# | time embedding of 512 dimensions | half right: 128 waves, and two layers make 512 numbers of them |
# | attention at 32 x 32 and 16 x 16 | DDPM: at 16 x 16, and in the middle; ADM at 32, 16 and 8. At 32 its table of weights is 16 times as large as at 16 |
# | the time enters by AdaGN and cross-attention | DDPM adds it. AdaGN came with improved DDPM; none of these attends to the time |
# | checkpointing makes memory constant | $2\sqrt n$ at best, for one more forward pass |

# %% [markdown]
# ## Explore
#
# Build a network with the sliders. The diagram is drawn from the network itself; the bars say where parameters, FLOPs and memory go. Three
# things to try:
#
# 1. Set attention to all levels, then to none (the middle always has it). How much do parameters, FLOPs and memory change, and at which level?
# 2. Double the width. By what factor do the parameters grow, and by what the memory?
# 3. Image size 256, batch 16: find a way to stay below 2 GiB (patches, checkpointing).
#
# <details><summary>What you should find</summary>2: four times the parameters, twice the memory. 3: with every block computed twice, 2 x 2 patches still need more than 2 GiB, 4 x 4 patches need 0.6.</details>

# %%
explorer = widgets.block_explorer()
print(f"DDPM's network at 32 x 32: {summary(cifar10, 32).parameters:,} parameters")
explorer

# %% [markdown]
# ## What people get wrong
#
# *The other way round, from what you see to its cause, for the whole course: [errors and symptoms](../docs/errors.md).*
#
# **A block from memory.** Its layers are soon written down. In which order they are called is where blocks go wrong, and nothing stops then: the shapes fit, and
# the network trains, to a higher loss.
#
# ### Exercise 4.8: find the bugs: a residual block
#
# *Difficulty 3 of 5, fifteen minutes.*
#
# `layers` has the layers of a block, by name. This function calls them, and has four mistakes:

# %%
def careless_block(layers, x, told):
    h = F.silu(layers.norm1(x))
    branch = layers.norm2(F.silu(layers.conv1(h)))
    branch = layers.conv2(F.dropout(branch, 0.1))
    shift = layers.time(F.silu(told))[:, :, None, None]
    return layers.shortcut(h) + branch + shift

block = resblock.ResBlock(32, 32, 128, "add", groups=8, eps=1e-6, dropout=0.1).eval()
print(unet_answers.Layers(block))  # the block's own, in alphabetical order

# %% [markdown]
# Three of the four show in what it does:

# %%
def symptoms(build):
    """Three things to ask of any residual block: of a new one, then of one whose last convolution is awake."""
    torch.manual_seed(0)
    layers = unet_answers.Layers(resblock.ResBlock(32, 32, 128, "add", groups=8, eps=1e-6, dropout=0.1)).eval()
    def ask(told, seed=1):
        torch.manual_seed(seed)
        with torch.no_grad():
            return build(layers, h, told)
    print(f"a new block changes its input by up to {(ask(told) - h).abs().max():.2f}")
    nn.init.xavier_uniform_(layers.conv2.weight)
    print(f"asked twice the same, its answers differ by up to {(ask(told) - ask(told, 2)).abs().max():.2f}")
    change = ask(told.flip(0)) - ask(told)  # what another time changes, pixel by pixel
    print(f"what another time changes differs between pixels by up to {(change.amax((2, 3)) - change.amin((2, 3))).max():.2f}")

symptoms(careless_block)

# %% [markdown]
# The first two should be 0. The third should not: a number that is added at the end shifts all pixels alike, and what the block *does* to the image would not depend on the time.
#
# Write `mended_block`: DDPM's block, from the same layers.
#
# <details><summary>Hint 1</summary>What does the skip carry? Which of <code>F.dropout</code> and <code>layers.dropout</code> knows whether the layer is in training or evaluation mode? Where does the time come in?</details>
# <details><summary>Hint 2</summary>For the fourth go through the four steps under "The residual block", word by word: "normalise, SiLU, convolution".</details>

# %% tags=["exercise"]
def mended_block(layers, x, told):
    """x (N, C, H, W), told (N, e) -> the result of DDPM's residual block."""
    # BEGIN SOLUTION
    h = layers.conv1(F.silu(layers.norm1(x)))
    h = h + layers.time(F.silu(told))[:, :, None, None]
    h = layers.conv2(layers.dropout(F.silu(layers.norm2(h))))
    return layers.shortcut(x) + h
    # END SOLUTION

# %% tags=["check"]
the_unet.mended_block(mended_block)

# %% tags=["fallback"]
mended_block = or_library(mended_block, unet_answers.mended_block)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *Asked twice the same* | `F.dropout` drops also where nothing is trained, unless it is told not to |
# | *Two things*, *Three things* | the check puts the layers together in every way that it knows, and names what is left |
# | *In training nothing is dropped* | dropout was thrown out with its bug |
# | *The number of channels changes here* | `x` was added as it is, in place of `layers.shortcut(x)` |
#
# [One way to solve it](solutions/04_the_unet.ipynb). Should look like: `[x] 4.8 find the bugs: a residual block: right.` The three symptoms again, and the library's block:

# %%
symptoms(mended_block)
nn.init.xavier_uniform_(block.conv2.weight)
mended = mended_block(unet_answers.Layers(block), h, told)
same("the mended block", mended.detach(), "the library's", block(h, told).detach(), 1e-5)

# %% [markdown]
# **`reshape` where a transpose belongs.** Attention wants one row of channels for each pixel, (N, pixels, C); the image is (N, C, H, W). Both lines give that shape. Three pixels with two channels, the second
# channel ten times the first:

# %%
image = torch.tensor([[1, 2, 3], [10, 20, 30]]).view(1, 2, 1, 3)
print("transposed, a row for each pixel:", image.flatten(2).mT[0].tolist())
print("reshaped, pixels mixed:          ", image.reshape(1, 3, 2)[0].tolist())

# %% [markdown]
# **Waves that go to the wrong sample.** The embedding is built as a table of N rows. Stack sines and cosines in another order and reshape, and the
# shape is right, while the numbers of one time stand in the row of another:

# %%
t = torch.tensor([10, 500, 990])
angles = t[:, None] * 10_000.0 ** (-torch.arange(4) / 3)
scrambled = torch.stack([angles.sin(), angles.cos()]).reshape(3, 8)
print("shape as it should be:", scrambled.shape == models.sinusoidal(t, 8).shape)
alone = models.sinusoidal(t[:1], 8)[0]
print("row of t = 10 as if it were alone:", bool(torch.allclose(scrambled[0], alone, atol=1e-3)))

# %% [markdown]
# A network can even be trained with it, as each row is some function of *all* times of the batch. It fails when it samples, where all times are equal.
# The test that finds it: an image's result must not depend on its neighbours.
#
# **Checkpointing that draws dropout anew.** If the generator is not restored, the block that is computed again is another block:

# %%
torch.manual_seed(0)
layer, x = nn.Sequential(nn.Linear(50, 50), nn.Dropout(0.5)), torch.randn(8, 50)
gradients = []
for restore in (True, False):
    torch.manual_seed(1), layer.zero_grad()
    out = checkpoint(layer, x, use_reentrant=False, preserve_rng_state=restore)
    torch.rand(1)  # anything that draws a number between the two passes
    out.square().sum().backward()
    gradients.append(layer[0].weight.grad.clone())
print("same gradient without restoring:", bool(torch.equal(*gradients)))

# %% [markdown]
# No error: training goes on with gradients that belong to no loss. A widely used code base did this for years.
#
# **A size that cannot be halved.** 28 = 4 x 7 can be halved twice. Four levels halve three times, and something must give:

# %%
try:
    models.UNet(models.UNetConfig(channels=1))(torch.zeros(1, 1, 28, 28), torch.tensor([1]))
except ValueError as problem:
    print(type(problem).__name__, "-", problem)

# %% [markdown]
# **Heads that do not divide.** Some libraries round, and the network silently has fewer channels in attention than it should:

# %%
try:
    models.UNetConfig(heads=None, head_width=96)
except ValueError as problem:
    print(type(problem).__name__, "-", problem)

# %% [markdown]
# **A time that is not a time.** `t` as a float (a share of T), or from a longer schedule. Many networks embed whatever they get:

# %%
for wrong in (torch.tensor([0.5]), torch.tensor([4000])):
    try:
        unet(images[:1], wrong, labels=no_label[:1])
    except ValueError as problem:
        print(type(problem).__name__, "-", problem)

# %% [markdown]
# ## Five questions
#
# Answer by mouse or keyboard: every option says why it is right or wrong. What you have solved so far, here and in the
# other lessons, `python -m ddpm_edu progress` shows (it stays on this machine).

# %%
widgets.quiz("04_the_unet")

# %% [markdown]
# ## What to read next
#
# - Ho, Jain and Abbeel, *Denoising Diffusion Probabilistic Models* (2020), appendix B: the network, in one paragraph.
# - Nichol and Dhariwal, *Improved Denoising Diffusion Probabilistic Models* (2021), appendix A; Dhariwal and Nichol, *Diffusion Models Beat
#   GANs on Image Synthesis* (2021), section 3: what was changed, one part at a time, with numbers.
# - Ronneberger, Fischer and Brox, *U-Net* (2015): where the shape comes from.
# - Chen, Xu, Zhang and Guestrin, *Training Deep Nets with Sublinear Memory Cost* (2016), section 4.
# - Sun et al., *Is Noise Conditioning Necessary for Denoising Generative Models?* (2025).
#
# **Next:** [05 Sampling](05_sampling.ipynb): from noise back to data.
# [Back to the start](00_start_here.ipynb).
