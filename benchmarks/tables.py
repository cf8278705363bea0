"""Turn benchmarks/results/*.json into the tables of docs/benchmarks.md and of the readme.

Usage: ``python benchmarks/tables.py`` writes the pages anew; the text between the tables is edited by hand. Each table
stands between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``, and comes from results/NAME.json with its date,
machine, versions and command. A result that is not there yet says so in the place of its table.
"""

import json
import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
RESULTS, PAGE, README = FOLDER / "results", FOLDER.parent / "docs" / "benchmarks.md", FOLDER.parent / "README.md"
VERSIONS = ("python", "torch", "diffusers", "denoising-diffusion-pytorch")
Result = dict[str, Any]


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]], numbers_from: int = 1) -> str:
    """A table; columns from ``numbers_from`` on are set flush right."""
    rule = ["---" if i < numbers_from else "---:" for i in range(len(head))]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in (head, rule, *rows))


def source(about: Result) -> str:
    """Where a table comes from, in one line."""
    versions = ", ".join(f"{name} {about[name]}" for name in VERSIONS if name in about)
    more = [f"{key}: {about[key]}" for key in ("threads", "rounds") if key in about]
    took = [f"took {about['seconds']:,} s"] if "seconds" in about else []
    return "*" + "; ".join([about["date"], about["machine"], *more, versions, *took, f"`{about['command']}`"]) + "*"


def spread(values: Sequence[float], digits: int) -> str:
    """Mean and standard deviation over seeds."""
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


# ---------------------------------------------------------------- beside the peers


def train_step(result: Result) -> str:
    """A table a size; ours as used comes first."""
    return "\n\n".join(_train_size(size, found) for size, found in result["results"].items())


def _train_size(size: str, found: Result) -> str:
    n, rows = found["shape"][0], found["rows"]
    ours = statistics.median(row["ours as used, seconds"] for row in rows)
    rate = rows[0]["flops of the architecture"] / ours
    peak = statistics.median(row["peak"] for row in rows)
    lines: list[Sequence[object]] = [
        ("ddpm_edu", "as used", f"{ours:.2f}", f"{n / ours:.1f}", f"{rate / 1e9:.0f}", f"{rate / peak:.0%}", "1")
    ]
    for row in rows:
        seconds, share, faster = row["seconds"], row["share of peak"], row["ours is faster"]
        measured = (f"{seconds:.2f}", f"{n / seconds:.1f}", f"{row['rate'] / 1e9:.0f}", f"{share:.0%}")
        lines.append((row["project"], row["way"], *measured, f"{faster:.2f}"))
    head = (
        "project",
        "how",
        "seconds a step",
        "images a second",
        "GFLOP/s",
        "of the bfloat16 peak",
        "ours is faster, times",
    )
    return f"{size}, batch {n}:\n\n" + markdown(head, lines, 2)


def gpu_step(result: Result) -> str:
    """A row a way, and beside it what the planner says without a GPU."""
    head = ("a step", "images a second", "as planned", "ms", "of the peak", "MB", "MB as planned")
    keys = ("images_per_second", "planned_images_per_second", "ms_per_step", "utilisation", "MB", "planned_MB")
    rows = [(row["way"], *(_cell(key, row.get(key)) for key in keys)) for row in result["rows"]]
    return markdown(head, rows)


def _cell(key: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1%}" if key == "utilisation" else f"{value:,.0f}"


def sampling_step(result: Result) -> str:
    """A row for each thing that is raced."""
    names = list(dict.fromkeys(name for entry in result["entries"] for name in entry["milliseconds"]))
    rows = []
    for entry in result["entries"]:
        ms, ratio = entry["milliseconds"], entry["times ours"]
        shown = [f"{ms[name]:.3g} ({ratio[name]:.2f})" if name in ms else "" for name in names]
        rows.append((entry["what"], entry["sampler"], *shown))
    return markdown(("what", "sampler", *(f"{name}, ms (times ours)" for name in names)), rows, 2)


def gaussian(result: Result) -> str:
    """The errors, a table a schedule; and which times 10 steps take, with what comes out."""
    entries, steps = result["entries"], result["data"]["steps"]
    parts = []
    for schedule in dict.fromkeys(entry["schedule"] for entry in entries):
        errors: dict[tuple[str, str], list[str]] = {}
        for entry in entries:
            if entry["schedule"] == schedule:
                errors.setdefault((entry["sampler"], entry["whose"]), []).append(_error(entry["error"]))
        rows = [(*name, *found) for name, found in errors.items()]
        parts.append(f"{schedule} schedule:\n\n" + markdown(("sampler", "whose", *map(str, steps)), rows, 2))
    rows = [
        (e["sampler"], e["whose"], _times(e["asked"]), e["evaluations"], f"{e['mean']:.4f}", f"{e['std']:.4f}")
        for e in entries
        if e["schedule"] == "linear" and e["steps"] == 10
    ]
    head = ("sampler", "whose", "times", "evaluations", "mean", "standard deviation")
    parts.append("linear schedule, 10 steps, what comes out:\n\n" + markdown(head, rows, 3))
    return "\n\n".join(parts)


