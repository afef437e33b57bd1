"""A Weights & Biases workspace with the panels that one looks at first.

    python -m dashboards.workspace ENTITY [PROJECT]

puts it into the project (svae) as a view of its own and prints its address; needs
pip install -e '.[workspace]' and a W&B key.
"""

import sys

import wandb_workspaces.reports.v2 as panels
import wandb_workspaces.workspaces as workspaces

MODEL = panels.Config("model")


def workspace(entity: str, project: str) -> workspaces.Workspace:
    """Return the workspace; nothing is sent anywhere until its `save()`."""
    curves = [
        _curve("ELBO (nats)", "train/elbo", "val/elbo"),
        _curve("importance-weighted bound (nats)", "train/iwae", "val/iwae"),
        _curve("KL (nats)", "train/kl", "val/kl"),
        _curve("acceptance rate", "train/acceptance_rate"),
        _curve("mean concentration", "train/concentration_mean"),
    ]
    results = [
        _against_dimension("log-likelihood (nats)", "test/log_likelihood"),
        _against_dimension("ELBO (nats)", "test/elbo"),
        _against_dimension("KL (nats)", "test/kl"),
        panels.BarPlot(
            title="log-likelihood, mean and deviation over the seeds",
            metrics=[panels.SummaryMetric("test/log_likelihood")],
            groupby=MODEL,
            groupby_aggfunc="mean",
            groupby_rangefunc="stddev",
        ),
    ]
    pictures = panels.MediaBrowser(media_keys=["plots/samples", "plots/reconstructions"])
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name="svae",
        sections=[
            workspaces.Section(name="training", panels=curves, is_open=True),
            workspaces.Section(name="results", panels=results, is_open=True),
            workspaces.Section(name="pictures", panels=[pictures], is_open=True),
        ],
    )


def _curve(title: str, *metrics: str) -> panels.LinePlot:
    y = [panels.Metric(name) for name in metrics]
    return panels.LinePlot(title=title, x=panels.Metric("epoch"), y=y, max_runs_to_show=100)


def _against_dimension(title: str, metric: str) -> panels.ScatterPlot:
    y = panels.SummaryMetric(metric)
    return panels.ScatterPlot(title=title, x=panels.Config("latent_dim"), y=y)


def main() -> None:
    """Save the workspace of the entity and project that were given."""
    if not 2 <= len(sys.argv) <= 3 or sys.argv[1].startswith("-"):
        sys.exit("usage: python -m dashboards.workspace ENTITY [PROJECT]")
    print(workspace(sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else "svae").save().url)


if __name__ == "__main__":
    main()
