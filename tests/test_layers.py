"""What is asked or refused answers at once; which module may import which, setup.cfg says."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("question", "code", "words"),
    [
        (["--help"], 0, "--multirun"),
        (["--version"], 0, "svae "),
        (["--cfg", "job"], 0, "latent_dim: 10"),
        (["latent_dim=0"], 2, ""),
    ],
)
def test_questions_and_refusals_import_nothing_heavy(question, code, words, environment):
    heavy = ("torch", "wandb", "matplotlib", "sklearn", "numpy", "pooch")
    program = (
        "import sys, svae.cli.main\n"
        "try:\n    svae.cli.main.main()\n"
        f"finally:\n    print([m for m in {heavy} if m in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, *question]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.stderr.strip().endswith("[]")
    assert done.returncode == code
    assert words in done.stdout
