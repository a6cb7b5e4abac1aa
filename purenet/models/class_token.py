"""class_token, first_token: a learned vector in front of a sequence, and the vector in front alone.

    class_token   y = [token; x]   x [..., time, features], y [..., time + 1, features], token [features]
                  dtoken = sum of dy_0 over the leading axes,  dx_t = dy_{t+1}
    first_token   y = x_0          y [..., features]
                  dx_0 = dy, zero elsewhere

Kept: nothing but the shape of x. The sum is at least float32.
Devlin et al., *BERT* (2019); Dosovitskiy et al., *An Image is Worth 16x16 Words* (2021), equations 1 and 4.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax.nn.initializers import Initializer, zeros

from ..annotations import Array, Float
from ..constructor import constructor
from ..errors import LayerValueError
from ..layer import Layer, Shaped
from ..precision import widen
from ..stateless import stateless
from ..static import Static
from ..validation import check_floating, describe

Sequence = Float[Array, "... _ features"]  # [..., time, features]
Longer = Float[Array, "... longer features"]
Token = dict[str, Array]


def class_token_forward(params: Token, x: Sequence) -> Longer:
    token = jnp.broadcast_to(params["token"], (*x.shape[:-2], 1, x.shape[-1]))
    return jnp.concatenate([token, x], -2)  # [..., time + 1, features]


def class_token_backward(params: Token, dy: Longer) -> tuple[Token, Sequence]:
    # y = [token; x]
    dtoken = jnp.sum(widen(dy[..., 0, :]), tuple(range(dy.ndim - 2)))  # [features]
    return {"token": dtoken.astype(params["token"].dtype)}, dy[..., 1:, :]


@constructor
def class_token(*, token_init: Initializer = zeros) -> Layer:
    """One learned vector in front of x: [..., time, features] to [..., time + 1, features]. Parameter: token."""

    def init(key: Array, x: Shaped) -> Token:
        check_sequence(x)
        return {"token": token_init(key, x.shape[-1:], x.dtype)}

    def forward(params: Token, x: Sequence) -> Longer:
        check_sequence(x)
        if not isinstance(params, dict) or set(params) != {"token"}:
            raise LayerValueError(f"expected parameters ['token'], got {describe(params)}")
        if params["token"].shape != x.shape[-1:]:
            raise LayerValueError(
                f"expected x [..., {params['token'].size}] for the token of this length, got {describe(x)}"
            )
        return class_token_forward(params, x)

    return stateless(forward, class_token_backward, name="class_token", init=init, needs=(), recompute=forward)


def first_token_forward(x: Sequence) -> tuple[Float[Array, "... features"], Static]:
    return x[..., 0, :], Static(x.shape[-2])


def first_token_backward(time: Static, dy: Float[Array, "... features"]) -> Sequence:
    # y = x[..., 0, :]
    after = [(0, 0)] * (dy.ndim - 1) + [(0, time.value - 1), (0, 0)]
    return jnp.pad(dy[..., None, :], after)  # [..., time, features]


@constructor
def first_token() -> Layer:
    """The first vector of x: [..., time, features] to [..., features]."""

    def forward(x: Sequence) -> tuple[Float[Array, "... features"], Static]:
        check_sequence(x)
        return first_token_forward(x)

    return stateless(
        forward,
        first_token_backward,
        name="first_token",
        needs=(),
        keeps=("length",),
        recompute=lambda x, time: first_token_forward(x)[0],
    )


def check_sequence(x: Shaped) -> None:
    check_floating(x)
    if x.ndim < 2 or x.shape[-2] < 1:
        raise LayerValueError(f"expected x [..., time, features] with at least one step, got {describe(x)}")
