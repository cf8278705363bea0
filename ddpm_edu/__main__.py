"""``python -m ddpm_edu``: the command line."""

import sys

from ddpm_edu.cli import main

sys.exit(main())
