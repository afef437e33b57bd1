"""Slurm as submitit sees it, on this machine: sbatch, srun, scontrol and sacct, a job at a time.

`install(FOLDER)` writes the commands into FOLDER, to be put on the PATH. FOLDER/ID.pid holds the
process of a task, FOLDER/ID.starts a character for each time that it was started.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

_COMMANDS = ("sbatch", "srun", "scontrol", "sacct")


def install(folder: Path) -> None:
    for name in _COMMANDS:
        script = f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).absolute()}" {name} "$@"\n'
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)


def _folder() -> Path:
    """Return the folder of the commands, the first of the PATH that has them all."""
    return next(
        Path(path) for path in os.environ["PATH"].split(":") if (Path(path) / "scontrol").is_file()
    )


def sbatch(script: str) -> None:
    """Take a job and start its tasks, one after the other, in the background."""
    last = int(re.search(r"#SBATCH --array=0-(\d+)", Path(script).read_text())[1])
    queue = [sys.executable, __file__, "_queue", script, str(last + 1)]
    silent = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    subprocess.Popen(queue, start_new_session=True, **silent)
    print("Submitted batch job 7")


def _queue(script: str, count: str) -> None:
    for task in range(int(count)):
        known = {"SLURM_JOB_ID": str(100 + task), "SLURM_ARRAY_JOB_ID": "7"}
        known |= {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1"}
        again = _folder() / f"7_{task}.again"
        again.touch()
        while again.exists():
            again.unlink()
            with (_folder() / f"7_{task}.starts").open("a") as starts:
                starts.write("x")
            subprocess.run(["bash", script], env={**os.environ, **known}, check=False)
        (_folder() / f"7_{task}.done").touch()


def srun(*words: str) -> None:
    """Become the command, its output added to the files that were asked for."""
    task, streams, words = (
        os.environ["SLURM_ARRAY_TASK_ID"],
        {"--output": 1, "--error": 2},
        [*words],
    )
    while words[0].startswith("--"):
        if (stream := streams.get(words.pop(0))) is not None:
            name = words.pop(0).replace("%A", "7").replace("%a", task).replace("%t", "0")
            os.dup2(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_APPEND), stream)
    (_folder() / f"7_{task}.pid").write_text(str(os.getpid()))
    os.environ |= {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
    os.execvp(words[0], words)


def scontrol(command: str, job: str) -> None:
    assert command == "requeue"
    (_folder() / f"{job}.again").touch()


def sacct(*words: str) -> None:
    print("JobID|State|NodeList")
    for file in _folder().glob("*.starts"):
        done = file.with_suffix(".done").exists()
        print(f"{file.stem}|{'COMPLETED' if done else 'RUNNING'}|here")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
