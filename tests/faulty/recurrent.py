"""Recurrences over a few steps: a plain RNN, as a loop and as a scan, GRU and LSTM."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .rows import Fault, Right, normal

BATCH, STEPS, INPUTS, UNITS = 5, 4, 7, 7
X = normal(121, BATCH, STEPS, INPUTS)
RNN = {
    "input": normal(122, INPUTS, UNITS, scale=0.5),
    "state": normal(123, UNITS, UNITS, scale=0.5),
    "bias": normal(124, UNITS, scale=0.5),
}


def rnn(params: Any, x: Any) -> Any:
    h = jnp.zeros((x.shape[0], params["state"].shape[0]), x.dtype)
    states = [h]
    for t in range(x.shape[1]):
        z = x[:, t] @ params["input"] + h @ params["state"]
        h = jnp.tanh(z + params["bias"][None, :])
        states.append(h)
    return jnp.stack(states[1:], 1), (x, states)


def rnn_with(mistake: str = "") -> Callable[..., Any]:
    def backward(params: Any, saved: Any, dy: Any) -> Any:
        x, states = saved
        steps = x.shape[1]
        d = {name: jnp.zeros_like(value) for name, value in params.items()}
        dx, dh = [], jnp.zeros_like(states[0])
        for t in reversed(range(steps)):
            before, after = states[t], states[t + 1]
            dh = dy[:, t] + dh
            slope = 1 - (before if mistake == "slope before" else after) ** 2
            if mistake == "slope left out":
                slope = jnp.ones_like(after)
            dz = slope * dh
            d["input"] += x[:, t].T @ dz
            if mistake == "state":
                d["state"] += after.T @ dz
            elif mistake == "last state kernel":
                d["state"] = before.T @ dz if t == steps - 1 else d["state"]
            elif mistake == "overwritten":
                d["state"] = before.T @ dz if t > 0 else d["state"]
            else:
                d["state"] += before.T @ dz
            d["bias"] += jnp.sum(dh if mistake == "bias from dh" else dz, 0)
            dx.insert(0, dz @ params["input"].T)
            dh = dz @ (params["state"] if mistake == "not transposed" else params["state"].T)
            if mistake == "truncated":
                dh = jnp.zeros_like(dh)
            if mistake == "two steps" and t == steps - 2:
                dh = jnp.zeros_like(dh)
            if mistake == "outputs":
                dh = jnp.zeros_like(dh) if t == 0 else dh - dy[:, t - 1]
            if mistake == "clipped":
                dh = jnp.clip(dh, -0.5, 0.5)
        if mistake == "averaged":
            d = {name: value / steps for name, value in d.items()}
        if mistake == "reversed":
            dx.reverse()
        return d, jnp.stack(dx, 1)

    return backward


def scanned_rnn(params: Any, x: Any) -> Any:
    def step(h: Any, now: Any) -> Any:
        z = now @ params["input"] + h @ params["state"]
        after = jnp.tanh(z + params["bias"][None, :])
        return after, after

    h = jnp.zeros((x.shape[0], params["state"].shape[0]), x.dtype)
    _, states = lax.scan(step, h, jnp.swapaxes(x, 0, 1))
    return jnp.swapaxes(states, 0, 1), (x, [h, *states])


def fault(name: str, kinds: tuple[str, ...], says: str, mistake: str, forward: Any = rnn) -> Fault:
    kind = "rnn" if forward is rnn else "scanned rnn"
    return Fault(f"{kind}: {name}", (forward, rnn_with(mistake)), X, RNN, kinds, says)


FAULTS = [
    fault("no gradient through time", ("path_missing", "coupling"), "step|state|time|path", "truncated"),
    fault("truncated after two steps", ("path_missing", "coupling", "slices"), "", "two steps"),
    fault("h_t instead of h_{t-1}", ("wrong_operand", "shifted"), r"step|state|\bh\b|operand|value", "state"),
    fault("state kernel of the last step", ("path_missing", "slices"), "step|state|last|path", "last state kernel"),
    fault("state kernel overwritten in the loop", ("path_missing", "slices"), "", "overwritten"),
    fault("state kernel not transposed", ("wrong_operand", "transposed"), r"transpos|\.T", "not transposed"),
    fault(
        "bias from dh instead of dz",
        ("wrong_cotangent", "local_derivative"),
        r"tanh|\bdh\b|\bdz\b|derivative",
        "bias from dh",
    ),
    fault("slope left out", ("local_derivative",), "tanh|derivative", "slope left out"),
    fault("slope of the state before", ("wrong_operand", "local_derivative"), "", "slope before"),
    fault("averaged over the steps", ("scaled",), "1/4|0.25|step", "averaged"),
    fault("dx in the order of the backward", ("flipped",), "flip|revers|order", "reversed"),
    fault(
        "outputs of earlier steps forgotten", ("slices", "path_missing", "wrong_cotangent", "coupling"), "", "outputs"
    ),
    fault("gradient clipped at each step", ("not_linear",), "linear|clip|add", "clipped"),
    fault(
        "no gradient through time",
        ("path_missing", "coupling"),
        "step|state|time|path|scan|carry",
        "truncated",
        scanned_rnn,
    ),
    fault("h_t instead of h_{t-1}", ("wrong_operand", "shifted"), "", "state", scanned_rnn),
    fault("slope left out", ("local_derivative",), "tanh|derivative|scan", "slope left out", scanned_rnn),
    fault(
        "state kernel not transposed",
        ("wrong_operand", "transposed"),
        r"transpos|\.T|scan",
        "not transposed",
        scanned_rnn,
    ),
]


# One step of a GRU and of an LSTM: x is the pair of input and state.

STATE = {"x": normal(125, BATCH, INPUTS), "h": normal(126, BATCH, UNITS, scale=0.5), "c": normal(127, BATCH, UNITS)}
GRU = {name: normal(128 + k, INPUTS + UNITS, UNITS, scale=0.3) for k, name in enumerate(("reset", "update", "new"))}
LSTM = {name: normal(132 + k, INPUTS + UNITS, UNITS, scale=0.3) for k, name in enumerate(("i", "f", "g", "o"))}
GRU_X = {"x": STATE["x"], "h": STATE["h"]}


def gru(params: Any, x: Any) -> Any:
    joined = jnp.concatenate([x["x"], x["h"]], -1)
    r = jax.nn.sigmoid(joined @ params["reset"])
    z = jax.nn.sigmoid(joined @ params["update"])
    gated = jnp.concatenate([x["x"], r * x["h"]], -1)
    n = jnp.tanh(gated @ params["new"])
    y = (1 - z) * n + z * x["h"]
    return y, (x["h"], joined, gated, r, z, n)


def gru_with(mistake: str = "") -> Callable[..., Any]:
    def backward(params: Any, saved: Any, dy: Any) -> Any:
        h, joined, gated, r, z, n = saved
        dz = dy * (n - h if mistake == "sign" else h - n)
        if mistake == "update":
            dz = dy * h
        dn = dy * (z if mistake == "gates" else 1 - z)
        dnew = dn * (1 - n**2)
        dgated = dnew @ params["new"].T
        dr = dgated[:, INPUTS:] * h
        dreset = dr * (1.0 if mistake == "sigmoid" else r * (1 - r))
        dupdate = dz * z * (1 - z)
        djoined = dreset @ params["reset"].T + dupdate @ params["update"].T
        if mistake == "reset path":
            djoined = dupdate @ params["update"].T
        through = dgated[:, INPUTS:] if mistake == "r" else dgated[:, INPUTS:] * r
        dh = djoined[:, INPUTS:] + through + dy * z
        if mistake == "carry":
            dh = dh - dy * z
        dx = {"x": djoined[:, :INPUTS] + dgated[:, :INPUTS], "h": dh}
        seen = joined if mistake == "joined" else gated
        return {"reset": joined.T @ dreset, "update": joined.T @ dupdate, "new": seen.T @ dnew}, dx

    return backward


def gru_fault(name: str, kinds: tuple[str, ...], says: str, mistake: str) -> Fault:
    return Fault(f"gru: {name}", (gru, gru_with(mistake)), GRU_X, GRU, kinds, says)


FAULTS += [
    gru_fault("sign of the update gate", ("path_sign", "scaled"), "sign|negat|-1", "sign"),
    gru_fault("new state left out of the update gate", ("path_missing",), "path|1 - z|sub|mul", "update"),
    gru_fault("gates exchanged", ("wrong_operand", "local_derivative"), "", "gates"),
    gru_fault("slope of the reset gate left out", ("local_derivative",), "sigmoid|logistic|derivative", "sigmoid"),
    gru_fault(
        "path through the reset gate left out of dx", ("path_missing",), "reset|path|dot|sigmoid|logistic", "reset path"
    ),
    gru_fault("reset gate left out of dh", ("local_derivative", "wrong_operand"), "", "r"),
    gru_fault("carried state left out of dh", ("path_missing",), r"path|\bz\b|\bh\b|mul", "carry"),
    gru_fault(
        "new kernel from the state before the reset", ("wrong_operand",), r"operand|value|\bh\b|concat|gated", "joined"
    ),
]


def lstm(params: Any, x: Any) -> Any:
    joined = jnp.concatenate([x["x"], x["h"]], -1)
    i = jax.nn.sigmoid(joined @ params["i"])
    f = jax.nn.sigmoid(joined @ params["f"])
    g = jnp.tanh(joined @ params["g"])
    o = jax.nn.sigmoid(joined @ params["o"])
    c = f * x["c"] + i * g
    h = o * jnp.tanh(c)
    return {"h": h, "c": c}, (joined, x["c"], i, f, g, o, c)


def lstm_with(mistake: str = "") -> Callable[..., Any]:
    def backward(params: Any, saved: Any, dy: Any) -> Any:
        joined, before, i, f, g, o, c = saved
        t = jnp.tanh(c)
        do = dy["h"] * (c if mistake == "tanh" else t)
        slope = 1.0 if mistake == "slope" else 1 - t**2
        dc = dy["h"] * o * slope
        if mistake != "cell":
            dc = dc + dy["c"]
        if mistake == "hidden":
            dc = dy["c"]
        gates = {
            "i": dc * g * i * (1 - i),
            "f": dc * (c if mistake == "new cell" else before) * f * (1 - f),
            "g": dc * i * (g * (1 - g) if mistake == "sigmoid" else 1 - g**2),
            "o": do * o * (1 - o),
        }
        if mistake == "exchanged":
            gates["i"], gates["f"] = gates["f"], gates["i"]
        used = {name: gate for name, gate in gates.items() if not (mistake == "output gate" and name == "o")}
        djoined = functools.reduce(jnp.add, [gate @ params[name].T for name, gate in used.items()])
        dbefore = dc * (i if mistake == "input gate" else f)
        dx = {"x": djoined[:, :INPUTS], "h": djoined[:, INPUTS:], "c": dbefore}
        return {name: joined.T @ gate for name, gate in gates.items()}, dx

    return backward


def lstm_fault(name: str, kinds: tuple[str, ...], says: str, mistake: str) -> Fault:
    return Fault(f"lstm: {name}", (lstm, lstm_with(mistake)), STATE, LSTM, kinds, says)


FAULTS += [
    lstm_fault(
        "upstream gradient of the cell forgotten",
        ("path_missing", "slices", "cotangent_ignored"),
        r"\bc\b|cell|upstream",
        "cell",
    ),
    lstm_fault("cell without the hidden state's gradient", ("path_missing",), r"tanh|path|\bc\b", "hidden"),
    lstm_fault("slope of the cell's tanh left out", ("local_derivative",), "tanh|derivative", "slope"),
    lstm_fault("output gate from the cell instead of its tanh", ("wrong_operand", "local_derivative"), "", "tanh"),
    lstm_fault("forget gate from the new cell", ("wrong_operand",), r"\bc\b|operand|value", "new cell"),
    lstm_fault("slope of the sigmoid for the candidate", ("local_derivative",), "tanh|derivative", "sigmoid"),
    lstm_fault(
        "input and forget gate exchanged", ("swapped_leaves", "wrong_cotangent", "wrong_operand"), "", "exchanged"
    ),
    lstm_fault("path through the output gate left out of dx", ("path_missing",), r"path|\bo\b|dot", "output gate"),
    lstm_fault("input gate for the cell before", ("wrong_operand", "local_derivative"), "", "input gate"),
]

RIGHTS = [
    Right("rnn", (rnn, rnn_with()), X, RNN),
    Right("rnn, one step of one example", (rnn, rnn_with()), X[:1, :1], RNN),
    Right("scanned rnn", (scanned_rnn, rnn_with()), X, RNN),
    Right("gru", (gru, gru_with()), GRU_X, GRU),
    Right("lstm", (lstm, lstm_with()), STATE, LSTM),
    Right(
        "lstm, saturated, float32", (lstm, lstm_with()), {k: (9 * v).astype(np.float32) for k, v in STATE.items()}, LSTM
    ),
]
