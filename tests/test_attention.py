"""Attention: what is seen, queries that see nothing, and other libraries' attention."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purenet as pn
from purenet.layers.attention import attention_backward, attention_forward
from purenet.layers.attention_masks import alibi_slopes, visible_keys


def draw(*shapes: tuple[int, ...]) -> list[Any]:
    return [jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(shapes)]


def seen(*rows: str) -> Any:
    return np.array([[letter == "x" for letter in row] for row in rows])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"causal": True}, seen("x....", "xx...", "xxx..")),
        ({"causal": True, "offset": "end"}, seen("xxx..", "xxxx.", "xxxxx")),
        ({"causal": True, "offset": 1}, seen("xx...", "xxx..", "xxxx.")),
        ({"window": 1}, seen("xx...", "xxx..", ".xxx.")),
        ({"window": (1, 0), "offset": "end"}, seen(".xx..", "..xx.", "...xx")),
        ({"window": (None, 1)}, seen("xx...", "xxx..", "xxxx.")),
        ({"window": 1, "causal": True}, seen("x....", "xx...", ".xx..")),
    ],
)
def test_which_keys_a_query_sees(options: dict[str, Any], expected: Any) -> None:
    rules = {"causal": False, "window": None, "offset": 0} | options
    np.testing.assert_array_equal(visible_keys(3, 5, **rules), expected)


def test_slopes_of_the_paper() -> None:
    assert alibi_slopes(8) == [2.0**-i for i in range(1, 9)]
    assert alibi_slopes(12) == [2.0**-i for i in range(1, 9)] + [2.0 ** -(i + 0.5) for i in range(4)]


@pytest.mark.complete
@pytest.mark.parametrize("additive", [False, True])
def test_a_query_that_sees_nothing_gives_zero_and_no_gradient(additive: bool) -> None:
    """In the backward, in autodiff of the forward, and in forward mode through both."""
    q, k, v, do = draw((3, 2, 4), (5, 2, 4), (5, 2, 4), (3, 2, 4))
    allowed = jnp.array([True, False, True])[None, :, None] & jnp.ones((1, 3, 5), bool)
    masks = (None, jnp.where(allowed, 0.0, -jnp.inf)) if additive else (allowed, None)

    def by_hand(q: Any, k: Any, v: Any) -> Any:
        o, lse = attention_forward(q, k, v, *masks)
        return attention_backward(q, k, v, *masks, o, lse, do)[:3]

    def by_autodiff(q: Any, k: Any, v: Any) -> Any:
        return jax.vjp(lambda q, k, v: attention_forward(q, k, v, *masks)[0], q, k, v)[1](do)

    o, lse = attention_forward(q, k, v, *masks)
    assert not np.any(o[1])
    assert np.all(np.isposinf(lse[:, 1]))
    hand, hand_tangents = jax.jvp(by_hand, (q, k, v), (v[:3], v, k))
    auto, auto_tangents = jax.jvp(by_autodiff, (q, k, v), (v[:3], v, k))
    for mine, theirs in zip([*hand, *hand_tangents], [*auto, *auto_tangents], strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
    assert not np.any(hand[0][1])


def test_scores_far_apart_stay_finite() -> None:
    q, k, v, do = draw((3, 1, 4), (5, 1, 4), (5, 1, 4), (3, 1, 4))
    o, lse = attention_forward(1e4 * q, 1e4 * k, v)
    gradients = attention_backward(1e4 * q, 1e4 * k, v, None, None, o, lse, do)[:3]
    assert all(bool(jnp.all(jnp.isfinite(part))) for part in (o, lse, *gradients))


@pytest.mark.parametrize("causal", [False, True])
def test_equals_jax_nn(causal: bool) -> None:
    q, k, v, bias = draw((2, 3, 4, 6), (2, 5, 2, 6), (2, 5, 2, 6), (1, 4, 3, 5))
    mask = jax.random.bernoulli(jax.random.key(9), 0.8, (2, 1, 3, 5)).at[..., 0].set(True)
    window: dict[str, Any] = {"local_window_size": (1, 2)} if causal else {}
    with jax.numpy_rank_promotion("allow"):
        expected = jax.nn.dot_product_attention(q, k, v, bias, mask, is_causal=causal, **window)
    o, _ = attention_forward(q, k, v, mask, bias, causal=causal, window=(1, 2) if causal else None)
    np.testing.assert_allclose(o, expected, atol=1e-6)


@pytest.mark.parametrize("case", ["plain", "causal", "grouped", "boolean", "additive"])
def test_equals_torch(case: str) -> None:
    torch = pytest.importorskip("torch")
    q, k, v, do, bias = draw((2, 3, 4, 6), (2, 5, 4, 6), (2, 5, 4, 7), (2, 3, 4, 7), (2, 1, 3, 5))
    mask = jax.random.bernoulli(jax.random.key(9), 0.7, (2, 4, 3, 5)).at[0, 0, 0].set(False)
    if case == "grouped":
        k, v = k[:, :, :2], v[:, :, :2]
    mine: dict[str, Any] = {"causal": {"causal": True}, "boolean": {"mask": mask}, "additive": {"bias": bias}}.get(
        case, {}
    )
    theirs: dict[str, Any] = {
        "causal": {"is_causal": True},
        "grouped": {"enable_gqa": True},
        "boolean": {"attn_mask": torch.tensor(np.array(mask))},
        "additive": {"attn_mask": torch.tensor(np.array(bias))},
    }.get(case, {})
    leaves = [torch.tensor(np.array(part).swapaxes(1, 2), requires_grad=True) for part in (q, k, v)]
    expected = torch.nn.functional.scaled_dot_product_attention(*leaves, **theirs)
    expected.backward(torch.tensor(np.array(do).swapaxes(1, 2)))
    o, lse = attention_forward(q, k, v, **mine)
    masks = mine.pop("mask", None), mine.pop("bias", None)
    gradients = attention_backward(q, k, v, *masks, o, lse, do, **mine)[:3]
    for own, other in zip((o, *gradients), (expected.detach(), *(leaf.grad for leaf in leaves)), strict=True):
        np.testing.assert_allclose(own, other.numpy().swapaxes(1, 2), atol=2e-6)


def test_multi_head_attention_equals_torchs() -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.nn.MultiheadAttention(8, 2, kdim=5, vdim=7, batch_first=True)
    x = draw((3, 4, 8), (3, 6, 5), (3, 6, 7))
    mask = jax.random.bernoulli(jax.random.key(9), 0.7, (3, 6)).at[:, 0].set(True)
    inputs = [torch.tensor(np.array(part)) for part in x]
    expected, _ = theirs(*inputs, key_padding_mask=torch.tensor(~np.array(mask)))  # True there: not seen
    array = {name: jnp.array(value.detach().numpy()) for name, value in theirs.state_dict().items()}
    biases = jnp.split(array["in_proj_bias"], 3)
    names = zip("qkv", ("query", "key", "value"), biases, strict=True)
    project = {name: {"kernel": array[f"{letter}_proj_weight"].T, "bias": bias} for letter, name, bias in names}
    out = {"kernel": array["out_proj.weight"].T, "bias": array["out_proj.bias"]}
    layer = pn.multi_head_attention(2)
    y = layer.predict({"project": project, "packed_attention": (), "out": out}, (), (*x, mask))
    np.testing.assert_allclose(y, expected.detach().numpy(), atol=1e-6)


def test_a_block_keeps_what_the_design_says() -> None:
    block = pn.residual(pn.serial(norm=pn.layer_norm(), attention=pn.self_attention(2)))
    kept = [row for row in str(pn.plan(block)).splitlines() if "  kept " in row]
    assert len(kept) == 5, kept  # mean, rstd; queries, keys and values; o; lse


def test_a_mask_goes_through_a_whole_attention_layer() -> None:
    """What stands behind the mask changes nothing, and gets no gradient."""
    layer, (x,) = pn.self_attention(2), draw((2, 5, 6))
    mask = jnp.arange(5)[None] < jnp.array([[3], [5]])
    params, _ = layer.init(jax.random.key(0), (x, mask))
    y, _, residuals = layer.forward(params, (), (x, mask), None)
    changed = layer.predict(params, (), (x.at[0, 3:].add(1.0), mask))
    np.testing.assert_allclose(changed[0, :3], y[0, :3], atol=1e-6)
    dy = jnp.zeros_like(y).at[:, :3].set(1.0)
    _, (dx, dmask) = layer.backward(params, (x, mask), y, residuals, dy)
    assert dmask is None
    assert not np.any(dx[0, 3:])
    assert np.any(dx[1, 3:])
