"""Output head and cross entropy in one rule: what it saves, that its three ways agree, and what stands around it."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cost import Cost, cost

import purenet as pn
from purenet import losses
from purenet.checking.localise import localise
from purenet.flops import matmul_flops
from purenet.layer import run_backward
from purenet.losses.chunks import equal_chunks
from purenet.losses.linear_chunks import (
    linear_cross_entropy_by_tokens_backward,
    linear_cross_entropy_by_tokens_forward,
    linear_cross_entropy_by_tokens_predict,
    linear_cross_entropy_by_vocabulary_backward,
    linear_cross_entropy_by_vocabulary_forward,
)
from purenet.losses.linear_logits import Targets, Terms, linear_cross_entropy_backward, linear_cross_entropy_forward

TOKENS, WIDTH, VOCABULARY = 8192, 768, 50304


def shape(*sizes: int, dtype: Any = jnp.float32) -> Any:
    return jax.ShapeDtypeStruct(sizes, dtype)


IDS = shape(TOKENS, dtype=jnp.int32)


def everyday(kernel: Any, hidden: Any, labels: Any) -> Any:
    return optax.softmax_cross_entropy_with_integer_labels(hidden @ kernel, labels).mean()


@functools.cache
def everyday_cost() -> Cost:
    gradient = jax.value_and_grad(everyday, (0, 1))
    return cost(gradient, shape(WIDTH, VOCABULARY), shape(TOKENS, WIDTH), IDS)


def fused_cost(vocabulary: int = VOCABULARY, **options: Any) -> Cost:
    """Under jax.grad, for both gradients."""
    loss = pn.as_function(losses.linear_cross_entropy(vocabulary, **options))
    gradient = jax.value_and_grad(
        lambda kernel, hidden, labels: loss({"kernel": kernel}, (hidden, labels)), argnums=(0, 1)
    )
    return cost(gradient, shape(WIDTH, vocabulary), shape(TOKENS, WIDTH), IDS)


# What it saves. Shapes alone are compiled, nothing is run.


@pytest.mark.complete
def test_by_tokens_takes_a_twelfth_of_the_bytes_at_the_same_flops() -> None:
    hand, auto = fused_cost(), everyday_cost()
    assert auto.temporary >= 12 * hand.temporary, (hand, auto)
    assert hand.flops == auto.flops


@pytest.mark.complete
def test_by_vocabulary_takes_a_fiftieth_of_the_bytes_at_a_third_more_flops() -> None:
    hand, auto = fused_cost(by="vocabulary"), everyday_cost()
    assert auto.temporary >= 50 * hand.temporary, (hand, auto)
    assert hand.flops <= 1.34 * auto.flops


@pytest.mark.complete
def test_a_vocabulary_that_nothing_divides_costs_no_copy_of_the_kernel() -> None:
    hand, even = fused_cost(50257, by="vocabulary"), fused_cost(by="vocabulary")
    assert hand.temporary <= 1.2 * even.temporary, (hand, even)


@pytest.mark.complete
def test_tied_to_an_embedding_there_is_one_gradient_of_the_table() -> None:
    """Beside it stand the hidden states, their gradient, one chunk of logits and, on the CPU, a product to be added."""
    network = pn.head_objective(
        pn.serial(embed=pn.embedding(VOCABULARY, WIDTH)), losses.linear_cross_entropy(VOCABULARY, transposed=True)
    )
    tied = pn.tied(network, {"head.kernel": "body.embed.embedding.T"})
    params = {"body": {"embed": {"embedding": shape(VOCABULARY, WIDTH)}}, "head": {"kernel": None}}
    hand = cost(lambda params, x: pn.value_and_grad(tied)(params, (), x), params, (IDS, IDS))
    table, hidden = 4 * VOCABULARY * WIDTH, 4 * TOKENS * WIDTH
    assert hand.temporary <= 1.01 * (table + 2 * hidden + 4 * 512 * VOCABULARY)


def test_prediction_forms_no_gradients() -> None:
    for by in ("tokens", "vocabulary"):
        layer = losses.linear_cross_entropy(64, by=by, chunk=8)
        x = shape(32, 16), shape(32, dtype=jnp.int32)
        traced = jax.make_jaxpr(lambda params, x, layer=layer: layer.predict(params, (), x))(
            {"kernel": shape(16, 64)}, x
        )
        assert matmul_flops(traced.jaxpr) == 2 * 32 * 16 * 64


# The three rules.


@pytest.mark.parametrize(("size", "at_most"), [(12, 4), (13, 4), (7, 9), (1, 1), (100, 16), (50257, 768), (50304, 48)])
def test_chunks_cover_every_place_once(size: int, at_most: int) -> None:
    chunks = equal_chunks(size, at_most)
    counts = np.zeros(size, int)
    for k in range(chunks.number):
        start = int(chunks.start(k))
        assert 0 <= start <= size - chunks.length
        counts[start : start + chunks.length] += np.asarray(chunks.is_new(k))
    assert np.all(counts == 1)
    assert chunks.length <= at_most
    assert chunks.number * chunks.length <= 1.01 * size + at_most


@pytest.mark.parametrize(
    ("name", "tokens", "vocabulary", "chunk"), [("kernel", 13, 11, 4), ("embedding", 13, 11, 4), ("kernel", 5, 19, 50)]
)
def test_chunked_rules_equal_the_plain_one(name: str, tokens: int, vocabulary: int, chunk: int) -> None:
    terms = Terms(label_smoothing=0.1, z_loss=0.01, softcap=3.0)
    random = np.random.default_rng(0)
    with jax.enable_x64(True):
        kernel = random.normal(size=(6, vocabulary))
        params = {name: jnp.asarray(kernel if name == "kernel" else kernel.T), "bias": jnp.asarray(kernel[0])}
        hidden, dy = jnp.asarray(random.normal(size=(tokens, 6))), jnp.float64(0.7)
        labels = jnp.asarray(random.integers(0, vocabulary, tokens), jnp.int32)
        targets = Targets(labels, jnp.asarray(random.integers(0, 2, tokens), float), jnp.float64(5))
        given = params, hidden, targets

        def plain() -> Any:
            y, kept = linear_cross_entropy_forward(*given, terms)
            return y, linear_cross_entropy_backward(*given, kept, dy, terms)

        def by_tokens() -> Any:
            y, kept = linear_cross_entropy_by_tokens_forward(*given, chunk, terms)
            y_alone = linear_cross_entropy_by_tokens_predict(*given, chunk, terms)
            return (y + y_alone) / 2, linear_cross_entropy_by_tokens_backward(params, kept, dy)

        def by_vocabulary() -> Any:
            y, kept = linear_cross_entropy_by_vocabulary_forward(*given, chunk, terms)
            return y, linear_cross_entropy_by_vocabulary_backward(*given, kept, dy, chunk, terms)

        expected, *found = jax.jit(lambda: (plain(), by_tokens(), by_vocabulary()))()
        for chunked in found:
            for mine, true in zip(jax.tree.leaves(chunked), jax.tree.leaves(expected), strict=True):
                np.testing.assert_allclose(mine, true, rtol=0, atol=1e-14 * float(jnp.max(jnp.abs(true))))


@pytest.mark.parametrize("by", ["tokens", "vocabulary"])
def test_label_out_of_range_is_nan_inside_jit(by: str) -> None:
    layer = losses.linear_cross_entropy(5, by=by, chunk=2)
    hidden, params = jnp.ones((3, 4)), {"kernel": jnp.ones((4, 5))}
    gradient = jax.jit(jax.value_and_grad(lambda hidden, labels: pn.as_function(layer)(params, (hidden, labels))))
    value, dhidden = gradient(hidden, jnp.array([0, 5, 4]))
    assert np.isnan(value)
    np.testing.assert_array_equal(np.isnan(dhidden).all(1), [False, True, False])


@pytest.mark.parametrize("by", ["tokens", "vocabulary"])
def test_what_is_left_out_weighs_nothing(by: str) -> None:
    """Whatever stands there: the loss is the mean over the rest; with nothing left it is 0."""
    layer = losses.linear_cross_entropy(5, by=by, chunk=2, ignore_index=-100)
    hidden, params = jax.random.normal(jax.random.key(0), (4, 3)), {"kernel": jnp.sin(jnp.arange(15.0)).reshape(3, 5)}
    labels, where = jnp.array([1, -100, 4, 2]), jnp.array([True, True, True, False])
    rest = np.array([0, 2])
    expected = everyday(params["kernel"], hidden[rest], labels[rest])
    value = jax.jit(lambda where: layer.predict(params, (), (hidden, (labels, where))))
    assert float(value(where)) == pytest.approx(float(expected), rel=1e-6)
    assert float(value(jnp.zeros_like(where))) == 0


@pytest.mark.parametrize("by", ["tokens", "vocabulary"])
def test_a_vocabulary_padded_with_a_bias_of_minus_infinity(by: str) -> None:
    """Whole chunks of logits may be -inf."""
    layer = losses.linear_cross_entropy(12, by=by, chunk=3, use_bias=True)
    hidden, kernel = jax.random.normal(jax.random.key(0), (4, 3)), jnp.sin(jnp.arange(36.0)).reshape(3, 12)
    labels, bias = jnp.array([7, 6, 8, 6]), jnp.full(12, -jnp.inf).at[6:9].set(0)
    loss = pn.as_function(layer)
    gradient = jax.jit(jax.value_and_grad(lambda kernel: loss({"kernel": kernel, "bias": bias}, (hidden, labels))))
    value, gradient = gradient(kernel)
    expected, true = jax.value_and_grad(everyday)(kernel[:, 6:9], hidden, labels - 6)
    assert float(value) == pytest.approx(float(expected), rel=1e-6)
    np.testing.assert_allclose(gradient[:, 6:9], true, atol=1e-6)
    assert not np.any(np.delete(gradient, [6, 7, 8], 1))


@pytest.mark.complete
@pytest.mark.parametrize("by", ["tokens", "vocabulary"])
def test_gradients_in_bfloat16_are_right_to_its_last_digit(by: str) -> None:
    """The relative error of everything in bfloat16 is what rounding the right gradient costs, 1.7e-3."""
    layer = losses.linear_cross_entropy(300, by=by, chunk=64)
    keys = jax.random.split(jax.random.key(0), 3)
    hidden, kernel = jax.random.normal(keys[0], (1024, 32), jnp.bfloat16), jax.random.normal(keys[1], (32, 300))
    params, labels = {"kernel": (0.2 * kernel).astype(jnp.bfloat16)}, jax.random.randint(keys[2], (1024,), 0, 300)
    gradient = jax.jit(jax.grad(lambda params: pn.as_function(layer)(params, (hidden, labels))))(params)["kernel"]
    with jax.enable_x64(True):
        wide = [jnp.asarray(np.asarray(a, np.float64)) for a in (params["kernel"], hidden)]
        true = np.asarray(jax.grad(everyday)(*wide, labels))
    assert np.linalg.norm(np.asarray(gradient, np.float64) - true) <= 2e-3 * np.linalg.norm(true)


# Behind a network.


def network(**head: Any) -> tuple[pn.Layer, pn.Layer]:
    """(the objective with the fused head, the network that gives its logits)."""
    body = pn.serial(pn.dense(6), pn.dropout(0.3), pn.batch_norm(), pn.gelu(), pn.layer_norm())
    fused = pn.head_objective(body, losses.linear_cross_entropy(9, chunk=4, use_bias=True, **head))
    return fused, pn.serial(body=body, head=pn.dense(9))


INPUTS, LABELS = jnp.sin(jnp.arange(70.0)).reshape(10, 7), jnp.arange(10) % 9


@pytest.mark.parametrize("by", ["tokens", "vocabulary"])
def test_parameters_state_and_gradients_are_those_of_the_network_that_gives_logits(by: str) -> None:
    fused, logits = network(by=by)
    plain = pn.objective(logits, losses.softmax_cross_entropy())
    x = INPUTS, LABELS
    start, expected_start = jax.jit(lambda key: [net.init(jax.random.clone(key), x) for net in (fused, plain)])(
        jax.random.key(0)
    )
    jax.tree.map(np.testing.assert_array_equal, start, expected_start)
    found = jax.jit(pn.value_and_grad(fused))(*start, x, jax.random.key(1))
    expected = jax.jit(pn.value_and_grad(plain))(*start, x, jax.random.key(1))
    jax.tree.map(lambda mine, true: np.testing.assert_allclose(mine, true, atol=2e-6), found, expected)
    value = fused.predict(start[0], found[0][1], x)
    assert float(value) == pytest.approx(float(plain.predict(start[0], found[0][1], x)), rel=1e-6)


def test_the_body_hands_over_what_it_can_recompute() -> None:
    fused, _ = network(by="vocabulary")
    assert [value.fate for value in fused.plan] == ["recomputed"]
    assert [value.fate for value in network(by="tokens")[0].plan] == ["dropped"]
    assert [value.fate for value in pn.head_objective(pn.dense(6), network(by="vocabulary")[0].parts[1][1]).plan] == [
        "kept"
    ]


@pytest.mark.complete
def test_wrong_parts_are_blamed() -> None:
    def twisted(layer: pn.Layer) -> pn.Layer:
        def backward(*arguments: Any) -> Any:
            dparams, dx = layer.backward(*arguments)
            return dparams | {"kernel": 1.01 * dparams["kernel"]}, dx

        return layer.replace(backward=backward)

    net = pn.head_objective(twisted(pn.dense(6)), twisted(losses.linear_cross_entropy(9, chunk=4)))
    with jax.enable_x64(True):
        x = np.asarray(INPUTS, np.float64), np.asarray(LABELS)
        params, state = jax.jit(net.init)(jax.random.key(0), x)
        blames = localise(net, params, state, x, jax.random.key(1), jnp.float64(0.7), agrees)
    assert [(blame.path, blame.plumbing) for blame in blames] == [
        ("head_objective.body.dense", False),
        ("head_objective.head.linear_cross_entropy", False),
    ]


def agrees(layer: pn.Layer, params: Any, state: Any, x: Any, key: Any, dy: Any) -> bool:
    """Whether the gradient of the parameters is autodiff's."""

    @jax.jit
    def errors() -> Any:
        y, _, residuals = layer.forward(params, state, x, None)
        mine = run_backward(layer, params, x, y, residuals, dy)[0]
        true = jax.vjp(lambda params: layer.forward(params, state, x, None)[0], params)[1](dy)[0]
        return [jnp.max(jnp.abs(m - t)) for m, t in zip(jax.tree.leaves(mine), jax.tree.leaves(true), strict=True)]

    return all(float(error) < 1e-9 for error in errors())
