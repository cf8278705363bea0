"""What several commands say in the same words."""

PROGRAM = "python -m ddpm_edu"
EXIT_CODES = (
    "Exit codes: 0 done; 1 a check found a problem; 2 asked for something that cannot be, said in a line that begins "
    "with 'error:'; 128 + number of the signal where one has ended it (130 Ctrl-C, 143 SIGTERM)."
)