def _error(value: float) -> str:
    return f"{value:.4f}" if value < 10 else f"{value:,.0f}"


def _times(asked: str) -> str:
    """The first two times and the last one; Heun asks about each twice."""
    different = list(dict.fromkeys(asked.split()))
    return f"{different[0]}, {different[1]} .. {different[-1]}"


def quality(result: Result) -> str:
    """A row a contestant and budget, between real images and noise."""
    spaces = list(result["real"])
    rows: list[Sequence[object]] = [("real images", "", "", "", *(f"{result['real'][one]:.2f}" for one in spaces))]
    for name, found in result["contestants"].items():
        for e in found["entries"]:
            about = (f"{e['budget'] // 60}", f"{e['steps']:,}", f"{e['parameters']:,}")
            rows.append((name, *about, *(f"{e['frechet'][space]:.2f}" for space in spaces)))
    rows.append(("noise", "", "", "", *(f"{result['noise'][space]:.2f}" for space in spaces)))
    distances = (f"Frechet distance, `{space}`" for space in spaces)
    return markdown(("contestant", "CPU minutes", "steps", "parameters", *distances), rows)


def ablation(result: Result) -> str:
    """A row a variant, the preset first."""
    spaces = list(next(iter(result["entries"].values()))["frechet"])
    rows = [
        (name, f"{e['steps']:,}", f"{e['parameters']:,}", *(f"{e['frechet'][space]:.2f}" for space in spaces))
        for name, e in result["entries"].items()
    ]
    return markdown(("variant", "steps", "parameters", *(f"Frechet distance, `{space}`" for space in spaces)), rows)


# ---------------------------------------------------------------- studies that lessons show


def parameterizations(result: Result) -> str:
    """The distances with x0-hat clipped and not, by data set, weights and unit."""
    rows = []
    for name, study in result["results"].items():
        for weights, units in study["runs"].items():
            for unit, runs in units.items():
                both = [spread([run[key] for run in runs], 3) for key in ("distance_clipped", "distance")]
                rows.append((name, weights, unit, *both, f"{study['floor']:.3f}"))
    return markdown(("data", "weights", "network says", "clipped", "not clipped", "floor"), rows, 3)


def blocks(result: Result) -> str:
    """A row a network."""
    rows = [
        (name, f"{found['parameters']:,}", f"{found['flops'] / 1e6:.1f}", spread([r["loss"] for r in found["runs"]], 4))
        for name, found in result["results"].items()
    ]
    return markdown(("network", "parameters", "MFLOP an image", "loss on held-out digits"), rows)


def averages(result: Result) -> str:
    """A row a decay, at the end of the run: its loss on held-out digits, and its distances."""
    last = max(e["step"] for e in result["entries"])
    rows = []
    for e in (e for e in result["entries"] if e["step"] == last):
        loss, seeds = f"{statistics.mean(e['loss']):.4f}", e["frechet"]
        distances = (spread([seed[key] for seed in seeds], 3) for key in ("trained on", "held out"))
        rows.append((f"{e['decay']:g}", "yes" if e["warm-up"] else "no", f"{e['of the first']:.0%}", loss, *distances))
    head = ("decay", "warm-up", "first weights in it", "loss, held out", "distance, trained on", "distance, held out")
    return markdown(head, rows, 2)


def training_techniques(result: Result) -> str:
    """A row a technique, beside plain float32."""
    plain = result["rows"][0]["seconds"]
    rows = []
    for row in result["rows"]:
        memory = f"{row['peak bytes'] / 2**20:.0f}" if "peak bytes" in row else ""
        first = f"{row['seconds of the first step']:.0f} s" if "seconds of the first step" in row else ""
        rows.append((row["name"], f"{1000 * row['seconds']:.0f}", f"{row['seconds'] / plain:.2f}", memory, first))
    return markdown(("technique", "CPU ms a step", "of float32", "most memory at once, MiB", "first step"), rows)


def samplers(result: Result) -> str:
    """The Frechet distance by steps, of the sweep over steps."""
    found = {(e["name"], e["steps"]): e["runs"] for e in result["entries"] if e["sweep"] == "steps"}
    names, steps = dict.fromkeys(name for name, _ in found), sorted({n for _, n in found})
    rows = [(name, *(_mean_distance(found.get((name, n), [])) for n in steps)) for name in names]
    return markdown(("sampler", *map(str, steps)), rows)


