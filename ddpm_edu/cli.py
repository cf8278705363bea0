"""The command line, ``python -m ddpm_edu COMMAND``.

Each command imports what it needs when it runs, so that ``doctor`` works where torch does not import.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ddpm_edu.errors import DDPMError

PROGRAM = "python -m ddpm_edu"


def doctor(_: argparse.Namespace) -> int:
    """Print one line per check; 1 if any of them found a problem."""
    from ddpm_edu import doctor

    results = doctor.checks()
    for result in results:
        print(result.line)
    return 0 if all(result.ok for result in results) else 1


def data_list(_: argparse.Namespace) -> int:
    """Print the data sets that ``data fetch`` knows."""
    from ddpm_edu import data

    width = max(map(len, data.DATASETS))
    for name, description in data.DATASETS.items():
        print(f"{name:<{width}}  {description}")
    return 0


def data_fetch(arguments: argparse.Namespace) -> int:
    """Bring one data set here (if it is not) and print the folder it lies in."""
    from ddpm_edu import data

    print(data.fetch(arguments.name))
    return 0


def parser() -> argparse.ArgumentParser:
    """All commands; each leaves its function in ``run``."""
    top = argparse.ArgumentParser(prog=PROGRAM, description="Denoising diffusion, taught exactly.")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")

    command = commands.add_parser("doctor", help="say what is wrong with this installation, and the fix")
    command.set_defaults(run=doctor)

    data = commands.add_parser("data", help="the data sets").add_subparsers(required=True, metavar="ACTION")
    command = data.add_parser("list", help="name them")
    command.set_defaults(run=data_list)
    command = data.add_parser("fetch", help="download one and check it; one that is here is only checked")
    command.add_argument("name", help=f"a name that `{PROGRAM} data list` prints")
    command.set_defaults(run=data_fetch)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. 0: done, 1: it found a problem, 2: it was asked for something that cannot be."""
    arguments = parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except DDPMError as error:
        print(f"error: {error}", file=sys.stderr)
    except ImportError as error:
        print(f"error: {error}. `{PROGRAM} doctor` says what to do.", file=sys.stderr)
    return 2
