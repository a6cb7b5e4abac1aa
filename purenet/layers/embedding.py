"""embedding: a row of the table for each integer.

    y = E[x]
    x          [...]                        integers in 0..vocabulary-1
    embedding  E [vocabulary, features]     dE_i = sum of dy over the places where x = i
    y          [..., features]

The lookup is the product of a one-hot matrix with E, so its transpose adds each dy to the row that was read; rows
that were read more than once get the sum, which is at least float32. x is an integer and has no gradient. Kept: x.
Bengio et al., *A Neural Probabilistic Language Model* (2003).
"""

from __future__ import annotations

import functools

import jax.numpy as jnp
from jax import lax
from jax.nn.initializers import Initializer, variance_scaling

from ..annotations import Array, Float, Integer, PositiveInt
from ..constructor import constructor
from ..errors import LayerTypeError, LayerValueError
from ..layer import Layer, Shaped
from ..precision import wide_dtype, widen
from ..stateless import stateless
from ..validation import describe
from .checks import check_names, check_range, widen_integers

Table = dict[str, Array]
Indices = Integer[Array, "..."]

EMBEDDING_INIT = variance_scaling(1.0, "fan_in", "normal", out_axis=0)  # variance 1 / features, as in Flax


def embedding_forward(params: Table, x: Indices, padding_index: int | None = None) -> Float[Array, "... features"]:
    table, x = params["embedding"], widen_integers(x)
    y = table.at[x].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)  # [..., features]
    if padding_index is not None:
        y = jnp.where((x == padding_index)[..., None], lax.stop_gradient(y), y)
    return y


def embedding_backward(
    params: Table, x: Indices, dy: Float[Array, "... features"], padding_index: int | None = None
) -> tuple[Table, None]:
    table, x = params["embedding"], widen_integers(x)
    wide = wide_dtype(table.dtype)
    if padding_index is not None:
        dy = jnp.where((x == padding_index)[..., None], 0, dy)
    # y = table[x]
    dtable = jnp.zeros(table.shape, wide).at[x].add(dy.astype(wide), mode="drop", wrap_negative_indices=False)
    return {"embedding": dtable.astype(table.dtype)}, None


def embedding_squared_norm(
    params: Table, x: Indices, dy: Float[Array, "... features"], padding_index: int | None = None
) -> Float[Array, ""]:
    """|dE|^2, from a table of as many rows as there are places, if those are fewer: equal integers share the first."""
    rows, x = params["embedding"].shape[0], widen_integers(x).reshape(-1)  # [places]
    dy = lax.collapse(widen(dy), 0, dy.ndim - 1)  # [places, features]
    counts = (x >= 0) & (x < rows) & (x != (-1 if padding_index is None else padding_index))
    if x.size < rows:
        rows, row = x.size, jnp.argmax(x[:, None] == x[None], 1)
    else:
        row = jnp.where(counts, x, 0)
    dtable = jnp.zeros((rows, dy.shape[-1]), dy.dtype).at[row].add(jnp.where(counts[:, None], dy, 0))
    return jnp.sum(jnp.square(dtable))


@constructor
def embedding(
    vocabulary: PositiveInt,
    features: PositiveInt,
    *,
    padding_index: int | None = None,
    embedding_init: Initializer = EMBEDDING_INIT,
) -> Layer:
    """y = embedding[x], from integers [...] to [..., features]. Parameter: embedding [vocabulary, features].

    - The table has JAX's default floating dtype; cast it for another one.
    - An index outside 0..vocabulary-1 raises when its value is known. Inside jit it is not: its row is NaN, and its
      cotangent is added to no row.
    - `padding_index` stands for no token: its row starts at zero and gets no gradient.
    """
    if padding_index is not None and not 0 <= padding_index < vocabulary:
        raise ValueError(f"embedding: expected padding_index in 0..{vocabulary - 1}, got {padding_index!r}")

    def init(key: Array, x: Shaped) -> Table:
        check_indices(x, vocabulary)
        table = embedding_init(key, (vocabulary, features), jnp.result_type(float))
        return {"embedding": table if padding_index is None else table.at[padding_index].set(0)}

    def forward(params: Table, x: Indices) -> Float[Array, "... features"]:
        check_names(params, ("embedding",))
        if params["embedding"].shape != (vocabulary, features):
            raise LayerValueError(
                f"expected embedding [{vocabulary}, {features}], got {describe(params['embedding'])}: is it another "
                "layer's?"
            )
        check_indices(x, vocabulary)
        return embedding_forward(params, x, padding_index)

    backward = functools.partial(embedding_backward, padding_index=padding_index)
    norm = functools.partial(embedding_squared_norm, padding_index=padding_index)
    return stateless(forward, backward, name="embedding", init=init, squared_norm=norm)


def check_indices(x: Shaped, vocabulary: int) -> None:
    """Raise unless x is an integer array; its values are looked at where they are known."""
    if not hasattr(x, "dtype"):
        raise LayerTypeError(f"expected x as one array of integers, got {describe(x)}")
    if not jnp.issubdtype(x.dtype, jnp.integer):
        raise LayerTypeError(f"expected x of an integer dtype, got {describe(x)}: convert it with .astype")
    check_range(x, vocabulary, "indices")
