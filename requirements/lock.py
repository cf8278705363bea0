"""Write lock.txt and constraints.txt from the ranges in pyproject.toml (`make lock` runs this).

One resolution serves Linux, macOS, Windows and Python 3.11 to 3.14, so that everybody reads the course with
the versions that were tested. torch takes part in the resolution, with its pure-Python requirements in the
result, but stays out of lock.txt: which file is right for a machine (CPU, CUDA, a local build) cannot be
known here, so it is installed in a step of its own, held by its version alone.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = "# Written by `make lock` from the ranges in pyproject.toml: change one and run it again.\n"
# What the Linux build of torch brings along; whichever of them fit are chosen by torch's own metadata.
TORCH_STACK = re.compile(r"^(torch|triton|cuda-[\w-]+|nvidia-[\w-]+)==")


def resolve(torch_version: str, *options: str) -> str:
    """The resolved set as requirement lines; ``options`` go to uv as they are."""
    with tempfile.TemporaryDirectory() as folder:
        torch_pin = Path(folder, "torch.txt")
        torch_pin.write_text(f"torch=={torch_version}\n")
        command = [
            *(sys.executable, "-m", "uv", "pip", "compile"),
            *("pyproject.toml", "--extra", "dev", "--constraint", str(torch_pin)),
            *("--universal", "--python-version", "3.11", "--fork-strategy", "fewest"),
            # A release that turns out to be poisoned is usually found within days.
            *("--exclude-newer", "7 days", "--no-emit-index-url", "--no-header", "--no-annotate"),
            *options,
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def main(torch_version: str) -> None:
    """Resolve twice, without and with hashes, and write both files."""
    plain = resolve(torch_version).splitlines(keepends=True)
    torch_stack = [line for line in plain if TORCH_STACK.match(line)]
    skip = [f"--no-emit-package={line.split('==')[0]}" for line in torch_stack]
    lock = resolve(torch_version, "--generate-hashes", *skip)
    constraints = [line for line in plain if line not in torch_stack or line.startswith("torch==")]
    (ROOT / "requirements/lock.txt").write_text(HEADER + lock)
    (ROOT / "requirements/constraints.txt").write_text(HEADER + "".join(constraints))


if __name__ == "__main__":
    main(sys.argv[1])
