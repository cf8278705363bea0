"""Run the benchmarks one after the other, then write docs/benchmarks.md from what they found.

Usage: ``python benchmarks/run.py short`` (`make benchmark`, about half an hour on two cores) or ``long``
(`make benchmark-long`, about five hours): the short ones are timings beside the peers and what a learner waits for, the
long ones train, draw many samples, or run the whole test suite. Nothing else should run on the machine meanwhile. Two
of the short ones drive Chromium.

One that fails does not stop the others; the exit status is then 1. A result that is there already stays where its
benchmark fails.
"""

import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).parent
SHORT = (
    "gaussian.py",  # seconds
    "sampling_step.py",  # 3 minutes
    "train_step.py 5",  # 10 minutes: five rounds
    "operations.py widgets",  # 1 minute
    "operations.py widgets_in_lab",  # 2 minutes
    "operations.py widgets_in_browser",  # seconds
    "operations.py notebooks",  # 10 minutes
)
LONG = (
    "parameterizations.py",  # 10 minutes
    "operations.py tests",  # 40 minutes
    "blocks.py",  # 25 minutes
    "samplers.py",  # 50 minutes
    "averages.py",  # 7 minutes
    "training_techniques.py",  # 2 minutes
    "gpu_step.py",  # 5 minutes, where there is a GPU
    "quality.py",  # 2 hours
    "ablation.py",  # half an hour
)
LISTS = {"short": SHORT, "long": LONG}


def run(scripts: tuple[str, ...]) -> list[str]:
    """Run each, with its arguments; those that failed."""
    failed = []
    for script in scripts:
        print(f"== {script} ==", flush=True)
        begun = time.monotonic()
        name, *arguments = script.split()
        if subprocess.run([sys.executable, str(FOLDER / name), *arguments], check=False).returncode:
            failed.append(script)
        print(f"{script}: {time.monotonic() - begun:.0f} s", end="\n\n", flush=True)
    return failed


def main(which: list[str]) -> int:
    """Run a list, write the page, say what failed."""
    if len(which) != 1 or which[0] not in LISTS:
        print(f"say which: {' or '.join(LISTS)}", file=sys.stderr)
        return 2
    failed = run(LISTS[which[0]])
    failed += run(("tables.py",))
    if which[0] == "long":
        print("lessons 03 to 07 show some of these results: make build stores them anew")
    if failed:
        print("failed:", *failed, sep="\n  ", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
