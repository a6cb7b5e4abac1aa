"""Models and the layers they bring along."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from gpt_value import logits_of

from purenet import models

LATENT = 3


def divergence(x: Any) -> Any:
    """KL(N(m, s^2) || N(0, 1)) by quadrature, one number an example: the integral of q log(q / p) over the line."""
    mean, s = np.asarray(x[..., :LATENT, None]), np.exp(np.asarray(x[..., LATENT:, None]) / 2)
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    z = mean + s * nodes
    log_ratio = -np.log(s) - nodes**2 / 2 + z**2 / 2  # a polynomial: the quadrature is exact
    return (log_ratio * weights / np.sqrt(2 * np.pi)).sum((-1, -2))


def bound(params: Any, x: Any) -> Any:
    (logits, moments), targets = x
    likelihood = targets * jax.nn.log_sigmoid(logits) + (1 - targets) * jax.nn.log_sigmoid(-logits)
    return np.mean(0.3 * divergence(moments) - likelihood.sum(-1))


def shortened(params: Any, x: Any) -> Any:
    y = np.zeros((len(x), 3, 3, 4))
    for i, j in np.ndindex(3, 3):
        y[:, i, j, :2] = x[:, 2 * i, 2 * j]
    return y


def reconstructed(params: Any, x: Any) -> Any:
    """What a linear vae gives at inference, and its moments."""
    by = params["encoder"]["dense1"], params["latent"]["decoder"]["dense1"]
    encoded = x @ by[0]["kernel"] + by[0]["bias"]
    return encoded[..., :LATENT] @ by[1]["kernel"] + by[1]["bias"], encoded


GPT2 = models.GPTConfig(vocab_size=9, context_length=6, features=6, blocks=2, heads=2)
LLAMA = GPT2._replace(
    kv_heads=1,
    norm="rms_norm",
    activation="swiglu",
    hidden=4,
    qk_norm=True,
    use_bias=False,
    positions="rotary",
    head_features=4,
)


def next_ones(params: Any, x: Any) -> Any:
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits_of(LLAMA, params, x[0]), x[1]))


VALUES = {
    "gaussian_kl": lambda params, x: np.mean(divergence(x)),
    "negative_elbo": bound,
    "widening_shortcut": shortened,
    "vae": reconstructed,
    "gpt": lambda params, x: logits_of(GPT2, params, x),
    "gpt, nested": lambda params, x: logits_of(GPT2, params, x),
    "gpt_objective": next_ones,
}
