"""Attention block by block: equal to all scores at once, at a fraction of the bytes and FLOPs."""

from __future__ import annotations

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cost import cost

import purenet as pn
from purenet.flops import matmul_flops
from purenet.layers.attention import attention_backward, attention_forward
from purenet.layers.attention_blocks import (
    balanced,
    block_attention_backward,
    block_attention_forward,
    visible_pairs,
)
from purenet.layers.attention_masks import visible_keys


def draw(*shapes: tuple[int, ...], dtype: Any = float) -> list[Any]:
    return [jax.random.normal(jax.random.key(i), shape, dtype) for i, shape in enumerate(shapes)]


def spec(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


BATCH, TIME, STEPS = 2, 7, 5
CASES: dict[str, tuple[Any, dict[str, Any], Any]] = {
    "one pair": (100, {"softcap": 1.5, "scale": 0.3}, None),
    "last query at last key": (3, {"causal": True, "offset": "end"}, None),
    "queries before every key": ((2, 4), {"causal": True, "offset": -3}, ("boolean", 1, STEPS)),
    "window and distances": (2, {"window": (2, 0), "alibi": True}, ("floating", 4, TIME, 1)),
    "half a window": ((7, 1), {"window": (None, 1)}, ("floating", BATCH, 1, TIME, STEPS)),
    "padding": ((3, 2), {"causal": True}, ("boolean", BATCH, 1, 1, STEPS)),
    "a bias of heads": (2, {"causal": True, "softcap": 2.0}, ("floating", 1, 4, 1, 1)),
    "documents": ((4, 2), {"window": 3}, "documents"),
}


def masks_of(kind: Any) -> tuple[Any, Any]:
    if kind is None:
        return None, None
    if kind == "documents":
        return (jnp.array([[0, 0, 1, 1, 1, -1, -1], [4] * TIME]), jnp.array([[0, 1, 1, 2, -1], [4, 4, 5, 4, 4]])), None
    key = jax.random.key(9)
    if kind[0] == "boolean":
        return jax.random.bernoulli(key, 0.6, kind[1:]), None
    return None, jax.random.normal(key, kind[1:])


@pytest.mark.parametrize("name", CASES)
def test_equals_all_scores_at_once(name: str) -> None:
    """Outputs, log-sum-exps and all gradients, of grouped heads, values of another size and lengths that no block
    divides."""
    block, options, kind = CASES[name]
    with jax.enable_x64(True):
        q, k, v, do = draw((BATCH, TIME, 4, 6), (BATCH, STEPS, 2, 6), (BATCH, STEPS, 2, 3), (BATCH, TIME, 4, 3))
        masks = masks_of(kind)

        def pulled(forward: Any, backward: Any, **sizes: Any) -> Any:
            o, lse = forward(q, k, v, *masks, **sizes, **options)
            return o, lse, backward(q, k, v, *masks, o, lse, do, **sizes, **options)

        plain = jax.jit(lambda: pulled(attention_forward, attention_backward))()
        blocks = jax.jit(lambda: pulled(block_attention_forward, block_attention_backward, block=block))()
        assert jax.tree.structure(plain) == jax.tree.structure(blocks)
        for mine, theirs in zip(jax.tree.leaves(blocks), jax.tree.leaves(plain), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.complete
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"causal": True},
        {"causal": True, "offset": "end"},
        {"causal": True, "window": 3},
        {"window": (2, 4), "offset": -2},
    ],
)
@pytest.mark.parametrize(("queries", "keys", "rows", "columns"), [(12, 12, 3, 3), (13, 9, 4, 2)])
def test_only_visible_pairs_cost_flops(
    queries: int, keys: int, rows: int, columns: int, options: dict[str, Any]
) -> None:
    q, k = spec(queries, 2, 4), spec(keys, 2, 4)
    rows, columns = balanced(queries, rows), balanced(keys, columns)
    seen = visible_keys(queries, keys, **{"causal": False, "window": None, "offset": 0} | options)
    seen = np.ones((queries, keys), bool) if seen is None else np.asarray(seen)
    corners = [(t, s) for t in range(0, queries, rows) for s in range(0, keys, columns)]
    expected = {(t, s) for t, s in corners if seen[t : t + rows, s : s + columns].any()}
    pairs: Any = visible_pairs(cast(Any, q), cast(Any, k), (rows, columns), "rows", **options)
    assert set(zip(pairs.own_t.tolist(), pairs.own_s.tolist(), strict=True)) == expected

    def gradients(q: Any, k: Any, v: Any, do: Any) -> Any:
        o, lse = block_attention_forward(q, k, v, block=(rows, columns), **options)
        return block_attention_backward(q, k, v, None, None, o, lse, do, block=(rows, columns), **options)[:3]

    traced = jax.jit(gradients).trace(q, k, k, q)
    products = 2 + 5  # of a pair, forward and backward
    assert matmul_flops(traced.jaxpr.jaxpr) == products * len(expected) * 2 * rows * columns * 2 * 4


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 100])
def test_blocks_are_balanced(size: int) -> None:
    for length in range(1, 40):
        block = balanced(length, size)
        number = -(-length // block)
        assert block <= size
        assert number == -(-length // size)
        assert number * block - length < number


@pytest.mark.parametrize("block", [None, 2])
def test_documents_see_only_themselves(block: int | None) -> None:
    layer, x = pn.packed_attention(2, causal=True, block=block), draw((1, 10, 24))[0]
    numbers = jnp.array([[7] * 4 + [0] * 4 + [-1] * 2])

    def pulled(x: Any) -> Any:
        y, _, residuals = layer.forward((), (), (x, numbers), None)
        return y, layer.backward((), (x, numbers), y, residuals, jnp.ones_like(y))[1]

    y, (dx, dnumbers) = jax.jit(pulled)(x)
    alone = jax.jit(layer.predict)((), (), x[:, :8].reshape(2, 4, 24))
    np.testing.assert_allclose(y[:, :8].reshape(alone.shape), alone, atol=1e-6)
    assert dnumbers is None
    assert not np.any(y[:, 8:])
    assert not np.any(dx[:, 8:])


def plain(q: Any, k: Any, v: Any) -> Any:
    scores = jnp.einsum("bthd,bshd->bhts", q, k) * jnp.asarray(q.shape[-1] ** -0.5, q.dtype)
    seen = jnp.broadcast_to(jnp.tri(q.shape[1], dtype=bool), scores.shape)
    return jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(jnp.where(seen, scores, -jnp.inf), -1), v)


def by_autodiff(q: Any, k: Any, v: Any, do: Any) -> Any:
    return jax.value_and_grad(lambda q, k, v: jnp.sum(plain(q, k, v) * do), (0, 1, 2))(q, k, v)


def by_blocks(q: Any, k: Any, v: Any, do: Any, block: int = 128) -> Any:
    o, lse = block_attention_forward(q, k, v, causal=True, block=block)
    return jnp.sum(o * do), block_attention_backward(q, k, v, None, None, o, lse, do, causal=True, block=block)[:3]


@pytest.mark.complete
def test_long_causal_attention_takes_a_hundredth_of_the_bytes() -> None:
    """What is left is the output and a few blocks."""
    arrays = [spec(1, 4096, 12, 64)] * 4
    blocks, auto = cost(by_blocks, *arrays), cost(by_autodiff, *arrays)
    assert auto.temporary >= 100 * blocks.temporary, (blocks, auto)
    assert blocks.flops <= 0.605 * auto.flops, (blocks, auto)


@pytest.mark.complete
def test_the_layer_under_jax_grad_takes_a_fiftieth_of_the_bytes() -> None:
    """From packed queries, keys and values, whose gradient is packed too."""
    layer = pn.as_function(pn.packed_attention(12, causal=True, block=128))
    x, dy = spec(1, 4096, 3 * 768), spec(1, 4096, 768)

    def packed(x: Any, dy: Any) -> Any:
        q, k, v = (part.reshape(1, 4096, 12, 64) for part in jnp.split(x, 3, -1))
        return jnp.sum(plain(q, k, v).reshape(dy.shape) * dy)

    blocks = cost(lambda x, dy: jax.grad(lambda x: jnp.sum(layer((), x) * dy))(x), x, dy)
    auto = cost(lambda x, dy: jax.grad(packed)(x, dy), x, dy)
    assert auto.temporary >= 50 * blocks.temporary, (blocks, auto)


@pytest.mark.complete
def test_bfloat16_is_rounded_where_it_comes_in_and_goes_out() -> None:
    """Gradients against float64: within 2e-3 of their length, of which rounding the right ones takes 1.7e-3."""
    arrays = draw(*[(1, 256, 2, 64)] * 4, dtype=jnp.bfloat16)
    with jax.enable_x64(True):
        wide = jax.jit(by_autodiff)(*(part.astype(jnp.float64) for part in arrays))[1]
        truth = [np.asarray(part) for part in wide]
    for mine, right in zip(jax.jit(by_blocks)(*arrays)[1], truth, strict=True):
        error = np.asarray(mine, np.float64) - right
        assert np.linalg.norm(error) <= 2e-3 * np.linalg.norm(right)
