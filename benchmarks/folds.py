"""Five folds of the hundred labels that M1+M2 is given on MNIST: alpha without any other label.

    python -m benchmarks.folds SEED FOLDER     writes FOLDER/0.npz to FOLDER/4.npz

They are for `dataset=array dataset.file=FOLDER/0.npz dataset.labels=null`. Of the labels that
`experiment=semi_supervised seed=SEED` has, each fold takes two of each digit, with their images,
from training to the validation images, where none of the others is labelled. So the val/accuracy of
a run is that of twenty held-out labels.
"""

import sys
from pathlib import Path

import numpy as np

from svae.data import mnist
from svae.data.splits import MISSING, Split

FOLDS = 5


def fold(train: Split, validation: Split, number: int) -> dict[str, np.ndarray]:
    """Return the arrays of a fold, of splits in which the given labels alone are known."""
    held_out = np.zeros(len(train), bool)
    for digit in range(10):
        rows = np.flatnonzero(train.labels.numpy() == digit)
        held_out[rows[number::FOLDS]] = True
    images, labels = train.values.numpy().reshape(-1, 28, 28), train.labels.numpy()
    others = validation.values.numpy().reshape(-1, 28, 28)
    return {
        "train": images[~held_out],
        "train_labels": labels[~held_out],
        "validation": np.concatenate([others, images[held_out]]),
        "validation_labels": np.append(np.full(len(others), MISSING), labels[held_out]),
        "test": others[:1000],
    }


def main(seed: int, folder: Path) -> None:
    """Write the folds of the labels of a seed."""
    data = mnist.load(labels=100, split_seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(FOLDS):
        np.savez(folder / f"{number}.npz", **fold(data.train, data.validation, number))


if __name__ == "__main__":
    if len(sys.argv) != 3 or not sys.argv[1].isdigit():
        sys.exit("expected python -m benchmarks.folds SEED FOLDER")
    main(int(sys.argv[1]), Path(sys.argv[2]))
