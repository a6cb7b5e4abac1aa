"""decoding: networks made by hand read on, as if they had read everything at once."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purenet as pn

X: Any = np.random.default_rng(0).normal(size=(2, 7, 8)).astype(np.float32)


def attention(**options: Any) -> pn.Layer:
    qkv = pn.dense(24, use_bias=False)
    return pn.residual(pn.serial(pn.layer_norm(), qkv, pn.packed_attention(2, causal=True, **options), pn.dense(8)))


def mlp() -> pn.Layer:
    return pn.residual(pn.serial(pn.dense(16), pn.gelu(), pn.dropout(0.5), pn.dense(8)))


NETWORKS = {
    "positions": pn.serial(pn.learned_positions(9, offset=2), pn.sinusoidal_positions(offset=1), attention(), mlp()),
    "distances": pn.serial(attention(window=3), attention(alibi=True, softcap=2.0), attention(offset=-1)),
    "prepared": pn.repeat(pn.serial(attention(rotary=pn.rotary(), qk_norm=pn.rms_norm()), mlp()), 2),
    "blocks": pn.serial(attention(block=2), attention(offset="end")),
    "inputs": pn.repeat(pn.serial(attention(rotary=pn.rotary(offset=1)), mlp()), 3, keep="inputs"),
    "nested": pn.repeat(pn.repeat(attention(), 2), 3, keep="nested"),
    "recurrent": pn.serial(pn.lstm(8), pn.gru(8, stateful=True), attention()),
    "branches": pn.serial(pn.parallel(attention(), pn.rnn(8)), pn.frozen(attention()), pn.batch_norm()),
    "reversible": pn.reversible(pn.serial(pn.rnn(4)), pn.serial(pn.dense(4), pn.tanh())),
}


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_reading_on_is_reading_everything(network: Any) -> None:
    with jax.enable_x64(True):
        x = jnp.asarray(X, float)
        params, state = network.init(jax.random.key(1), x)
        whole = jax.jit(network.predict)(params, state, x)
        reader = pn.decoding(network, 7)

        def read(x: Any) -> Any:
            found, cache = [], state
            for part in jnp.split(x, (3, 4, 5), -2):
                y, cache, _ = reader.forward(params, cache, part, None)
                found.append(y)
            return jnp.concatenate(found, -2), cache

        y, cache = jax.jit(read)(x)
        np.testing.assert_allclose(y, whole, rtol=1e-12, atol=1e-12)
    assert int(cache.length) == 7


@pytest.mark.complete
def test_narrow_arithmetic_and_no_room() -> None:
    network = pn.with_dtype(pn.serial(attention(), mlp()), jnp.bfloat16)
    params, _ = network.init(jax.random.key(1), X)
    reader = pn.decoding(network, 5)
    _, cache, _ = reader.forward(params, (), X[:, :4], None)
    assert cache.state[0][2][0].array.dtype == jnp.bfloat16
    y, cache, _ = jax.jit(reader.forward)(params, cache, X[:, 4:5], None)
    np.testing.assert_allclose(y, network.predict(params, (), X)[:, 4:5], rtol=0.05, atol=0.05)
    y, _, _ = jax.jit(reader.forward)(params, cache, X[:, 5:6], None)
    assert np.isnan(y).all()
    with pytest.raises(ValueError, match="decoding: expected room for 1 tokens behind 5, got a capacity of 5: begin"):
        reader.forward(params, cache, X[:, 5:6], None)
    with pytest.raises(TypeError, match="expected no backward of a network that decodes"):
        reader.backward(params, X, None, (), X)


REFUSED = {
    "serial: .* of one alone: serial.1..packed_attention: expected": pn.serial(pn.dense(24), pn.packed_attention(2)),
    "reversed_lstm: .* of one": pn.bidirectional(pn.lstm(4), pn.lstm(4, reverse=True)),
    "conv: .* of one": pn.serial(attention(), pn.conv(8, (3,))),
    "residual: .* of one": pn.residual(pn.from_function(lambda _, x: jnp.flip(x, -2))),
    "cumsum: .* of one": pn.serial(attention(), pn.from_function(lambda _, x: jnp.cumsum(x, -2), name="cumsum")),
    "flatten: .* of one": pn.serial(attention(), pn.flatten()),
}


@pytest.mark.parametrize("message", REFUSED)
def test_layers_that_look_elsewhere_are_refused(message: str) -> None:
    network: Any = REFUSED[message]
    params, state = network.init(jax.random.key(1), X)
    with pytest.raises(TypeError, match=message):
        jax.eval_shape(pn.decoding(network).forward, params, state, X, None)
