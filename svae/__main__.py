"""`python -m svae`: the same as `svae-train`."""

from svae.cli.main import main

main()
