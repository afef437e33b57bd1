"""Hyperspherical variational auto-encoders: an experiment runner and a library."""


def load(run_folder, device: str = "cpu", trust=()):
    """Return (model, config) of a run: its best checkpoint, ready to encode and decode.

    `model.posterior(x)` is q(z | x), `model.likelihood(z)` is p(x | z), `model.prior()` is p(z);
    `config` is the run's configuration (an omegaconf DictConfig).

    A run folder can name only classes of this package; `trust` are folders of configuration of your
    own, as for `--config-dir`, whose files name the others.

    Raises:
        ValueError: when the folder holds no run with a checkpoint, or names a class that nobody
            vouches for.
    """
    from svae import build

    return build.load(run_folder, device, trust)


def fit(data=None, **keys):
    """Train a model on `data`, as `svae-train` does with the same keys; return its `Run`.

    `svae.fit(x, model="vmf", latent_dim=10, trainer={"max_epochs": 30})`; see `svae.fitting.fit`
    for the forms that data may have, and for `folder`, `store`, `progress` and `config_dir`.

    Raises:
        ValueError: for data, keys or values that cannot be, one sentence, before any training.
    """
    from svae import fitting

    return fitting.fit(data, **keys)


def __getattr__(name: str):
    """Find `Run`, `runs` and `__version__` where they are used: `import svae` stays light."""
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("svae")
        except PackageNotFoundError:  # a checkout that is not installed
            return "(an uninstalled checkout)"
    if name in ("Run", "runs"):
        from svae import run

        return getattr(run, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
