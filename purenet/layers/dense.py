"""dense: an affine map of the last axis, with any leading axes.

    y = x W + b
    x       [..., in]          dx       = dy W^T                      [..., in]
    kernel  W [in, out]        dkernel  = sum over examples x^T dy    [in, out]
    bias    b [out]            dbias    = sum over examples dy        [out]
    y       [..., out]

Kept: x. W is a parameter, and b does not appear in any gradient.
Goodfellow, Bengio & Courville, *Deep Learning* (2016), section 6.5.4.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer, lecun_normal, zeros

from ..annotations import Array, Float, PositiveInt
from ..constructor import constructor
from ..errors import LayerValueError
from ..layer import Layer, Shaped
from ..precision import wide_dtype, widen
from ..stateless import stateless
from ..validation import describe
from .checks import check_features, check_names


def dense_forward(params: dict[str, Array], x: Float[Array, "... in_features"]) -> Float[Array, "... out_features"]:
    y = x @ params["kernel"]  # [..., out]
    if "bias" in params:
        y = y + jnp.broadcast_to(params["bias"], y.shape)
    return y


def dense_backward(
    params: dict[str, Array], x: Float[Array, "... in_features"], dy: Float[Array, "... out_features"]
) -> tuple[dict[str, Array], Float[Array, "... in_features"]]:
    x_rows = x.reshape(-1, x.shape[-1])  # [examples, in]
    dy_rows = dy.reshape(-1, dy.shape[-1])  # [examples, out]
    # y = x @ kernel + bias
    dparams = {"kernel": x_rows.T @ dy_rows}  # [in, out]
    if "bias" in params:
        dparams["bias"] = jnp.sum(dy_rows, 0)  # [out]
    dx = dy @ params["kernel"].T  # [..., in]
    return dparams, dx


def dense_squared_norm(
    params: dict[str, Array], x: Float[Array, "... in_features"], dy: Float[Array, "... out_features"]
) -> Float[Array, ""]:
    """|dkernel|^2 + |dbias|^2, from products of the examples with each other where those cost less than dkernel."""
    x_rows, dy_rows = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])  # [examples, in], [examples, out]
    product = functools.partial(jnp.matmul, preferred_element_type=wide_dtype(dy.dtype))
    if len(x_rows) * (x.shape[-1] + dy.shape[-1]) < x.shape[-1] * dy.shape[-1]:
        # |x^T dy|^2 = sum of (x_i . x_j) (dy_i . dy_j) over pairs of examples
        total = jnp.sum(product(x_rows, x_rows.T) * product(dy_rows, dy_rows.T))
    else:
        total = jnp.sum(jnp.square(product(x_rows.T, dy_rows)))
    if "bias" in params:
        total += jnp.sum(jnp.square(jnp.sum(widen(dy_rows), 0)))
    return total


@constructor
def dense(
    features: PositiveInt,
    *,
    use_bias: bool = True,
    kernel_init: Initializer = lecun_normal(),
    bias_init: Initializer = zeros,
) -> Layer:
    """y = x @ kernel + bias, from [..., in] to [..., features]. Parameters: kernel [in, features], bias [features].

    The initialisers are those of `jax.nn.initializers`; parameters take the dtype of x.
    Raises unless x is floating-point with last axis kernel.shape[0] and the parameters are this layer's.
    """
    names = {"kernel", "bias"} if use_bias else {"kernel"}

    def init(key: Array, x: Shaped) -> dict[str, Array]:
        check_features(x)
        kernel_key, bias_key = jax.random.split(key, 2)
        params = {"kernel": kernel_init(kernel_key, (x.shape[-1], features), x.dtype)}
        if use_bias:
            params["bias"] = bias_init(bias_key, (features,), x.dtype)
        return params

    def forward(params: dict[str, Array], x: Float[Array, "... in_features"]) -> Float[Array, "... out_features"]:
        check_features(x)
        check_names(params, names)
        kernel = params["kernel"]
        if kernel.shape[-1] != features:
            raise LayerValueError(f"expected a kernel to {features} features, got kernel {describe(kernel)}")
        if x.shape[-1] != kernel.shape[0]:
            raise LayerValueError(
                f"expected x [..., {kernel.shape[0]}] for kernel {list(kernel.shape)}, got {describe(x)}"
            )
        return dense_forward(params, x)

    return stateless(forward, dense_backward, name="dense", init=init, squared_norm=dense_squared_norm)
