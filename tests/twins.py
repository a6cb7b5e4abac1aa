"""A row of the catalogue at work, in float64 and narrower, and how two gradients are compared."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from compile_flags import AS_FOR_USERS

from purenet.catalogue import Row, catalogue, input_of
from purenet.layer import run_backward

ROWS = catalogue()


class Twin:
    """One row at work: parameters moved away from ones and zeros, an input, forward and backward with frozen keys."""

    def __init__(self, row: Row, params: Any, state: Any, x: Any, dy: Any = None):
        self.row, self.layer = row, row.layer
        self.params, self.state, self.x, self.dy = params, state, x, dy
        self.arguments = params, state, x, dy

    def forward(self, params: Any, state: Any, x: Any) -> tuple[Any, Any]:
        y, _, residuals = self.layer.forward(params, state, x, jax.random.key(11))
        return y, residuals

    def value(self, params: Any, state: Any, x: Any) -> Any:
        return self.forward(params, state, x)[0]

    def pull(self, params: Any, state: Any, x: Any, dy: Any) -> Any:
        """Forward and backward: (y, (dparams, dx))."""
        y, residuals = self.forward(params, state, x)
        return y, run_backward(self.layer, params, x, y, residuals, dy)

    def pull_by_autodiff(self, params: Any, state: Any, x: Any, dy: Any) -> Any:
        """(y, gradients of the floating leaves of (params, x)) of jax.vjp through forward."""
        inexact, rest = split_floating((params, x))

        def value(inexact: Any) -> Any:
            params, x = join(inexact, rest)
            return self.value(params, state, x)

        y, vjp = jax.vjp(value, inexact)
        return y, vjp(dy)[0]

    def jit(self, function: Callable[..., Any]) -> Any:
        # noise is float32 in every dtype, and in a hurry its last bit depends on what is fused with it
        return jax.jit(function, compiler_options=AS_FOR_USERS if self.row.random else None)

    @functools.cached_property
    def compiled_pull(self) -> Any:
        return self.jit(self.pull)

    @functools.cached_property
    def pulled(self) -> Any:
        return self.compiled_pull(*self.arguments)

    @property
    def second_order(self) -> Any:
        """Hessian-vector products, by hand and by jax.vjp: forward mode in a direction of parameters and input."""
        inexact, rest = split_floating((self.params, self.x))

        def gradients(inexact: Any) -> Any:
            params, x = join(inexact, rest)
            return [pull(params, self.state, x, self.dy)[1] for pull in (self.pull, self.pull_by_autodiff)]

        direction = [np.sin(3 * np.asarray(leaf)) for leaf in inexact]
        return self.jit(lambda *point: jax.jvp(gradients, *point)[1])((inexact,), (direction,))

    @functools.cached_property
    def together(self) -> Any:
        """What a first run compares, of one program, which has the forward once: (y, gradient) by hand, jax.vjp's
        gradient and predict's y."""

        def all_three(params: Any, state: Any, x: Any, dy: Any) -> Any:
            by_autodiff = self.pull_by_autodiff(params, state, x, dy)[1]
            return self.pull(params, state, x, dy), by_autodiff, self.layer.predict(params, state, x)

        return self.jit(all_three)(*self.arguments)


@functools.cache
def twin64(name: str) -> Twin:
    row = next(row for row in ROWS if row.name == name)
    with jax.enable_x64(True):  # operation by operation: rows share the programs of random numbers
        x = jax.device_put(input_of(row))
        params, state = row.layer.init(jax.random.key(7), x)
        params = jax.device_put(jax.tree.map(lambda p, n: np.asarray(p) + 0.3 * n, params, noise(7, params)))
        y = jax.eval_shape(Twin(row, params, state, x).value, params, state, x)
        return Twin(row, params, state, x, jax.device_put(noise(12, y)))


@functools.cache
def narrow_twin(name: str, dtype: str) -> Twin:
    """The same numbers, rounded."""
    wide = twin64(name)
    return Twin(wide.row, *rounded(wide.arguments, jnp.dtype(dtype)))


def noise(seed: int, tree: Any) -> Any:
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(leaf.dtype), tree)


def rounded(tree: Any, dtype: Any) -> Any:
    """Floating leaves in another dtype, without compiling anything."""

    def round_leaf(leaf: Any) -> Any:
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            return jax.device_put(np.asarray(leaf).astype(dtype))
        return np.asarray(leaf, np.int32) if leaf.dtype == np.int64 else leaf

    return jax.tree.map(round_leaf, tree)


def widened(narrow: Any, wide: Any) -> Any:
    return jax.device_put(np.asarray(narrow).astype(wide.dtype))


def split_floating(tree: Any) -> tuple[list, Any]:
    """The floating leaves, and what is needed to put them back."""
    leaves, structure = jax.tree.flatten(tree)
    inexact = [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return inexact, ([None if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf for leaf in leaves], structure)


def join(inexact: list, rest: Any) -> Any:
    moving = iter(inexact)
    return jax.tree.unflatten(rest[1], [next(moving) if leaf is None else leaf for leaf in rest[0]])


def assert_close(actual: Any, expected: Any, relative: float) -> None:
    """Leaf by leaf, relative to the largest value of the leaf."""
    for difference, scale in differences(actual, expected):
        assert difference <= relative * scale, f"{difference} of {scale}"


def differences(actual: Any, expected: Any) -> list[tuple[float, float]]:
    """(largest difference, largest expected value), leaf by leaf."""
    actual, expected = jax.tree.leaves(actual), jax.tree.leaves(expected)
    assert len(actual) == len(expected)
    found = []
    for mine, theirs in zip(actual, expected, strict=True):
        mine, theirs = np.asarray(mine, np.float64), np.asarray(theirs, np.float64)
        assert mine.shape == theirs.shape
        found.append((float(np.max(np.abs(mine - theirs), initial=0)), float(np.max(np.abs(theirs), initial=0))))
    return found
