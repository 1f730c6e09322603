"""Train a small neural network: metrics by epoch, an image as an artifact, and a state too large for a checkpoint.

The network (megabytes as JSON) is kept as a file in `ctx.workdir`; the checkpoint only says which file belongs to which
epoch. All chance comes from the run's seed and the number of the epoch, never from a generator that runs on: a run that
was killed and resumed ends with the same numbers, to the last digit, as one that was not.

scikit-learn and matplotlib are imported in `run`: they take seconds, and the pages that list experiments need neither.
"""

from __future__ import annotations

import hashlib
import io
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from experiments import Experiment, Limits, RunContext

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Images = NDArray[np.float64]
    Labels = NDArray[np.int64]

CLASSES = range(10)
KEEP_S = 10.0
"""How long the file of an older checkpoint is kept."""


class DigitsConfig(BaseModel):
    epochs: int = Field(200, ge=1, le=10_000, description="Passes over the training images")
    hidden_units: int = Field(128, ge=1, le=2_000, description="Neurons of the hidden layer")
    learning_rate: float = Field(0.005, gt=0, le=1)
    batch_size: int = Field(32, ge=1, le=1_000, description="Images per step of the optimizer")
    shift: int = Field(1, ge=0, le=2, description="Each image also moved by up to so many pixels each way")
    test_share: float = Field(0.2, gt=0, lt=1, description="Share of the images that is only tested with")


@dataclass(frozen=True)
class Data:
    """Pixels from 0 to 1, one image of 8 by 8 a row."""

    train: Images
    train_labels: Labels
    test: Images
    test_labels: Labels


@dataclass
class Training:
    """State of a training: everything that the next epoch depends on."""

    model: Any
    epochs_done: int = 0
    best_accuracy: float = 0.0
    best_epoch: int = 0


class Digits(Experiment):
    """Learn to read handwritten digits, with scikit-learn's multi-layer perceptron on the images that it ships."""

    title = "Handwritten digits"
    limits = Limits(timeout_s=3600, stall_timeout_s=300)
    comparable = {"best_accuracy": 0.0, "final_loss": 1e-9}

    class Config(DigitsConfig):
        pass

    def run(self, ctx: RunContext[DigitsConfig]) -> dict[str, Any]:
        require_libraries(ctx)
        seed = ctx.seed % 2**32  # what scikit-learn takes
        data = load(ctx.config, seed)
        training = restore(ctx) or Training(new_model(ctx.config, seed))
        ctx.log.info(
            f"{len(data.train)} images to learn from, {len(data.test)} to test with",
            first_epoch=training.epochs_done + 1,
        )
        while training.epochs_done < ctx.config.epochs:
            ctx.raise_if_cancelled()
            one_epoch(training, data, seed)
            report(ctx, training, data)
            keep(ctx, training)
        ctx.artifact(confusion_matrix(training, data), "confusion-matrix.png", content_type="image/png")
        return {
            "best_accuracy": training.best_accuracy,
            "best_epoch": training.best_epoch,
            "epochs": training.epochs_done,
            "final_loss": float(training.model.loss_),
        }


def require_libraries(ctx: RunContext[Any]) -> None:
    missing = [name for name in ("sklearn", "matplotlib") if find_spec(name) is None]
    if missing:
        ctx.fail(f"Not installed: {', '.join(missing)}. `pip install -r requirements-examples.txt` brings it.")


def load(config: DigitsConfig, seed: int) -> Data:
    """Load the images that scikit-learn ships, split by the seed; training images are also shifted."""
    import numpy as np
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(images))
    test, train = np.split(order, [max(1, int(len(order) * config.test_share))])
    moved = shifted(images[train] / 16.0, config.shift)
    copies = len(moved) // len(train)
    return Data(moved, np.tile(labels[train], copies), images[test] / 16.0, labels[test])


