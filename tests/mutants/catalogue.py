"""All mutants, by part of the package."""

from tests.mutants import (
    Mutant,
    in_core,
    in_data,
    in_forward,
    in_grids,
    in_metrics,
    in_models,
    in_sampling,
    in_sampling_more,
    in_schedules,
    in_solvers,
    in_steps,
)

ALL: tuple[Mutant, ...] = (
    *in_forward.MUTANTS,
    *in_schedules.MUTANTS,
    *in_core.MUTANTS,
    *in_sampling.MUTANTS,
    *in_sampling_more.MUTANTS,
    *in_grids.MUTANTS,
    *in_solvers.MUTANTS,
    *in_steps.MUTANTS,
    *in_data.MUTANTS,
    *in_models.MUTANTS,
    *in_metrics.MUTANTS,
)
