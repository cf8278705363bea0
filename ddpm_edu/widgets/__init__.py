"""What the learner moves. State and drawing are apart: the drawing is tested without a front end."""

from ddpm_edu.widgets.block_explorer import block_explorer
from ddpm_edu.widgets.bound_explorer import bound_explorer, by_doubling
from ddpm_edu.widgets.denoising_explorer import denoising_explorer
from ddpm_edu.widgets.dissolve import dissolve
from ddpm_edu.widgets.metric_explorer import metric_explorer
from ddpm_edu.widgets.player import player
from ddpm_edu.widgets.playground import playground
from ddpm_edu.widgets.quiz import quiz
from ddpm_edu.widgets.sampling_explorer import sampling_explorer
from ddpm_edu.widgets.schedule_curves import schedule_curves
from ddpm_edu.widgets.schedule_explorer import schedule_explorer
from ddpm_edu.widgets.training_dashboard import training_dashboard
from ddpm_edu.widgets.training_planner import training_planner

__all__ = [
    "block_explorer",
    "bound_explorer",
    "by_doubling",
    "denoising_explorer",
    "dissolve",
    "metric_explorer",
    "player",
    "playground",
    "quiz",
    "sampling_explorer",
    "schedule_curves",
    "schedule_explorer",
    "training_dashboard",
    "training_planner",
]
