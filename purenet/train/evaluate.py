"""evaluate: the loss and other means over a data set, at inference."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax import lax

from ..annotations import Array, PositiveInt, PyTree
from ..arguments import checks_arguments
from ..layer import Params, State
from ..objective import Objective
from .run import count_examples

Metric = Callable[[Params, State, PyTree], Array]


@checks_arguments
def make_evaluate(
    objective: Objective, metrics: Mapping[str, Metric] | None = None, *, batch_size: PositiveInt | None = None
) -> Callable[[Params, State, PyTree], dict[str, Array]]:
    """`evaluate(params, state, data) -> {"loss": ..., name: ...}` by `predict`: no randomness, frozen statistics.

    `metrics` are functions (params, state, batch) -> mean over the batch. With `batch_size` the data goes through
    in batches, the last one shorter, and the results are averaged, weighted by their examples: right for what is a
    mean over examples, not for a sum, nor for a mean over those examples that a mask or ignore_index leaves in.
    """
    functions = {"loss": objective.predict, **(metrics or {})}
    if metrics and "loss" in metrics:
        raise ValueError('expected metrics besides "loss", which is the objective itself')

    def means(params: Params, state: State, batch: PyTree) -> dict[str, Array]:
        values = {name: jnp.asarray(function(params, state, batch)) for name, function in functions.items()}
        # A mean of integers or booleans was taken for one of floats.
        return {n: v if jnp.issubdtype(v.dtype, jnp.floating) else v.astype(jnp.float32) for n, v in values.items()}

    def evaluate(params: Params, state: State, data: PyTree) -> dict[str, Array]:
        examples = count_examples(data)
        size = min(batch_size or examples, examples)
        full, rest = divmod(examples, size)
        batches = jax.tree.map(lambda leaf: leaf[: full * size].reshape(full, size, *leaf.shape[1:]), data)
        total = jax.tree.map(lambda v: jnp.mean(v, 0), lax.map(lambda batch: means(params, state, batch), batches))
        if not rest:
            return total
        last = means(params, state, jax.tree.map(lambda leaf: leaf[full * size :], data))
        weight = rest / examples
        return jax.tree.map(lambda some, others: (1 - weight) * some + weight * others, total, last)

    return evaluate
