"""Rows of models and of the layers they bring along.

Rows of whole models are small and few, the ones whose parts no other row combines; tests/test_models.py has the rest.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from gpt_value import TINY, logits_of

import purenet as pn
from purenet import losses, models

from .case import FEATURES, Case, Draw, features, open_interval, pair, sequence

LATENT = 3


def moments(key: Any, batch: int) -> Any:
    return jax.random.normal(key, (batch, 2 * LATENT))


def predictions(key: Any, batch: int) -> Any:
    first, second = jax.random.split(key)
    return features(first, batch), moments(second, batch)


def images(*shape: int) -> Draw:
    return lambda key, batch: jax.random.normal(key, (batch, *shape))


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


def with_token(params: Any, x: Any) -> Any:
    return np.insert(np.asarray(x), 0, params["token"], -2)


def reconstructed(params: Any, x: Any) -> Any:
    """What a linear vae gives at inference, and its moments."""
    by = params["encoder"]["dense1"], params["latent"]["decoder"]["dense1"]
    encoded = x @ by[0]["kernel"] + by[0]["bias"]
    return encoded[..., :LATENT] @ by[1]["kernel"] + by[1]["bias"], encoded


def mean_divergence(params: Any, x: Any) -> Any:
    return np.mean(divergence(x))


SMALL = TINY._replace(vocab_size=9, context_length=6, features=6)


def ids(key: Any, batch: int) -> Any:
    return jax.random.randint(key, (batch, 5), 0, SMALL.vocab_size)


PREDICTED = pair(predictions, open_interval)

ROWS = [
    Case("gaussian_sample", models.gaussian_sample(), moments, lambda params, x: x[..., :LATENT], random=True),
    Case("gaussian_kl", models.gaussian_kl(), moments, mean_divergence, batched=False, alone=True),
    Case("negative_elbo", models.negative_elbo(beta=0.3), PREDICTED, bound, reduction="mean", alone=True),
    Case("class_token", models.class_token(), sequence, with_token),
    # XLA:CPU keeps dy beside dx, one step among all: more than the slack in short sequences.
    Case("first_token", models.first_token(), images(11, 3), lambda params, x: x[:, 0]),
    Case("widening_shortcut", models.widening_shortcut(4), images(5, 5, 2), shortened),
    Case("vae", models.vae(FEATURES, LATENT, hidden=()), features, reconstructed, random=True, alone=True),
    Case(
        "vae_objective",
        pn.objective(models.vae(FEATURES, LATENT, hidden=(5,)), models.negative_elbo(losses.half_squared_error)),
        pair(features, features),
        random=True,
    ),
    Case("gpt", models.gpt(SMALL), ids, lambda params, x: logits_of(SMALL, params, x), alone=True),
]
