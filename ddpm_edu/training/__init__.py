"""Training: a configuration in, a folder with checkpoints, a log and weights out; and a loop for lessons.

- the loop: :mod:`loop`, its randomness :mod:`draws`, its state and how it is found again :mod:`state`
- what it stands on: :mod:`config` and :mod:`presets`, :mod:`image_sets`, :mod:`checkpoint`, :mod:`ema`,
  :mod:`precision`, :mod:`distributed`, :mod:`alone`, :mod:`interruptions`, :mod:`meter`
- what it hands over: :mod:`weights`, and averages of another length, :mod:`posthoc`
- before and while it runs: :mod:`planner` (what it will need) and :mod:`plan_text`; :mod:`live` and :mod:`tensorboard`
- where a network does not fit on one GPU: :mod:`sharded`
- for lessons, in the length of a page: :func:`fit`
"""

from ddpm_edu.training import checkpoint, ema, live, plan_text, planner, posthoc, presets, tensorboard
from ddpm_edu.training.config import TrainConfig
from ddpm_edu.training.fit import History, fit
from ddpm_edu.training.loop import Report, train
from ddpm_edu.training.randomness import generator

__all__ = [
    "History",
    "Report",
    "TrainConfig",
    "checkpoint",
    "ema",
    "fit",
    "generator",
    "live",
    "plan_text",
    "planner",
    "posthoc",
    "presets",
    "tensorboard",
    "train",
]
