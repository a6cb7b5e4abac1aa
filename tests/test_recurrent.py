"""Recurrent layers beyond the table: carries, chunks of time, truncated back-propagation, lengths, PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cost import cost
from values.recurrent import gru_step, lstm_step, relu_step, rnn_step, unrolled

import purenet as pn
from purenet.layer import run_backward
from purenet.layers.recurrent.gru import gru_cell
from purenet.layers.recurrent.lstm import LSTM
from purenet.layers.recurrent.rnn import rnn_cell
from purenet.layers.recurrent.through_time import backward_through_time, chunk_steps, chunks, forward_through_time

BATCH, INPUTS, UNITS = 30, 4, 5
CHUNK = chunk_steps(BATCH)


@pytest.fixture(autouse=True)
def _float64() -> Any:
    with jax.enable_x64(True):
        yield


def normal(seed: int, *shape: int) -> Any:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def assert_close(actual: Any, expected: Any, bound: float = 1e-12) -> None:
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.shape == b.shape
        assert np.max(np.abs(a - b)) <= bound * max(1, np.max(np.abs(b)))


def drawn(layer: pn.Layer, x: Any, seed: int = 9) -> tuple[Any, Any]:
    """Parameters away from zero, and the state of init."""
    params, state = layer.init(jax.random.key(seed), x)
    return {name: value + 0.3 * normal(len(name), *value.shape) for name, value in params.items()}, state


# The carry: into the first step and out of the last, forward and back.


CELLS = {"rnn": rnn_cell("tanh"), "gru": gru_cell(reset_after=True), "lstm": LSTM}


def pull_through_time(name: str, params: Any, x: Any, h: Any, lengths: Any, dy: Any, dh: Any) -> Any:
    """The rnn forwards, the others from the last step; the gru with its gates kept; the lstm from two states of h."""
    carry, dcarry = ((h, jnp.cos(h)), (dh, jnp.cos(dh))) if name == "lstm" else ((h,), (dh,))
    cell, reverse, keep = CELLS[name], name != "rnn", "gates" if name == "gru" else "states"
    (y, final), kept = forward_through_time(cell, params, x, carry, lengths, reverse, keep)
    dparams, dx, dfirst = backward_through_time(cell, params, x, y, carry, kept, dy, dcarry, lengths, reverse)
    return (y, final), (dparams, dx, dfirst[0] - jnp.sin(h) * dfirst[1] if name == "lstm" else dfirst[0])


def cotangents(name: str, dy: Any, dh: Any) -> Any:
    return (dy, (dh, jnp.cos(dh)) if name == "lstm" else (dh,))


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "lengths"])
def test_gradients_reach_the_first_carry_and_leave_from_the_last(name: str, masked: bool) -> None:
    """Over two chunks, the second one a step short; the states past an example's end are the states at its end."""
    layer = {"rnn": pn.rnn, "gru": pn.gru, "lstm": pn.lstm}[name]
    time = CHUNK + 3
    lengths = jnp.arange(BATCH) % (time + 1) if masked else None
    x, h = normal(0, BATCH, time, INPUTS), normal(1, BATCH, UNITS)
    params, _ = drawn(layer(UNITS), x)
    dy, dh = normal(2, BATCH, time, UNITS), normal(3, BATCH, UNITS)

    def pull(params: Any, x: Any, h: Any) -> Any:
        return pull_through_time(name, params, x, h, lengths, dy, dh)

    y, gradients = jax.jit(pull)(params, x, h)
    _, vjp = jax.vjp(jax.jit(lambda *point: pull(*point)[0]), params, x, h)
    assert_close(gradients, vjp(cotangents(name, dy, dh)), 1e-13)
    if lengths is not None:
        outputs, final = y
        _, dx, dfirst = gradients
        padding = jnp.arange(time)[None] >= lengths[:, None]
        assert not np.any(outputs[padding])
        assert not np.any(dx[padding])
        assert_close(jax.tree.leaves(final)[0][0], h[0], 0)  # of length 0: the carry goes through
        assert_close(dfirst[0], (dh - jnp.sin(h) * jnp.cos(dh) if name == "lstm" else dh)[0], 1e-15)


