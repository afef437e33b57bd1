"""`python -m svae`: the same as `svae-train`."""

from svae.cli import main

main()
