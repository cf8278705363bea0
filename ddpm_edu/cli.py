"""The command line, ``python -m ddpm_edu COMMAND``; the commands are in :mod:`ddpm_edu.commands`.

Nothing but the standard library is imported until a command is known, so that ``doctor`` works where packages are
missing, click among them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

PROGRAM = "python -m ddpm_edu"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. 0: done, 1: it found a problem, 2: it was asked for something that cannot be."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        from ddpm_edu.commands import program
    except ImportError as error:
        return _without_click(arguments, error)
    try:
        program.main(arguments, prog_name=PROGRAM)  # click's own way: it prints what is wrong, then leaves
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


def _without_click(arguments: list[str], error: ImportError) -> int:
    if arguments == ["doctor"]:
        from ddpm_edu import doctor

        return 0 if doctor.report() else 1
    print(f"error: {error}. `{PROGRAM} doctor` says what to do.", file=sys.stderr)
    return 2
