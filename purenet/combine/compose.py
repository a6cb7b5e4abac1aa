"""compose: a network that is a function over named layers, for all that is not a chain.

    def unet(f, x):
        a = f.down(x)
        b = f.up(f.middle(f.pool(a)))
        return f.head(jnp.concatenate([a, b], -1))

    net = compose(unet, down=..., pool=..., middle=..., up=..., head=...)

Each layer's backward is its own, written by hand; what stands between the layers is differentiated by `jax.vjp`, which
also brings the layers' backwards into order. Reverse mode over any composition: Griewank & Walther, *Evaluating
Derivatives* (2008), chapter 3.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping
from typing import Any

import jax

from ..annotations import PyTree
from ..constructor import constructor
from ..errors import LayerValueError, layer_scope
from ..functions import as_function
from ..layer import Key, Kind, Layer, Params, Residuals, State, Value
from ..planning import KEPT
from ..randomness import split_key
from ..static import Static
from .named import name_layers

COMPOSE = Kind("compose", has_params=False)


@constructor
def compose(function: Callable[..., PyTree], /, **layers: Layer) -> Layer:
    """The layer `y = function(f, x)`, where `f.name(value)` runs the layer of that name; x and y are any trees.

    - Parameters are {name: the layer's own}; a layer that is called twice shares them. State: {name: ...}, passed on
      from call to call, or () where no layer has one. Every call draws with a key of its own.
    - The function must not depend on anything but `f` and x, and must call every layer, the same ones each time.
    - With a scalar as output it is an objective: `value_and_grad(compose(...))`, several losses included.
    - Kept: what the layers and `jax.vjp` of what stands between them keep; parameters and x are not kept again.
    - `predict` runs the same function over the layers' `predict`.

    Transformations that replace gradients (`per_example_norms`, `make_fused_step`) take it as one layer.
    """
    if not callable(function):
        raise TypeError(f"compose: expected a function of (f, x) and layers by name, got {function!r}")
    named = name_layers("compose", (), layers)
    calls = namedtuple("f", tuple(layers))
    rules = [as_function(layer, has_state=True) for layer in named.layers]

    def run(x: PyTree, call: Callable[[int, PyTree], PyTree]) -> PyTree:
        """The function, with `call(k, value)` for what the k-th layer does."""

        def bound(k: int) -> Callable[[PyTree], PyTree]:
            def at_layer(value: PyTree) -> PyTree:
                with layer_scope(named.step(k)):
                    return call(k, value)

            return at_layer

        return function(calls(*map(bound, range(len(named.layers)))), x)

    def init(key: Key, x: PyTree) -> tuple[Params, State]:
        inputs = inputs_of_layers(key, x)
        params, states = [], []
        for k, layer_key in enumerate(split_key(key, len(named.layers))):
            with layer_scope(named.step(k)):
                if k not in inputs:
                    raise LayerValueError("expected the function to call every layer, this one is never called")
                p, s = named.layers[k].init(layer_key, inputs[k])
            params.append(p)
            states.append(s)
        return named.pack(params), named.pack_state(states)

    def inputs_of_layers(key: Key, x: PyTree) -> Mapping[int, PyTree]:
        """What each layer is first called with, as shapes."""
        inputs: dict[int, PyTree] = {}

        def trace(x: PyTree) -> PyTree:
            def call(k: int, value: PyTree) -> PyTree:
                inputs.setdefault(k, jax.tree.map(shape_of, value))
                made = jax.eval_shape(lambda: named.layers[k].init(jax.random.key(0), inputs[k]))
                y = jax.eval_shape(lambda made, value: named.layers[k].predict(*made, value), made, inputs[k])
                return jax.tree.map(lambda leaf: jax.numpy.zeros(leaf.shape, leaf.dtype), y)

            return run(x, call)

        jax.eval_shape(trace, x)
        return inputs

    def forward(params: Params, state: State, x: PyTree, key: Key) -> tuple[PyTree, State, Residuals]:
        keys = split_key(key, len(named.layers))

        def differentiated(params: Params, x: PyTree) -> tuple[PyTree, State]:
            own, states, left = named.unpack(params), named.unpack_state(state), list(keys)

            def call(k: int, value: PyTree) -> PyTree:
                left[k], now = split_key(left[k], 2)
                y, states[k] = rules[k](own[k], value, states[k], now)
                return y

            return run(x, call), named.pack_state(states)

        y, vjp, new_state = jax.vjp(differentiated, params, x, has_aux=True)
        return y, new_state, without_known(vjp, (params, x))

    def backward(params: Params, x: PyTree, y: PyTree, residuals: Residuals, dy: PyTree) -> tuple[Params, PyTree]:
        vjp = with_known(residuals, (params, x))
        return jax.tree.map(none_for_integers, vjp(dy))

    def predict(params: Params, state: State, x: PyTree) -> PyTree:
        own, states = named.unpack(params), named.unpack_state(state)
        return run(x, lambda k, value: named.layers[k].predict(own[k], states[k], value))

    return Layer(
        init=init,
        forward=forward,
        backward=backward,
        predict=predict,
        name="compose",
        kind=COMPOSE,
        parts=named.parts,
        with_parts=lambda parts: compose(function, **named.pack(parts)),
        plan=(Value("between the layers", KEPT, "what jax.vjp keeps of it"),),
    )


def without_known(vjp: PyTree, known: PyTree) -> tuple[list[Any], Static]:
    """The values that a vjp keeps, less those that whoever calls it holds anyway."""
    places = {id(leaf): place for place, leaf in enumerate(jax.tree.leaves(known))}
    leaves, tree = jax.tree.flatten(vjp)
    found = tuple(places.get(id(leaf)) for leaf in leaves)
    return [leaf for leaf, place in zip(leaves, found, strict=True) if place is None], Static((tree, found))


def with_known(residuals: tuple[list[Any], Static], known: PyTree) -> PyTree:
    kept, (tree, found) = iter(residuals[0]), residuals[1].value
    leaves = jax.tree.leaves(known)
    return jax.tree.unflatten(tree, [next(kept) if place is None else leaves[place] for place in found])


def none_for_integers(gradient: Any) -> Any:
    return None if gradient.dtype == jax.dtypes.float0 else gradient


def shape_of(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
