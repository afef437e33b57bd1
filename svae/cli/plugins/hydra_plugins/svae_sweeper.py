"""The sweeper of a grid, by Hydra's public interface: all combinations go to the launcher at once.

Hydra's own composes every job once more before it starts the first; ours have been checked. Hydra
takes plugins from the package `hydra_plugins` alone, so that is where this module lies.
"""

from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from svae.cli import grid
from svae.recording.files import write_text


class GridSweeper(Sweeper):
    """Launches a job for each combination, numbered in the order in which they are written.

    Args:
        params: {key: values} that are swept besides what is typed, which takes their place.
    """

    def __init__(self, params: dict[str, str] | None = None):
        self._params = params or {}

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.config = config
        self._context = hydra_context
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Sequence[JobReturn]:
        parser = OverridesParser.create(config_loader=self._context.config_loader)
        lines = [f"{key}={values}" for key, values in self._params.items()]
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "multirun.yaml", OmegaConf.to_yaml(self.config))
        jobs = grid.jobs(grid.values(parser.parse_overrides([*lines, *arguments])))
        results = self._launcher.launch(jobs, initial_job_idx=0)
        for result in results:
            _ = result.return_value  # raises what the job has raised
        return results
