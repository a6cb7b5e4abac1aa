"""serial: y = f_n(... f_2(f_1(x))), the values between the layers kept, recomputed or dropped as planned.

Backward walks the layers in reverse, dx_k = f_k'(dx_{k+1}). Reverse mode over a composition: Griewank & Walther,
*Evaluating Derivatives* (2008), chapter 3; recomputing instead of keeping: chapter 12.
"""

from __future__ import annotations

import functools
import itertools

import jax

from ..annotations import PyTree
from ..barrier import gate_on
from ..constructor import constructor
from ..errors import layer_scope
from ..layer import Key, Kind, Layer, Params, Residuals, State, reverses, run_backward, run_reverse
from ..planning import KEPT, choose, explain, recompute_source
from ..randomness import split_key
from ..validation import check_cotangent, spec
from .named import name_layers

SERIAL = Kind("serial", passes_gradients=True, has_params=False)


@constructor
def serial(*layers: Layer, **named: Layer) -> Layer:
    """One layer after the other; positional (parameters in a list) or named (parameters in a dict).

    What is kept is planned from the layers' `needs` and `recompute` before anything is traced: see `purenet.plan`.
    On accelerators a barrier with the incoming cotangent keeps XLA from undoing what is recomputed: `purenet.barrier`.
    """
    chain = name_layers("serial", layers, named)
    layers, n = chain.layers, len(chain.layers)
    fates = choose(layers)
    kept = [k for k in range(1, n) if fates[k] == KEPT]
    source = recompute_source(layers, fates, n)

    def init(key: Key, x: PyTree) -> tuple[Params, State]:
        params, states = [], []
        for k, layer_key in enumerate(split_key(key, n)):
            with layer_scope(chain.step(k)):
                p, s = layers[k].init(layer_key, x)
                x = jax.eval_shape(layers[k].predict, p, s, x)
            params.append(p)
            states.append(s)
        return chain.pack(params), chain.pack_state(states)

    def forward(params: Params, state: State, x: PyTree, key: Key) -> tuple[PyTree, State, Residuals]:
        values, states, extras = [x], [], []
        split = zip(chain.unpack(params), chain.unpack_state(state), split_key(key, n), strict=True)
        for k, (p, s, layer_key) in enumerate(split):
            with layer_scope(chain.step(k)):
                y, s, extra = layers[k].forward(p, s, values[-1], layer_key)
            values.append(y)
            states.append(s)
            extras.append(extra)
        specs = tuple(spec(value) for value in values[:-1])
        return values[-1], chain.pack_state(states), (extras, [values[k] for k in kept], specs)

    def recover(k: int, params: list[Params], value: dict[int, PyTree], extras: list[Residuals], dy: PyTree) -> None:
        """Put value k into `value`, recomputed from what is there, not before dy is there."""
        if k in value:
            return
        maker = layers[k - 1]
        assert maker.recompute is not None
        x = None
        if "x" in maker.recompute_needs:
            recover(k - 1, params, value, extras, dy)
            x = value[k - 1]
        x, extra = gate_on((x, extras[k - 1]), dy)
        with layer_scope(chain.step(k - 1)):
            value[k] = maker.recompute(params[k - 1], x, extra)

    def walk(params: Params, x: PyTree, y: PyTree, residuals: Residuals, dy: PyTree) -> tuple[Params, PyTree, PyTree]:
        """(dparams, dx, x), where x is None unless it is given or found."""
        extras, stored, specs = residuals
        params = chain.unpack(params)
        value = {0: x, n: y, **dict(zip(kept, stored, strict=True))}
        gradients: list[Params] = [None] * n
        for k in reversed(range(n)):  # value k+1 = layer k (value k)
            for wanted in [k + 1] * ("y" in layers[k].needs) + [k] * ("x" in layers[k].needs):
                recover(wanted, params, value, extras, dy)
            with layer_scope(chain.step(k)):
                if reverses(layers[k]) and value.get(k) is None:
                    gradients[k], dy, value[k] = run_reverse(layers[k], params[k], value[k + 1], extras[k], dy)
                else:
                    gradients[k], dy = run_backward(layers[k], params[k], value.get(k), value.get(k + 1), extras[k], dy)
                check_cotangent(dy, specs[k])
        return chain.pack(gradients), dy, value.get(0)

    def backward(params: Params, x: PyTree, y: PyTree, residuals: Residuals, dy: PyTree) -> tuple[Params, PyTree]:
        dparams, dx, _ = walk(params, x, y, residuals, dy)
        return dparams, dx

    def reverse(params: Params, y: PyTree, residuals: Residuals, dy: PyTree) -> tuple[Params, PyTree, PyTree]:
        return walk(params, None, y, residuals, dy)

    def recompute(params: Params, x: PyTree, residuals: Residuals) -> PyTree:
        extras, stored, _ = residuals
        value = {0: x, **dict(zip(kept, stored, strict=True))}
        recover(n, chain.unpack(params), value, extras, ())
        return value[n]

    def predict(params: Params, state: State, x: PyTree) -> PyTree:
        for k, (p, s) in enumerate(zip(chain.unpack(params), chain.unpack_state(state), strict=True)):
            with layer_scope(chain.step(k)):
                x = layers[k].predict(p, s, x)
        return x

    labels = [f"{chain.label(k)} {layer.name}" for k, layer in enumerate(layers)]
    between = [f"{before} -> {after}" for before, after in itertools.pairwise(labels)]
    return Layer(
        init=init,
        forward=forward,
        backward=backward,
        predict=predict,
        needs=("x",) * (fates[0] == KEPT) + ("y",) * (fates[n] == KEPT),
        recompute=None if source is None else recompute,
        recompute_needs=("x",) if source == 0 else (),
        name="serial",
        kind=SERIAL,
        parts=chain.parts,
        plan=explain(layers, fates, ["input", *between, "output"]),
        with_parts=functools.partial(chain.build, serial),
        rules={"reverse": reverse} if all(map(reverses, layers)) else {},
    )
