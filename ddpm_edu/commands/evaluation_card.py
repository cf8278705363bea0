"""The card that ``evaluate`` prints: its numbers, and beside them all that they depend on."""

from __future__ import annotations

from typing import Any

SET, WIDTH = 24, 14  # columns of the table
ROWS = {
    "frechet": ("Frechet distance", ".4f"),
    "kernel": ("kernel distance", ".5f"),
    "precision": ("precision", ".3f"),
    "recall": ("recall", ".3f"),
    "sliced_wasserstein": ("sliced Wasserstein", ".5f"),
    "agreement": ("agreement of labels", ".3f"),
}


def card(found: dict[str, Any]) -> str:
    """The dictionary of ``evaluation.evaluate`` as lines."""
    return "\n".join([*_sets(found), "", *_table(found), "", *_nearest(found["nearest"]), "", *_notes(found)])


def fact(about: dict[str, Any], name: str) -> str:
    """What a file says of itself, as a word."""
    value = about.get(name, "not known")
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _sets(found: dict[str, Any]) -> list[str]:
    samples, real, protocol = found["samples"], found["reference"], found["protocol"]
    told = {name: fact(samples["about"], name) for name in ("checkpoint", "average", "weights_sha256", "torch")}
    how = [f"{name} {fact(samples['about'], name)}" for name in ("steps", "guidance", "eta", "clip", "seed", "label")]
    height, width, channels = samples["size"]
    seen = "seen in training: the package's networks were trained on them"
    if not real["seen_in_training"]:
        seen = "not seen in training by the package's networks"
    return [
        f"samples    {samples['images']:,} images of {height} x {width} x {channels}, {samples['file']}",
        f"  weights  {told['checkpoint']}, sha256 {told['weights_sha256'][:16]}, average (EMA) {told['average']}",
        f"  sampler  {fact(samples['about'], 'method')}, {', '.join(how)}",
        f"  made by  ddpm_edu {fact(samples['about'], 'ddpm_edu')}, torch {told['torch']}",
        f"reference  {real['images']:,} images of {real['name']} ({real['split']}), {seen}",
        f"real       {real['kept_out']:,} other images of {real['name']} ({real['split']}), kept out of the reference",
        f'features   "{protocol["extractor"]}", sha256 {protocol["extractor_sha256"][:16]}',
        f"images     resize {protocol['resize']}, rounding {protocol['rounding']}, flips {protocol['flips']}",
        f"measured   with seed {protocol['seed']}, ddpm_edu {protocol['ddpm_edu']}, torch {protocol['torch']}",
    ]


def _table(found: dict[str, Any]) -> list[str]:
    samples, real = found["numbers"]["samples"], found["numbers"]["real"]
    floor, interval = found["floor"], found["interval"]
    lines = [
        f"{'':{SET}}{'samples':>{WIDTH}}{'real':>{WIDTH}}",
        f"{'images':{SET}}{samples['n']:>{WIDTH},}{real['n']:>{WIDTH},}",
    ]
    for name, (title, form) in ROWS.items():
        lines.append(f"{title:{SET}}{_cell(samples[name], form):>{WIDTH}}{_cell(real[name], form):>{WIDTH}}")
        if name == "frechet":
            ends = f"{interval['level']:.0%} interval: {interval['low']:.4f} .. {interval['high']:.4f}"
            lines.append(f"  {ends}, from {interval['repeats']} resamplings of the samples")
            value = f"floor: {floor['mean']:.4f} +- {floor['spread']:.4f}"
            lines.append(f"  {value}, from {floor['repeats']} choices of {floor['n']:,} real images")
    return lines


def _cell(value: float | None, form: str) -> str:
    return "not known" if value is None else format(value, form)


def _nearest(found: dict[str, Any]) -> list[str]:
    line = (
        f"nearest of {found['training_images']:,} training images, in pixels, to {found['images']:,} samples: "
        f"median distance {found['median']:.3f}"
    )
    if found["shares"] is None:
        return [
            f"{line} (real to reference: {found['median_real']:.3f})",
            "  No image is left that the networks were not trained on: whether samples are copies cannot be tested.",
        ]
    tests = (
        f"  by {name}: {test['share']:.1%} are nearer than {test['expected']:.1%} of real images are that nobody "
        f"trained on (p = {test['p_value']:.2g})"
        for name, test in found["shares"].items()
    )
    return [line, *tests]


def _notes(found: dict[str, Any]) -> list[str]:
    n, kept, protocol = found["samples"]["images"], found["reference"]["kept_out"], found["protocol"]
    most = protocol["most_images_for_pairs"]
    lines = [
        "Frechet: squared units of the features, not FID; biased by about 1/n, so compare equal numbers only.",
        f"Floor: what {kept:,} real images get, mean and standard deviation. Interval: what {n:,} other samples would.",
        f"Kernel: cubic, no bias, may be negative. With precision and recall: of the first {most:,} images of a set.",
        f"Precision, recall: shares in 0..1, balls to the neighbour number {protocol['neighbours']}.",
        f"Sliced Wasserstein: {protocol['projections']} directions, pixels in [-1, 1].",
        "Agreement: how often the classifier finds the label; of real images, its own accuracy.",
    ]
    if kept < n:
        lines += [
            f"NOT EQUAL: {kept:,} real images could be kept out beside {n:,} samples, so real and the floor are larger",
            "for that alone.",
        ]
    if found["numbers"]["samples"]["frechet"] < found["floor"]["mean"] - found["floor"]["spread"]:
        lines += [
            "BELOW THE FLOOR: no sampler is better than real images. Usual cause: the reference was trained on, or",
            "classes come in turn (label all) and so vary less than by chance.",
        ]
    return lines