def shifted(images: Images, by: int) -> Images:
    """Return the images moved by each of the (2·by + 1)² offsets, with blank edges."""
    import numpy as np

    padded = np.pad(images.reshape(-1, 8, 8), ((0, 0), (by, by), (by, by)))
    offsets = range(2 * by + 1)
    return np.concatenate([padded[:, y : y + 8, x : x + 8].reshape(-1, 64) for y in offsets for x in offsets])


def new_model(config: DigitsConfig, seed: int) -> Any:
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier(
        hidden_layer_sizes=(config.hidden_units,),
        solver="sgd",
        learning_rate_init=config.learning_rate,
        batch_size=config.batch_size,
        shuffle=False,  # `one_epoch` shuffles, in an order that depends on nothing but seed and epoch
        random_state=seed,
    )


def one_epoch(training: Training, data: Data, seed: int) -> None:
    import numpy as np
    from threadpoolctl import threadpool_limits

    order = np.random.default_rng([seed, training.epochs_done]).permutation(len(data.train))
    with threadpool_limits(1):  # more threads gain nothing on small matrices, and their number would change the sums
        training.model.partial_fit(data.train[order], data.train_labels[order], classes=CLASSES)
    training.epochs_done += 1


def report(ctx: RunContext[DigitsConfig], training: Training, data: Data) -> None:
    epoch, loss = training.epochs_done, float(training.model.loss_)
    accuracy = float(training.model.score(data.test, data.test_labels))
    if accuracy > training.best_accuracy:
        training.best_accuracy, training.best_epoch = accuracy, epoch
    ctx.metric("loss", loss, step=epoch)
    ctx.metric("accuracy", accuracy, step=epoch)
    ctx.progress(epoch, ctx.config.epochs, f"accuracy {accuracy:.1%}")
    ctx.log.info(f"epoch {epoch}/{ctx.config.epochs}: loss {loss:.4f}, accuracy {accuracy:.1%}")


def keep(ctx: RunContext[DigitsConfig], training: Training) -> None:
    """Write the state to a new file, then the checkpoint that names it."""
    import joblib

    buffer = io.BytesIO()
    joblib.dump(training, buffer)
    name, content = f"training-{training.epochs_done}.joblib", buffer.getvalue()
    partial = ctx.workdir / f"{name}.partial"
    partial.write_bytes(content)
    partial.replace(ctx.workdir / name)
    ctx.checkpoint({"file": name, "sha256": hashlib.sha256(content).hexdigest()})
    forget(ctx.workdir, but=name, before=time.time() - (KEEP_S if training.epochs_done < ctx.config.epochs else 0))


def forget(folder: Path, *, but: str, before: float) -> None:
    """A checkpoint is durable within a second or so: until then the file of the one before it is needed."""
    for file in folder.glob("training-*"):
        if file.name != but and file.stat().st_mtime < before:
            file.unlink()


def restore(ctx: RunContext[DigitsConfig]) -> Training | None:
    """Return the training of an earlier attempt; None without one, or if its file does not match the checkpoint."""
    import joblib

    if ctx.restored is None:
        return None
    file = ctx.workdir / str(ctx.restored["file"])
    content = file.read_bytes() if file.is_file() else b""
    if hashlib.sha256(content).hexdigest() != ctx.restored["sha256"]:
        ctx.log.warning(f"{file.name} is not there as the checkpoint knows it: starting anew")
        return None
    training: Training = joblib.load(io.BytesIO(content))
    ctx.log.info(f"going on after epoch {training.epochs_done}")
    return training


def confusion_matrix(training: Training, data: Data) -> bytes:
    """A PNG: which digit was read as which."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure
    from sklearn.metrics import ConfusionMatrixDisplay

    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.add_subplot()
    ConfusionMatrixDisplay.from_predictions(
        data.test_labels, training.model.predict(data.test), ax=axes, cmap="Blues", colorbar=False
    )
    axes.set_title(f"After {training.epochs_done} epochs")
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    return image.getvalue()
