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
# # Start here
#
# A diffusion model learns to undo noise. Show it a million pictures at every stage of dissolving, and it learns what
# pictures are; let it start from pure noise, and it makes new ones.
#
# This course builds one from the first equation to a trained model. Every equation is a Python function, every function
# is tested against an answer known by other means, and you write the important ones yourself.
#
# **After this page you will**
#
# - know what the course contains and what it asks of you,
# - know that your installation works, or what to mend,
# - have dissolved a photograph with your own hand, and solved your first exercise.
#
# *Ten minutes. Computing: 10 seconds on two CPU cores, 0.3 GB of memory (measured 2026-11-26). Every page runs on a laptop, without a GPU and without internet.*

# %% [markdown]
# ## Is everything in place?
#
# Run the next cell: click into it and press **Shift+Enter**. Each line should begin with `[ok]`; where one does not, it
# says what to do. (*Run > Run All Cells* runs the whole page.)

# %% tags=["nbval-ignore-output"]
from ddpm_edu import doctor

doctor.summary()

# %% [markdown]
# ## Two minutes of fun
#
# Move the slider: with the mouse, or click it once and use the arrow keys. At t = 0 there is only the photograph, at
# t = 1000 only noise, and the line above the picture gives the recipe for everything between.

# %%
from ddpm_edu import widgets

photo = widgets.dissolve(t=300)
print(f"standard deviation of all pixel values at t = 300: {photo.drawing.at(300).std():.2f}")
photo

# %% [markdown]
# *What to see: the face stays recognisable for a surprisingly long time. Fine detail goes first, the large shapes and
# the overall brightness go last. A model that walks this road backwards decides them in the opposite order: first the
# layout, then the detail.*
#
# Nothing was learned here yet. Going forwards is plain arithmetic, and it is the subject of the next notebook. Going
# back is what the rest of the course is about.
#
# ## The way back, before any training
#
# If all images there can be are known, the best guess of what is under the noise needs no network. It is an average of
# these images, each weighted by how likely it is to look like that under so much noise. Below it is used a hundred times
# in a row, from pure noise, on 1,797 handwritten digits of 8 x 8 pixels. (By notebook 05 you will have written its step
# yourself.)

# %%
import torch

from ddpm_edu import data, oracles, plots, sampling, schedules

digits, s = data.digits().model_range(), schedules.linear(1000)
guess, walk = oracles.FiniteDataset(digits).denoiser(s), []
g = torch.Generator().manual_seed(0)
made = sampling.sample(
    guess, s, (10, 1, 8, 8), steps=100, generator=g, callback=lambda step: walk.append(step["x"])
)
distance = torch.cdist(made.flatten(1), digits.flatten(1)).min(1).values
print(f"distance of the ten results from the nearest digit of the data: {distance.max():.3f} at most")
labels = [f"step {i} of 100" for i in range(1, 101)]
widgets.player(walk, labels, "ten digits out of noise", width=720)

# %% [markdown]
# *What to see: press Play, or move the slider. Ten times noise, and out of it ten digits. For most of the way nothing is
# to be seen: they appear in the last quarter.*
#
# The results are digits *of the data*, not new ones: whoever knows all the images by heart can only repeat them. A network
# of modest size does not learn them all by heart, and that is how it comes to make new ones. Teaching a network to make
# this guess is what the course is about.

