"""maxout: the largest of several dense layers, feature by feature.

    z_p = x W_p + b_p              [..., features],  p = 1 ... pieces
    y   = max_p z_p                [..., features]
    dz_p = dy where piece p won, else 0
    dx   = sum_p dz_p W_p^T,  dW_p = x^T dz_p,  db_p = sum of dz_p

Of equal pieces the first wins and gets all of dy. Kept: x and the winner, one byte per output.
Goodfellow et al., *Maxout Networks* (2013).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn.initializers import Initializer, lecun_normal, zeros

from ..annotations import Array, Float, Integer, PositiveInt
from ..constructor import constructor
from ..errors import LayerValueError
from ..layer import Layer, Params, Shaped
from ..stateless import stateless
from ..validation import describe
from .checks import check_features, check_names
from .dense import dense_backward, dense_forward

Winner = Integer[Array, "... features"]


def maxout_forward(params: Params, x: Float[Array, "... in"]) -> tuple[Float[Array, "... features"], Winner]:
    pieces, features = params["kernel"].shape[1:]
    z = dense_forward(side_by_side(params), x).reshape(*x.shape[:-1], pieces, features)
    winner = jnp.argmax(z, -2).astype(np.min_scalar_type(pieces - 1))  # [..., features]
    y = jnp.sum(jnp.where(won(winner, pieces), z, 0), -2)  # [..., features]
    return y, winner


def maxout_backward(
    params: Params, x: Float[Array, "... in"], winner: Winner, dy: Float[Array, "... features"]
) -> tuple[Params, Float[Array, "... in"]]:
    pieces, features = params["kernel"].shape[1:]
    # y = z of the winner
    dz = jnp.where(won(winner, pieces), jnp.expand_dims(dy, -2), 0)  # [..., pieces, features]
    # z = x @ kernel + bias
    dparams, dx = dense_backward(side_by_side(params), x, dz.reshape(*x.shape[:-1], pieces * features))
    return {name: gradient.reshape(params[name].shape) for name, gradient in dparams.items()}, dx


def side_by_side(params: Params) -> Params:
    """The pieces as one dense layer: kernel [in, pieces * features], bias [pieces * features]."""
    flat = {"kernel": params["kernel"].reshape(len(params["kernel"]), -1)}
    return flat | ({"bias": params["bias"].reshape(-1)} if "bias" in params else {})


def won(winner: Winner, pieces: int) -> Array:
    """[..., pieces, features]: whether this piece is the winner."""
    winners = jnp.expand_dims(winner, -2)  # [..., 1, features]
    shape = (*winner.shape[:-1], pieces, winner.shape[-1])
    return jax.lax.broadcasted_iota(winner.dtype, shape, len(shape) - 2) == jnp.broadcast_to(winners, shape)


@constructor
def maxout(
    features: PositiveInt,
    pieces: PositiveInt,
    *,
    use_bias: bool = True,
    kernel_init: Initializer = lecun_normal(),
    bias_init: Initializer = zeros,
) -> Layer:
    """y = the largest of `pieces` dense layers, from [..., in] to [..., features]; of equal ones the first.

    Parameters: kernel [in, pieces, features], bias [pieces, features]. Raises unless x is
    floating-point with last axis kernel.shape[0] and the parameters are this layer's.
    """
    names = {"kernel", "bias"} if use_bias else {"kernel"}

    def init(key: Array, x: Shaped) -> Params:
        check_features(x)
        kernel_key, bias_key = jax.random.split(key, 2)
        kernel = kernel_init(kernel_key, (x.shape[-1], pieces * features), x.dtype)
        params = {"kernel": kernel.reshape(x.shape[-1], pieces, features)}
        return params | ({"bias": bias_init(bias_key, (pieces, features), x.dtype)} if use_bias else {})

    def forward(params: Params, x: Float[Array, "... in"]) -> tuple[Float[Array, "... features"], Winner]:
        check_features(x)
        check_names(params, names)
        expected = (x.shape[-1], pieces, features)
        if params["kernel"].shape != expected:
            raise LayerValueError(
                f"expected x [..., {params['kernel'].shape[0]}] for kernel {list(params['kernel'].shape)} and "
                f"{pieces} pieces of {features} features, got {describe(x)}"
            )
        return maxout_forward(params, x)

    return stateless(forward, maxout_backward, name="maxout", init=init, keeps=("winner",))
