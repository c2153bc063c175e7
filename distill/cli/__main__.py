"""`python -m distill.cli`, for launchers such as torchrun that start modules."""

from . import main

main()