# %% [markdown]
# ## How an exercise works
#
# An exercise is a function with a blank. You fill in the blank and run the cell, then the **check** below it:
#
# - blank untouched: it says *not yet*, and the page runs on;
# - something is wrong: it says what, and which mistake usually looks like that, and the page runs on with the library's
#   function;
# - right: you get a tick, and the page goes on **with yours**.
#
# The cell below the check, `or_library`, decides which of the two goes on. Hints are folded: try first. The [solutions edition](solutions/00_start_here.ipynb) of each page shows one way to do it.
# What you have solved is noted in one file on this machine; `exercises.progress()`, from `ddpm_edu`, shows it as a table.
#
# ### Exercise 0.1: two weights
#
# *Difficulty 1 of 5, three minutes.*
#
# Given the share of variance to `keep` from the image, return `a` and `b` (neither negative) so that `a * image + b * noise`
# has the share `keep` from the image and `1 - keep` from the noise.
#
# Image and noise are independent, so their variances add. If both have variance 1, the mixture has $a^2$ from the image
# and $b^2$ from the noise.
#
# <details><summary>Hint 1</summary>The squares must add up to 1, not the weights themselves.</details>
# <details><summary>Hint 2</summary>a² = keep. What is a? And b² = 1 - keep.</details>

# %% tags=["exercise"]
def two_weights(keep):
    """The weights (a, b) of image and noise: a^2 = keep, b^2 = 1 - keep. keep is a number from 0 to 1."""
    # BEGIN SOLUTION
    return keep**0.5, (1 - keep) ** 0.5
    # END SOLUTION

# %% tags=["check"]
from ddpm_edu.exercises import or_library, start_here

start_here.two_weights(two_weights)

# %% tags=["fallback"]
two_weights = or_library(two_weights, start_here.weights)

# %% [markdown]
# | What you see | Likely cause |
# |---|---|
# | *add up to 1, their squares do not* | the square roots are missing |
# | *the image's weight is right, the noise's is not* | `1 - keep**0.5`: first the difference, then the root |
# | *Are the two swapped?* | the first weight belongs to the image |
# | *Two numbers are expected* | no `return` (printing is not returning), or only one number |
#
# [One way to solve it](solutions/00_start_here.ipynb). Should look like: `[x] 0.1 two weights: right.`
#
# Your weights at work, on ever smaller shares of one digit:

# %%
noise = torch.randn(digits[0].shape, generator=g)
shares = [1.0, 0.9, 0.7, 0.5, 0.3, 0.1, 0.0]
weights = [two_weights(keep) for keep in shares]
mixed = torch.stack([a * digits[0] + b * noise for a, b in weights])
print("squares of the two weights add up to", [round(a**2 + b**2, 3) for a, b in weights])
plots.images(mixed, [f"keep {keep}" for keep in shares], size=1)

# %% [markdown]
# *What to see: a zero, and the same noise in growing measure. With only 64 pixels there is little to go by: at a share of
# one half the zero is all but gone. The photograph above, with more of them, holds out longer.*

# %% [markdown]
# ## The map
#
# | Notebook | What it is about |
# |---|---|
# | **00 Start here** | this page |
# | [01 Forward noising](01_forward_noising.ipynb) | data dissolving into noise: one step, all steps at once, schedules, and the step back when x_0 is known |
# | [02 The bound](02_the_bound.ipynb) | what is optimised and why; three terms, each computed and held to a known likelihood |
# | [03 The epsilon loss](03_the_epsilon_loss.ipynb) | from the bound to one line of code |
# | [04 The U-Net](04_the_unet.ipynb) | the network, block by block |
# | [05 Sampling](05_sampling.ipynb) | from noise back to data: every sampler, guidance, and what they cost |
# | [06 Is it any good?](06_is_it_any_good.ipynb) | what a loss does not tell, metrics and what each is blind to, copies, protocols |
# | [07 Train the full model](07_train_the_full_model.ipynb) | training for real: killed and resumed bit for bit, mixed precision, averaged weights |
#
# You need Python, some linear algebra, and the normal distribution; a short [primer](90_primer.ipynb) has what is used of
# Gaussians, Kullback-Leibler divergence and Jensen's inequality. Everything else is built on the way.
#
# **Conventions that never vary.** Time runs t = 1..T as in the papers, and t = 0 means clean. Images are numbers from
# -1 to 1, in batches of shape (N, C, H, W). Randomness comes from a generator that is passed in, so that every page
# gives the same result twice.
#
# **Next:** [01 Forward noising](01_forward_noising.ipynb).
