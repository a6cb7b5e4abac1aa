"""What a run reports: the history of its metrics, and an error that keeps the last finite state."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..annotations import Float, PyTree
from .state import TrainState


@dataclasses.dataclass(frozen=True)
class History:
    """metrics: {"loss": [steps], ...}; validation: {"loss": [evaluations], ...}, one evaluation an epoch."""

    metrics: dict[str, np.ndarray]
    validation: dict[str, np.ndarray]
    epoch_steps: int
    stopped_early: bool = False

    @property
    def loss(self) -> Float[np.ndarray, " steps"]:
        return self.metrics["loss"]

    @property
    def epoch_loss(self) -> Float[np.ndarray, " epochs"]:
        """The mean training loss of each whole epoch."""
        epochs = len(self.loss) // self.epoch_steps
        return self.loss[: epochs * self.epoch_steps].reshape(epochs, self.epoch_steps).mean(1)

    @property
    def best_epoch(self) -> int:
        """The epoch, counted from 1, with the lowest validation loss, or training loss where there is no validation."""
        losses = self.validation.get("loss", self.epoch_loss)
        return int(np.argmin(np.where(np.isnan(losses), np.inf, losses))) + 1 if len(losses) else 0


class Record:
    """The history while it grows, on the host."""

    def __init__(self, epoch_steps: int):
        self.epoch_steps = epoch_steps
        self.metrics: list[dict[str, np.ndarray]] = []
        self.evaluations: list[dict[str, np.ndarray]] = []
        self.stopped_early = False
        self.lowest = math.inf

    def is_best(self) -> bool:
        """Whether the epoch that just ended has the lowest loss so far."""
        loss = self.watched()
        better = loss < self.lowest
        self.lowest = min(self.lowest, loss)
        return better

    def add(self, metrics: Mapping[str, Any], steps: int) -> None:
        self.metrics.append({name: np.asarray(values)[:steps] for name, values in metrics.items()})

    def evaluated(self, values: Mapping[str, Any]) -> None:
        self.evaluations.append({name: np.asarray(value)[None] for name, value in values.items()})

    def latest(self) -> dict[str, float]:
        """The numbers to show."""
        shown = {name: float(values.mean()) for name, values in self.metrics[-1].items()}
        if self.evaluations:
            shown |= {f"validation {name}": float(value[0]) for name, value in self.evaluations[-1].items()}
        return shown

    def watched(self) -> float:
        """The loss that early stopping looks at, after a whole epoch."""
        if self.evaluations:
            return float(self.evaluations[-1]["loss"][0])
        losses = np.concatenate([chunk["loss"] for chunk in self.metrics[-self.epoch_steps :]])
        return float(losses[-self.epoch_steps :].mean())

    def history(self) -> History:
        return History(stack(self.metrics), stack(self.evaluations), self.epoch_steps, self.stopped_early)


def stack(records: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([record[name] for record in records]) for name in (records[0] if records else ())}


class NonFiniteError(FloatingPointError):
    """A step's loss was not finite, or something in the state after it that was finite before.

    `step` is its number, `train_state` the finite state before it, `history` everything up to it.
    """

    def __init__(self, step: int, train_state: TrainState, history: History, loss: float, targets: PyTree = None):
        losses = history.loss
        before = f"the loss before was {losses[-1]:.6g}" if len(losses) else "it was the first"
        finite = math.isfinite(loss)
        what = "the parameters, the layers' state or the optimizer's state after step" if finite else "the loss of step"
        super().__init__(
            f"{what} {step} {'are' if finite else 'is'} not finite ({before}): "
            f"{'' if finite else look_at_labels(targets)}lower the learning rate, "
            "clip the gradients (optax.clip_by_global_norm), or look for log(0) and 0/0. "
            "The finite state before that step is in .train_state, the losses are in .history"
        )
        self.step = step
        self.train_state = train_state
        self.history = history


def look_at_labels(targets: PyTree) -> str:
    """What to look at first where targets are integers: a loss of labels outside 0..classes-1 is NaN."""
    labels = [leaf for leaf in jax.tree.leaves(targets) if jnp.issubdtype(leaf.dtype, jnp.integer)]
    if not labels:
        return ""
    low, high = int(labels[0].min()), int(labels[0].max())
    shift = f" (from 1? subtract 1: 0..{high - 1})" if low == 1 else ""
    return f"labels are 0..classes-1, the targets hold {low}..{high}{shift}; if they are right, "
