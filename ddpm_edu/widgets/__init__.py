"""What the learner moves. State and drawing are apart: the drawing is tested without a front end."""

from ddpm_edu.widgets.dissolve import dissolve
from ddpm_edu.widgets.schedule_explorer import schedule_explorer

__all__ = ["dissolve", "schedule_explorer"]
