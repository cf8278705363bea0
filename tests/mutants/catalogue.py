"""All mutants, by part of the package."""

from tests.mutants import Mutant, in_core, in_data, in_forward, in_metrics, in_models, in_sampling, in_schedules

ALL: tuple[Mutant, ...] = (
    *in_forward.MUTANTS,
    *in_schedules.MUTANTS,
    *in_core.MUTANTS,
    *in_sampling.MUTANTS,
    *in_data.MUTANTS,
    *in_models.MUTANTS,
    *in_metrics.MUTANTS,
)
