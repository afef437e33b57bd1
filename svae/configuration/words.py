"""The groups, and the words that people type for their choices: suggested, never accepted.

Those for a key and for its values stand beside it, in the schema.
"""

MODES = {
    **dict.fromkeys(("false", "off", "none", "null"), "disabled"),
    **{"true": "online", "on": "online", "dryrun": "offline"},
}

_VMF = (
    *("svae", "s-vae", "s_vae", "sphere", "spherical", "hyperspherical", "hyperspherical_vae"),
    *("vonmises", "von_mises", "von_mises_fisher", "von-mises-fisher", "vonmisesfisher"),
)
# each with {word that people type: the choice, or the key and value, that they mean}
GROUPS: dict[str, dict[str, str]] = {
    "model": {
        **dict.fromkeys(_VMF, "vmf"),
        **dict.fromkeys(("gaussian", "gauss", "vae", "n-vae", "nvae", "autoencoder"), "normal"),
        "ps": "power_spherical",
        **dict.fromkeys(("scaled", "svmf", "scaled-vmf"), "scaled_vmf"),
        **dict.fromkeys(("cauchy", "spcauchy"), "spherical_cauchy"),
        "beta_vae": "normal trainer.kl_weight=BETA",
        **dict.fromkeys(("torus", "mixed", "product_space"), "product"),
    },
    "sampler": {
        **{n: f"sampler.gradient={n}" for n in ("implicit", "corrected", "score", "pathwise")},
        **dict.fromkeys(("ulrich", "wood", "ulrich_wood", "ulrich-wood"), "rejection"),
    },
    "network": {
        **{"dense": "mlp", "gnn": "gcn", "graph": "gcn", "gnae": "linear"},
        **dict.fromkeys(("cnn", "convolutional", "conv2d", "dcgan"), "conv"),
        **dict.fromkeys(("m1+m2", "m2", "semi_supervised"), "m1m2"),
    },
    "trainer": {"adam": "minibatch trainer.optimizer=adam"},
    "dataset": {
        "edges": "graph",
        "file": "array",
        "npz": "array",
        "custom": "array",
        "csv": "directions",
    },
    "evaluation": {},
    "logger": {
        **{word: f"logger.mode={mode}" for word, mode in MODES.items()},
        **{mode: f"logger.mode={mode}" for mode in ("auto", "online", "offline", "disabled")},
    },
    "experiment": {
        **{"table4": "link_prediction", "table2": "table1"},
        **dict.fromkeys(("table3", "semisupervised", "few_labels"), "semi_supervised"),
    },
    "search": dict.fromkeys(("tpe", "bayes", "bayesian", "random"), "optuna"),
    "cluster": {},
}
# the same of Hydra's own group hydra/launcher
LAUNCHERS = {
    "slurm": "cluster=slurm",
    "ray": "cluster=ray",
    "submitit": "submitit_slurm",
    **dict.fromkeys(("local", "parallel", "multiprocessing"), "cluster=local"),
}
# {what is typed: names that people have for it} of what is no key, or a key with a certain value
ALSO = {
    "model": "distribution posterior prior family model.name model.type",
    "dataset": "data datamodule data_module",
    "dataset.file": "dataset.data",
    "network": "encoder decoder architecture arch backbone",
    "experiment": "preset task",
    "--config-dir": "config config_path config_file config_folder",
    "precision=bf16": "fp16 half mixed_precision autocast amp",
    "search=optuna": "hydra.sweeper.n_trials",
    "hydra.run.dir": "output_dir output out outdir save_dir log_dir logdir run_dir results_dir "
    "default_root_dir hydra.output_dir hydra.dir",
    "cluster=local": "jobs n_jobs j launcher parallel",
    "-m": "multirun sweep grid",
    "logger.mode=disabled": "no_wandb no_logger",
    "logger.mode=offline": "offline",
    "plots=false": "no_plots",
    "trainer.bound=iwae": "iwae",
    "trainer.max_epochs=1": "fast_dev_run",
    "--version": "v version",
    "--help": "help list usage options",
}
