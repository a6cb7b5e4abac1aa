"""The largest learning rate at which gradient descent does not explode: 2 / the Hessian's largest eigenvalue.

Near a minimum one step multiplies the error by 1 - rate * curvature, along each eigenvector of the Hessian. The
largest curvature is found by power iteration on Hessian-vector products. Nocedal & Wright, *Numerical
Optimization* (2006), chapter 3; LeCun et al., *Efficient BackProp* (1998).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from .probe import Probe

STEPS = 100


def stable_rate(probe: Probe, rate: float) -> str:
    """A note that says whether a learning rate is stable for the scalar that the probe computes."""
    if len(probe.dys) != 1 or jnp.shape(probe.dys[0]) != ():
        return "no stable learning rate is given: the target is not a scalar"
    curvature = float(largest_curvature(probe))
    if not curvature > 0:
        return f"the loss is not convex along its steepest direction here (curvature {curvature:.3g}): no rate is given"
    largest = 2 / curvature
    fact = f"the largest stable rate of gradient descent here is 2 / {curvature:.4g} = {largest:.4g}"
    if rate > largest:
        return f"your gradient is right; your learning rate is not: at {rate:g} the loss explodes, since {fact}"
    return f"your learning rate {rate:g} is stable: {fact}"


def largest_curvature(probe: Probe) -> Any:
    """The largest eigenvalue (by size) of the Hessian with respect to the parameters, or all leaves if none are."""
    count = probe.params or len(probe.leaves)
    fixed = [jnp.asarray(leaf) for leaf in probe.leaves[count:]]

    def gradient(params: list[Any]) -> list[Any]:
        return probe.plain[1]([*params, *fixed], [jnp.ones(())])[1][:count]

    start = [jnp.asarray(leaf) for leaf in probe.leaves[:count]]
    keys = jax.random.split(jax.random.key(0), len(start))
    vector = [jax.random.normal(key, leaf.shape, leaf.dtype) for key, leaf in zip(keys, start, strict=True)]

    def step(_: Any, both: Any) -> Any:
        vector, _ = both
        size = jnp.sqrt(sum(jnp.sum(v * v) for v in vector))
        unit = [v / size for v in vector]
        product = jax.jvp(gradient, (start,), (unit,))[1]
        return product, sum(jnp.sum(u * p) for u, p in zip(unit, product, strict=True))

    return jax.jit(lambda v: jax.lax.fori_loop(0, STEPS, step, (v, jnp.zeros(()))))(vector)[1]