# Time in chunks.


@pytest.mark.parametrize("time", [1, 5, CHUNK, CHUNK + 1, 3 * CHUNK - 1])
@pytest.mark.parametrize("reverse", [False, True])
def test_chunks_take_every_step_once_in_order(time: int, reverse: bool) -> None:
    steps = np.asarray(chunks(jnp.zeros((BATCH, time, INPUTS)), reverse))
    assert steps.shape[1] <= CHUNK
    inside = [step for step in steps.ravel() if 0 <= step < time]
    assert inside == list(reversed(range(time)) if reverse else range(time))
    assert steps.size - time < len(steps)  # at most one step too many a chunk


STEPS: list[tuple[Callable[..., pn.Layer], Any, dict]] = [
    (pn.rnn, rnn_step, {}),
    (pn.rnn, relu_step, {"activation": "relu"}),
    (pn.gru, gru_step, {}),
    (pn.gru, gru_step, {"reset_after": False}),
    (pn.lstm, lstm_step, {}),
]


@pytest.mark.complete
@pytest.mark.parametrize(("make", "step", "options"), STEPS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_long_sequences_equal_the_steps(make: Any, step: Any, options: dict) -> None:
    time = 2 * CHUNK + 1
    x = normal(4, BATCH, time, INPUTS), jnp.arange(BATCH) * 7 % (time + 1)
    for reverse in (False, True):
        layer = make(UNITS, reverse=reverse, **options)
        params, _ = drawn(layer, x)
        y = jax.jit(lambda params, x, layer=layer: layer.predict(params, (), x))(params, x)
        assert_close(y, unrolled(step, reverse=reverse)(params, x))


@pytest.mark.parametrize(
    "layer",
    [pn.lstm(UNITS, reverse=True), pn.gru(UNITS, reset_after=False, keep="gates")],
    ids=["states kept", "gates kept"],
)
def test_padding_is_never_read(layer: pn.Layer) -> None:
    """Not even when it is no number."""
    x, lengths = normal(5, 3, 6, INPUTS), jnp.array([6, 2, 4])
    padding = (jnp.arange(6)[None] >= lengths[:, None])[..., None]
    params, _ = drawn(layer, x)

    @jax.jit
    def pull(inputs: Any) -> Any:
        y, _, residuals = layer.forward(params, (), (inputs, lengths), None)
        return y, run_backward(layer, params, (inputs, lengths), y, residuals, jnp.cos(y))

    assert_close(pull(jnp.where(padding, jnp.nan, x)), pull(jnp.where(padding, 7.0, x)), 0)


# Truncated back-propagation through time.


@pytest.mark.parametrize("make", [pn.rnn, pn.gru, pn.lstm])
def test_stateful_layer_goes_on_where_the_chunk_before_ended(make: Any) -> None:
    """Chunks of four steps give the states of the whole sequence; gradients stop at their borders."""
    layer, whole = make(UNITS, stateful=True), make(UNITS)
    x, dy = normal(6, BATCH, 12, INPUTS), normal(7, BATCH, 12, UNITS)
    params, first = drawn(layer, x[:, :4])

    @jax.jit
    def pull(state: Any, x: Any, dy: Any) -> Any:
        y, after, residuals = layer.forward(params, state, x, None)
        return y, layer.predict(params, state, x), after, run_backward(layer, params, x, y, residuals, dy)[0]

    y = jax.jit(lambda params: whole.predict(params, (), x))(params)
    total, state = jax.tree.map(jnp.zeros_like, params), first
    for k in range(3):
        part = slice(4 * k, 4 * k + 4)
        y_part, predicted, state, dparams = pull(state, x[:, part], dy[:, part])
        assert_close((y_part, predicted), (y[:, part], y[:, part]))
        total = jax.tree.map(jnp.add, total, dparams)

    def truncated(params: Any) -> Any:
        loss, carry = 0.0, first
        for k in range(3):
            part = slice(4 * k, 4 * k + 4)
            carry = jax.lax.stop_gradient(carry)
            y, carry = through(layer.name, params, x[:, part], carry)
            loss += jnp.sum(y * dy[:, part])
        return loss

    assert_close(total, jax.jit(jax.grad(truncated))(params))
    full = jax.jit(jax.grad(lambda params: jnp.sum(whole.predict(params, (), x) * dy)))(params)
    assert np.max(np.abs(full["kernel"] - total["kernel"])) > 0.01  # what truncation leaves out


def through(name: str, params: Any, x: Any, carry: Any) -> Any:
    return forward_through_time(CELLS[name], params, x, carry, None, reverse=False)[0]


def test_no_gradient_flows_through_the_state() -> None:
    layer, x = pn.gru(UNITS, stateful=True), normal(8, BATCH, 4, INPUTS)
    params, state = drawn(layer, x)

    def twice(params: Any) -> Any:
        _, after, _ = layer.forward(params, state, x, None)
        return jnp.sum(after[0])

    assert not any(np.any(leaf) for leaf in jax.tree.leaves(jax.grad(twice)(params)))


# Initialisation.


def test_recurrent_kernels_are_orthogonal_gate_by_gate() -> None:
    for dtype in (jnp.float64, jnp.bfloat16):
        params, _ = pn.gru(UNITS).init(jax.random.key(0), jax.ShapeDtypeStruct((2, 3, INPUTS), dtype))
        for block in jnp.split(params["recurrent_kernel"].astype(jnp.float64), 3, -1):
            assert_close(block.T @ block, jnp.eye(UNITS), 1e-12 if dtype == jnp.float64 else 0.02)


def test_unit_forget_bias_is_the_forget_gates() -> None:
    params, _ = pn.lstm(UNITS, unit_forget_bias=True).init(jax.random.key(0), normal(0, 3, INPUTS))
    assert_close(params["bias"], np.repeat([0.0, 1.0, 0.0, 0.0], UNITS), 0)


# Bytes and products.


def plain_lstm(params: Any, x: Any) -> Any:
    """As one writes it: a step of products of x and h, scanned."""

    def step(carry: Any, x: Any) -> Any:
        h, c = carry
        z = x @ params["kernel"] + h @ params["recurrent_kernel"]
        i, f, g, o = jnp.split(z + jnp.broadcast_to(params["bias"], z.shape), 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zeros = jnp.zeros((x.shape[0], params["recurrent_kernel"].shape[0]), x.dtype)
    return jnp.moveaxis(jax.lax.scan(step, (zeros, zeros), jnp.moveaxis(x, 1, 0))[1], 0, 1)


def plain_recurrence(params: Any, x: Any) -> Any:
    return jax.lax.associative_scan(lambda p, q: (p[0] * q[0], q[0] * p[1] + q[1]), x, axis=1)[1]


LEANER = {
    "lstm": (pn.lstm(16), plain_lstm, (16, 512, 16), 4.5, 4 / 3),
    "lstm, gates kept": (pn.lstm(16, keep="gates"), plain_lstm, (16, 512, 16), 2.1, 1),
    "linear_recurrence": (pn.linear_recurrence(), plain_recurrence, (64, 32, 16), 1.5, 1),
}


@pytest.mark.complete
@pytest.mark.parametrize("name", LEANER)
def test_fewer_bytes_than_autodiff_of_the_plain_forward(name: str) -> None:
    """With gradients of parameters and inputs."""
    layer, plain, shape, ratio, products = LEANER[name]
    inputs = jax.ShapeDtypeStruct(shape, jnp.float32)
    x = (inputs, inputs) if layer.name == "linear_recurrence" else inputs
    params, _ = jax.eval_shape(layer.init, jax.random.key(0), x)

    def by_hand(params: Any, x: Any) -> Any:
        y, _, residuals = layer.forward(params, (), x, None)
        return jnp.sum(jnp.sin(y)), run_backward(layer, params, x, y, residuals, jnp.cos(y))

    by_autodiff = jax.value_and_grad(lambda params, x: jnp.sum(jnp.sin(plain(params, x))), (0, 1))
    hand, auto = cost(by_hand, params, x), cost(by_autodiff, params, x)
    assert auto.temporary >= ratio * hand.temporary, (hand, auto)
    assert hand.flops == products * auto.flops


# Against PyTorch, where it is installed.


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
def test_packed_bidirectional_layer_equals_pytorchs(name: str) -> None:
    torch = pytest.importorskip("torch")
    packing = torch.nn.utils.rnn
    theirs = getattr(torch.nn, name.upper())(INPUTS, UNITS, batch_first=True, bidirectional=True, dtype=torch.float64)
    make = getattr(pn, name)
    ours = pn.bidirectional(make(UNITS), make(UNITS, reverse=True))
    x, lengths, dy = normal(10, 3, 6, INPUTS), jnp.array([2, 6, 3]), normal(11, 3, 6, 2 * UNITS)
    their_x = torch.tensor(np.asarray(x), requires_grad=True)
    packed = packing.pack_padded_sequence(their_x, torch.tensor([2, 6, 3]), batch_first=True, enforce_sorted=False)
    their_y, _ = packing.pad_packed_sequence(theirs(packed)[0], batch_first=True)
    their_y.backward(torch.tensor(np.asarray(dy)))
    directions = {"forward": "_l0", "backward": "_l0_reverse"}
    params = {key: parameters(theirs, suffix) for key, suffix in directions.items()}
    y, _, residuals = ours.forward(params, (), (x, lengths), None)
    dparams, (dx, _) = run_backward(ours, params, (x, lengths), y, residuals, dy)
    assert_close(y, their_y.detach().numpy())
    assert_close(dx, their_x.grad.numpy())
    assert_close(dparams, {key: gradients(theirs, suffix) for key, suffix in directions.items()})


def parameters(module: Any, suffix: str) -> dict[str, Any]:
    """PyTorch has a bias of the inputs and one of the states; where nothing stands between them we have their sum."""
    w, u, b, c = (getattr(module, name + suffix).detach().numpy() for name in TORCH_NAMES)
    if module.mode != "GRU":
        return {"kernel": w.T, "recurrent_kernel": u.T, "bias": b + c}
    both = np.concatenate([c[: 2 * UNITS], np.zeros(UNITS)])
    return {"kernel": w.T, "recurrent_kernel": u.T, "bias": b + both, "recurrent_bias": c[2 * UNITS :]}


def gradients(module: Any, suffix: str) -> dict[str, Any]:
    w, u, b, c = (getattr(module, name + suffix).grad.numpy() for name in TORCH_NAMES)
    own = {"recurrent_bias": c[2 * UNITS :]} if module.mode == "GRU" else {}
    return {"kernel": w.T, "recurrent_kernel": u.T, "bias": b, **own}


TORCH_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


@pytest.mark.parametrize("last_only", [True, False])
def test_lengths_reach_the_layer_behind_one_without(last_only: bool) -> None:
    """Padding changes nothing, whether the embedding stands in serial or in stacked_rnn."""
    parts = pn.without_lengths(pn.embedding(6, 4)), pn.without_lengths(pn.tanh()), pn.lstm(5, last_only=last_only)
    tokens, lengths = jnp.array([[1, 2, 3, 0, 0], [4, 1, 0, 0, 0]]), jnp.array([3, 2])
    padded_otherwise = jnp.where(jnp.arange(5)[None] < lengths[:, None], tokens, 5)
    for net in (pn.serial(*parts), pn.stacked_rnn(*parts), pn.stacked_rnn(*parts, pn.without_lengths(pn.tanh()))):
        params, state = net.init(jax.random.key(0), (tokens, lengths))
        pulled = []
        for x in (tokens, padded_otherwise):
            y, _, residuals = net.forward(params, state, (x, lengths), None)
            pulled.append((y, run_backward(net, params, (x, lengths), y, residuals, jnp.ones_like(y))))
        assert isinstance(pulled[0][0], jax.Array)
        jax.tree.map(np.testing.assert_array_equal, *pulled)
