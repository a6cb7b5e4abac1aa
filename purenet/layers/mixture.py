"""mixture_of_experts: a router sends each token to k of n experts, whose outputs it weighs and adds.

    logits = x router                                       [..., experts], at least float32
    gates, chosen = routing(logits)                         [..., k], see routing.py
    y = sum_j gates_j expert_{chosen_j}(x)                  [..., out], see experts.py
    dx = through the chosen experts, and through gates and logits; the choice itself has no gradient

Every token reaches its k experts: there is no capacity and nothing is dropped, and y does not mix tokens.
Kept: x, logits, chosen, and the hidden pre-activations of the k experts of each token.
Shazeer et al., *Outrageously Large Neural Networks* (2017); Fedus et al. (2021), Switch; Jiang et al. (2024), Mixtral.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer, lecun_normal

from ..annotations import Array, Float, PositiveInt
from ..constructor import constructor
from ..errors import LayerValueError
from ..layer import Layer, Params, Shaped
from ..precision import wide_dtype
from ..stateless import stateless
from ..validation import describe
from .checks import check_features
from .experts import experts_backward, experts_forward
from .glu import ACTIVATIONS, Activation, check_activation, gated_backward, gated_forward
from .routing import (
    load_balancing_backward,
    load_balancing_forward,
    router_z_backward,
    router_z_forward,
    routing_backward,
    routing_forward,
    routing_recompute,
)


class Routing(NamedTuple):
    """How tokens are routed, and which losses are returned with y."""

    top_k: int
    renormalise: bool
    balance: bool
    z_weight: float


def mixture_of_experts_forward(
    params: Params, x: Float[Array, "... in"], routing: Routing, activation: Activation
) -> tuple[Any, tuple[Array, ...]]:
    rows = x.reshape(-1, x.shape[-1])  # [tokens, in]
    logits = jnp.matmul(rows, params["router"]["kernel"], preferred_element_type=wide_dtype(x.dtype))
    gates, chosen = routing_forward(logits, routing.top_k, routing.renormalise)  # [tokens, k]
    own = {"up": params["up"], "down": params["down"]}
    y, h = experts_forward(own, rows, gates, chosen, activation)  # [tokens, out]
    y = y.reshape(*x.shape[:-1], y.shape[-1])
    if not routing.balance:
        return y, (logits, chosen, h)
    loss = load_balancing_forward(logits, chosen)
    if routing.z_weight:
        loss = loss + routing.z_weight * router_z_forward(logits)
    return (y, loss.astype(x.dtype)), (logits, chosen, h)


def mixture_of_experts_backward(
    params: Params,
    x: Float[Array, "... in"],
    residuals: tuple[Array, ...],
    dy: Any,
    routing: Routing,
    activation: Activation,
) -> tuple[Params, Float[Array, "... in"]]:
    logits, chosen, h = residuals
    rows, kernel = x.reshape(-1, x.shape[-1]), params["router"]["kernel"]
    dy, dloss = dy if routing.balance else (dy, None)
    # y = the gated sum of the experts' outputs
    own = {"up": params["up"], "down": params["down"]}
    gates = routing_recompute(logits, chosen, routing.renormalise)
    dy_rows = dy.reshape(-1, dy.shape[-1])  # [tokens, out]
    dexperts, dx, dgates = experts_backward(own, rows, gates, chosen, h, dy_rows, activation)
    # gates, chosen = routing(logits)
    dlogits = routing_backward(logits, chosen, dgates, routing.renormalise)  # [tokens, experts]
    if dloss is not None:
        dlogits = dlogits + load_balancing_backward(logits, chosen, dloss.astype(logits.dtype))
        if routing.z_weight:
            dlogits = dlogits + router_z_backward(logits, routing.z_weight * dloss.astype(logits.dtype))
    # logits = x @ router
    dlogits = dlogits.astype(x.dtype)
    dx = dx + jnp.matmul(dlogits, kernel.T, preferred_element_type=dx.dtype)  # [tokens, in]
    return dexperts | {"router": {"kernel": rows.T @ dlogits}}, dx.astype(x.dtype).reshape(x.shape)


@constructor
def mixture_of_experts(
    experts: PositiveInt,
    hidden: PositiveInt,
    *,
    top_k: PositiveInt = 2,
    features: PositiveInt | None = None,
    activation: str = "silu",
    gated: bool = True,
    renormalise: bool = True,
    use_bias: bool = False,
    balance: bool = False,
    z_weight: float = 0.0,
    kernel_init: Initializer = lecun_normal(),
) -> Layer:
    """Send each token of x [..., in] through `top_k` of `experts` MLPs, to [..., features], by default [..., in].

    The experts are `gated_mlp`s of `hidden` units, or plain MLPs with gated=False. The gates are the router's
    probabilities, divided by their sum over the chosen experts if `renormalise` (Mixtral; with top_k=1 that leaves
    the router no gradient: pass False, as Switch does). With `balance` the output is the pair (y, loss): the
    load-balancing loss plus z_weight times the router's z-loss, both means over all tokens of x, 0 if there are none.

    Parameters: router {kernel [in, experts]}, up {kernel [experts, in, width]} with width hidden, or 2 hidden with the
    gate's columns first, and down {kernel [experts, hidden, features]}, with biases if `use_bias`.
    Raises unless x is floating-point with the parameters' features and the parameters are this layer's.
    """
    name = "mixture_of_experts"
    if top_k > experts:
        raise ValueError(f"{name}: expected top_k of at most the {experts} experts, got {top_k}")
    if z_weight and not balance:
        raise ValueError(f"{name}: expected balance=True with z_weight, which is part of the loss beside y")
    check_activation(name, activation)
    f = gate_of(ACTIVATIONS[activation]) if gated else ACTIVATIONS[activation]
    width = 2 * hidden if gated else hidden
    routing = Routing(top_k, renormalise, balance, z_weight)

    def shapes(channels: int) -> dict[str, dict[str, tuple[int, ...]]]:
        out = features or channels
        up_bias, down_bias = ({"bias": (experts, n)} if use_bias else {} for n in (width, out))
        return {
            "router": {"kernel": (channels, experts)},
            "up": {"kernel": (experts, channels, width)} | up_bias,
            "down": {"kernel": (experts, hidden, out)} | down_bias,
        }

    def init(key: Array, x: Shaped) -> Params:
        check_features(x)
        expected = shapes(x.shape[-1])
        keys = dict(zip(expected, jax.random.split(key, 3), strict=True))

        def kernel(part: str) -> Array:
            *stack, rows, columns = expected[part]["kernel"]
            if not stack:
                return kernel_init(keys[part], (rows, columns), x.dtype)
            return jax.vmap(lambda k: kernel_init(k, (rows, columns), x.dtype))(jax.random.split(keys[part], *stack))

        biases = {part: {"bias": jnp.zeros(own["bias"], x.dtype)} for part, own in expected.items() if "bias" in own}
        return {part: {"kernel": kernel(part)} | biases.get(part, {}) for part in expected}

    def forward(params: Params, x: Float[Array, "... in"]) -> tuple[Any, tuple[Array, ...]]:
        check_features(x)
        expected = shapes(x.shape[-1])
        if jax.tree.structure(params) != jax.tree.structure(expected, is_leaf=lambda node: isinstance(node, tuple)):
            parts = ", ".join(f"{part} {{{', '.join(own)}}}" for part, own in expected.items())
            raise LayerValueError(f"expected parameters {parts}, got {describe(params)}")
        for part, own in expected.items():
            for kind, shape in own.items():
                if params[part][kind].shape != shape:
                    raise LayerValueError(
                        f"expected {part} {kind} {list(shape)} for x {describe(x)}, got {describe(params[part][kind])}"
                    )
        return mixture_of_experts_forward(params, x, routing, f)

    return stateless(
        forward,
        lambda params, x, residuals, dy: mixture_of_experts_backward(params, x, residuals, dy, routing, f),
        name=name,
        init=init,
        keeps=("logits", "chosen", "hidden"),
    )


def gate_of(activation: Activation) -> Activation:
    """The gated twins of an activation: the gate's half first."""
    return Activation(
        lambda x: gated_forward(x, activation),
        lambda x, dy: gated_backward(x, dy, activation),
    )