def _mean_distance(runs: list[Result]) -> str:
    return f"{statistics.mean(run['frechet'] for run in runs):.3f}" if runs else ""


# ---------------------------------------------------------------- what people wait for


def notebooks(result: Result) -> str:
    """A row a lesson, both editions."""
    found = {(row["name"], row["edition"]): row for row in result["rows"]}
    editions = list(dict.fromkeys(edition for _, edition in found))
    rows = [
        (name, *(found[name, edition][what] for edition in editions for what in ("seconds", "MiB")))
        for name in dict.fromkeys(name for name, _ in found)
    ]
    total = [f"{sum(row['seconds'] for row in result['rows'] if row['edition'] == one):.0f}" for one in editions]
    rows.append(("all", *(cell for one in total for cell in (one, ""))))
    return markdown(("lesson", *(f"{e}, {what}" for e in editions for what in ("s", "MiB"))), rows)


def widgets(result: Result) -> str:
    """A row a widget."""
    rows = [
        (row["name"], row["appears"], row["median"], row["slowest"], _slowest_control(row["by control"]))
        for row in result["rows"]
    ]
    return markdown(("widget", "appears, s", "a move, ms", "slowest move, ms", "slowest control, its median ms"), rows)


def _slowest_control(medians: dict[str, float]) -> str:
    name = max(medians, key=lambda one: medians[one])
    return f"{name}, {medians[name]}"


def widgets_in_lab(result: Result) -> str:
    """A row a widget."""
    rows = [(row["name"], row["pictures"], row["median"], row["slowest"]) for row in result["rows"]]
    return markdown(("widget", "pictures", "from a key to pixels, ms", "slowest, ms"), rows)


def widgets_in_browser(result: Result) -> str:
    """A row a widget."""
    keys = ("name", "moves", "script", "slowest script", "screen", "slowest screen")
    head = ("widget", "moves", "script, ms", "slowest, ms", "to the screen, ms", "slowest, ms")
    return markdown(head, [[row[key] for key in keys] for row in result["rows"]])


def tests(result: Result) -> str:
    """A row a folder."""
    rows = [(row["name"], row["seconds"], row["MiB"], row["outcome"]) for row in result["rows"]]
    rows.append(("all", f"{sum(row['seconds'] for row in result['rows']):.0f}", "", ""))
    return markdown(("what", "s", "MiB", "outcome"), rows)


# ---------------------------------------------------------------- the page

TABLES: dict[str, tuple[Callable[[Result], str], str]] = {  # by name of the result; and what makes it
    "train_step": (train_step, "train_step.py"),
    "gpu_step": (gpu_step, "gpu_step.py"),
    "sampling_step": (sampling_step, "sampling_step.py"),
    "gaussian": (gaussian, "gaussian.py"),
    "quality": (quality, "quality.py"),
    "ablation": (ablation, "ablation.py"),
    "averages": (averages, "averages.py"),
    "training_techniques": (training_techniques, "training_techniques.py"),
    "parameterizations": (parameterizations, "parameterizations.py"),
    "blocks": (blocks, "blocks.py"),
    "samplers": (samplers, "samplers.py"),
    "notebooks": (notebooks, "operations.py notebooks"),
    "widgets": (widgets, "operations.py widgets"),
    "widgets_in_lab": (widgets_in_lab, "operations.py widgets_in_lab"),
    "widgets_in_browser": (widgets_in_browser, "operations.py widgets_in_browser"),
    "tests": (tests, "operations.py tests"),
}
PLACE = re.compile(r"<!-- begin (?P<name>\w+) -->\n.*?<!-- end (?P=name) -->", re.S)


def section(name: str, folder: Path) -> str:
    """The table called ``name`` with its source, or that there is none yet."""
    table, script = TABLES[name]
    path = folder / f"{name}.json"
    if not path.exists():
        return f"*Not measured yet: `python benchmarks/{script}`.*"
    result = json.loads(path.read_text())
    return f"{table(result)}\n\n{source(result['about'])}"


def page(text: str, folder: Path) -> str:
    """``text`` with every table made anew from the results in ``folder``."""

    def filled(place: re.Match[str]) -> str:
        name = place["name"]
        return f"<!-- begin {name} -->\n\n{section(name, folder)}\n\n<!-- end {name} -->"

    return PLACE.sub(filled, text)


def main() -> None:
    """Write the pages."""
    for path in (PAGE, README):
        path.write_text(page(path.read_text(encoding="utf-8"), RESULTS), encoding="utf-8")
    print("wrote docs/benchmarks.md and README.md")


if __name__ == "__main__":
    main()
