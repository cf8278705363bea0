"""Estimates of :mod:`ddpm_edu.training.planner` for a reader."""

from ddpm_edu.training.planner import COMPILED, EAGER, LAUNCH_EAGER, Plan, size

NAMES, WIDTHS = ("weights", "gradients", "Adam", "averages", "saved", "together"), (10, 11, 8, 10, 9, 10)


def table(plans: list[Plan]) -> str:
    """Estimates of one configuration on several devices, as text. Memory in GB, 10^9 bytes."""
    config, found = plans[0].config, plans[0].cost
    pixels = f"{size(config)} x {size(config)} pixels"
    lines = [
        "ESTIMATES: nothing was trained, and a real run may take half or three times as long.",
        f"network   {found.parameters:,} parameters",
        f"an image  {pixels}, {found.flops_per_image / 1e9:,.2f} GFLOP forward and backward; {config.batch} a step",
        f"all       {config.steps:,} steps, {config.steps * config.batch / 1e6:,.2f} million images",
        "",
        f"{'memory in GB':14}" + "".join(f"{name:>{width}}" for name, width in zip(NAMES, WIDTHS, strict=True)),
    ]
    for m in dict.fromkeys(plan.cost.memory for plan in plans):
        precisions = dict.fromkeys(plan.precision for plan in plans if plan.cost.memory == m)
        cells = zip((m.weights, m.gradients, m.optimiser, m.averages, m.saved, m.total), WIDTHS, strict=True)
        lines.append(f"{', '.join(precisions):14}" + "".join(f"{size / 1e9:>{width}.2f}" for size, width in cells))
    head = f"{'device':22}{'precision':>10}{'memory':>17}{'images/s':>11}{'a step':>10}{'all':>11}   from"
    return "\n".join([*lines, "", head, *map(_row, plans), "", *_assumptions(plans)])


def _row(plan: Plan) -> str:
    verdict = "" if plan.fits is None else "fits" if plan.fits else "TOO SMALL"
    memory = "not known" if plan.room is None else f"{plan.room / 1e9:.0f} GB {verdict}"
    speed = f"{plan.images_per_second:,.0f}" if plan.images_per_second >= 10 else f"{plan.images_per_second:.2f}"
    step, everything = duration(plan.seconds_per_step), duration(plan.hours * 3600)
    return f"{plan.device:22}{plan.precision:>10}{memory:>17}{speed:>11}{step:>10}{everything:>11}   {plan.limit}"


def duration(seconds: float) -> str:
    """In the unit that suits: "4.2 ms", "1.5 s", "12.3 min", "6.7 h"."""
    for unit, length, below in (("ms", 1e-3, 1), ("s", 1, 120), ("min", 60, 7200)):
        if seconds < below:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds / 3600:,.1f} h"


def _assumptions(plans: list[Plan]) -> list[str]:
    lines = [
        f"Assumed: a step reaches {share:.0%} of the published dense peak (--utilisation sets it; it is {EAGER:.0%}, "
        f"{COMPILED:.0%} with compile=true),\n  or the host needs {LAUNCH_EAGER * 1e6:.0f} us an operation (a third of "
        "that with compile=true), whichever is longer."
        for share in dict.fromkeys(plan.utilisation for plan in plans if plan.utilisation is not None)
    ]
    if any(plan.limit == "measured" for plan in plans):
        lines.append("Measured: images/s of this CPU, in a few steps on noise.")
    return [*lines, "Not counted: the driver and kernels' work space (0.5 to 1 GB), the data set, samples, compiling."]
