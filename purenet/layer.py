"""The contract: a layer is a handful of pure functions, its backward pass written out by hand.

A layer says what its backward reads. `needs` names its own input "x", its own output "y", both or neither, and
`recompute` computes the output again without a matrix product. The combinators then keep each value once and
recompute the cheap ones, so that networks are lean by composition.

Everything here works on plain pytrees and under jit, vmap and scan.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .annotations import Array, PyTree
from .barrier import after
from .errors import LayerTypeError, LayerValueError, layer_scope

Params = PyTree
State = PyTree
Residuals = PyTree
Key = Array | None
Shaped = Array | jax.ShapeDtypeStruct


class Layer(NamedTuple):
    """A layer, a network or an objective: four pure functions and what the plan has to know about them.

    - `init(key, x) -> (params, state)`; x is an array or a `jax.ShapeDtypeStruct`.
    - `forward(params, state, x, key) -> (y, new_state, residuals)`, in training. A layer without state has
      `state == ()`; a layer without randomness ignores the key, which may then be None.
    - `backward(params, x, y, residuals, dy) -> (dparams, dx)`. It reads nothing but its arguments; x and y are
      None unless `needs` names them. The gradient of an integer input is None.
    - `predict(params, state, x) -> y`, at inference: no residuals, no randomness, frozen statistics.
    - `needs`: which of its own input "x" and output "y" the backward reads.
    - `recompute(params, x, residuals) -> y` where that costs no matrix product, else None; x is None unless
      `recompute_needs` names it.
    - `name` stands in paths and tables; `keeps` names what `residuals` holds; `parts` are the layers inside a
      combinator with their keys; `values` is the combinator's plan, which `purenet.plan` prints.
    - `with_parts(layers) -> Layer` gives the same combinator made of other parts, in the order of `parts`.
    - `squared_norm`: how to have |dparams|^2 without dparams, for `purenet.per_example_norms`.
    - `reverse`: how the backward finds x from y besides, so that a stack of such layers keeps no inputs.
    """

    init: Callable[..., Any]
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    predict: Callable[..., Any]
    needs: tuple[str, ...] = ("x",)
    recompute: Callable[..., Any] | None = None
    recompute_needs: tuple[str, ...] = ("x",)
    name: str = "layer"
    keeps: tuple[str, ...] = ()
    parts: tuple[tuple[str, Layer], ...] = ()
    values: tuple[Value, ...] = ()
    with_parts: Callable[[Sequence[Layer]], Layer] | None = None
    squared_norm: SquaredNorm | None = None
    reverse: Reverse | None = None


class Value(NamedTuple):
    """What becomes of one value between forward and backward: "kept", "recomputed" or "dropped", and why."""

    label: str
    fate: str
    why: str


class SquaredNorm(NamedTuple):
    """`rule(params, x, y, residuals, dy) -> |dparams|^2`, the dparams of `backward` and of no other.

    A layer that replaces its backward, as wrappers do, has no rule any more. The backward that has one must sum over
    leading axes, so that it gives the sum over examples when they are stacked.
    """

    backward: Callable[..., Any]
    rule: Callable[..., Any]


class Reverse(NamedTuple):
    """`rule(params, y, residuals, dy) -> (dparams, dx, x)`: the gradients of `backward`, which reads y and not x, and
    the input x found on the way.

    A layer that replaces its backward, as wrappers do, has no rule any more.
    """

    backward: Callable[..., Any]
    rule: Callable[..., Any]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Replacement:
    """What a backward hands back in the place of its parameters' gradient: their norm, say, or updated parameters.

    Combinators that only hand gradients on, such as `serial` and `repeat`, hand this on too, and what compares
    gradients with parameters leaves it out.
    """

    value: PyTree


def no_params(key: Key, x: PyTree) -> tuple[Params, State]:
    """The `init` of a layer that has neither parameters nor state."""
    return (), ()


def stateless(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    *,
    name: str,
    init: Callable[[Any, Any], Params] | None = None,
    needs: tuple[str, ...] = ("x",),
    keeps: tuple[str, ...] = (),
    recompute: Callable[..., Any] | None = None,
    squared_norm: Callable[..., Any] | None = None,
) -> Layer:
    """Lift plain twins to a layer without state and randomness.

    The twins' arguments say what is kept, always in this order:

        forward([params], x) -> y                                 or (y, residuals) with `keeps`
        backward([params], [x], [y], [residuals], dy) -> dx       or (dparams, dx) with `init`
        recompute([params], x, [residuals]) -> y
        squared_norm([params], [x], [y], [residuals], dy) -> |dparams|^2

    `[params]` is there when `init(key, x) -> params` is given, `[x]` and `[y]` when `needs` names them and
    `[residuals]` when `keeps` names what they hold.
    """
    check_needs(needs)

    def own(params: Params) -> tuple[Params, ...]:
        return () if init is None else (params,)

    def init_layer(key: Key, x: PyTree) -> tuple[Params, State]:
        if init is None:
            return no_params(key, x)
        with layer_scope(name):
            return init(key, x), ()

    def run(params: Params, x: PyTree) -> tuple[PyTree, Residuals]:
        with layer_scope(name):
            result = forward(*own(params), x)
        return result if keeps else (result, ())

    def forward_layer(params: Params, state: State, x: PyTree, key: Key) -> tuple[PyTree, State, Residuals]:
        y, residuals = run(params, x)
        return y, state, residuals

    def read(params: Params, x: PyTree, y: PyTree, residuals: Residuals, dy: PyTree) -> tuple[PyTree, ...]:
        reads = (("x" in needs, x), ("y" in needs, y), (bool(keeps), residuals))
        return *own(params), *(value for is_read, value in reads if is_read), dy

    def backward_layer(params: Params, x: PyTree, y: PyTree, residuals: Residuals, dy: PyTree) -> tuple[Params, PyTree]:
        with layer_scope(name):
            result = backward(*read(params, x, y, residuals, dy))
        return ((), result) if init is None else result

    def norm_of_layer(*args: Any) -> Array:
        assert squared_norm is not None
        with layer_scope(name):
            return squared_norm(*read(*args))

    def recompute_layer(params: Params, x: PyTree, residuals: Residuals) -> PyTree:
        assert recompute is not None
        with layer_scope(name):
            return recompute(*own(params), x, *((residuals,) if keeps else ()))

    return Layer(
        init=init_layer,
        forward=forward_layer,
        backward=backward_layer,
        predict=lambda params, state, x: run(params, x)[0],
        needs=needs,
        recompute=None if recompute is None else recompute_layer,
        name=name,
        keeps=keeps,
        squared_norm=None if squared_norm is None else SquaredNorm(backward_layer, norm_of_layer),
    )


def run_backward(
    layer: Layer, params: Params, x: PyTree, y: PyTree, residuals: Residuals, dy: PyTree
) -> tuple[Params, PyTree]:
    """The layer's backward, given x and y only where it needs them, its gradients compared with what they belong to."""
    x = x if "x" in layer.needs else None
    y = y if "y" in layer.needs else None
    dparams, dx = layer.backward(params, x, y, residuals, dy)
    with layer_scope(layer.name):
        check_gradient(dparams, params, "parameter")
        if x is not None:
            check_gradient(dx, x, "input")
    return dparams, dx


def reverses(layer: Layer) -> bool:
    """Whether the layer's backward can find its input from its output."""
    return layer.reverse is not None and layer.reverse.backward is layer.backward and "x" not in layer.needs


def run_reverse(
    layer: Layer, params: Params, y: PyTree, residuals: Residuals, dy: PyTree
) -> tuple[Params, PyTree, PyTree]:
    """(dparams, dx, x) of a layer that reverses, the gradients compared with what they belong to."""
    assert layer.reverse is not None
    dparams, dx, x = layer.reverse.rule(params, y, residuals, dy)
    with layer_scope(layer.name):
        check_gradient(dparams, params, "parameter")
        check_gradient(dx, x, "input")
    return dparams, dx, x


def objective(net: Layer, loss: Layer) -> Layer:
    """The layer whose output is the loss of `net`: x is the pair (inputs, targets), params are the network's own.

    `loss` is a layer of `purenet.losses` (or your own) whose input is the pair (predictions, targets).
    What stands between them, the predictions, is kept when the loss or the network reads it and the network
    cannot recompute it. `predict` gives the loss at inference.
    """
    recomputed = net.recompute is not None and "y" not in net.needs and "x" in loss.needs
    kept = ("y" in net.needs or "x" in loss.needs) and not recomputed

    def forward(params: Params, state: State, x: PyTree, key: Key) -> tuple[PyTree, State, Residuals]:
        inputs, targets = pair(x)
        predictions, state, net_residuals = net.forward(params, state, inputs, key)
        value, _, loss_residuals = loss.forward((), (), (predictions, targets), None)
        check_scalar(value, loss.name)
        return value, state, (net_residuals, loss_residuals, predictions if kept else None)

    def backward(params: Params, x: PyTree, y: PyTree, residuals: Residuals, dy: PyTree) -> tuple[Params, PyTree]:
        inputs, targets = x
        net_residuals, loss_residuals, predictions = residuals
        if recomputed:
            assert net.recompute is not None
            dy, (x_again, saved) = after(dy, (inputs, net_residuals))
            predictions = net.recompute(params, x_again, saved)
        # value = loss(predictions, targets)
        _, (dpredictions, dtargets) = run_backward(loss, (), (predictions, targets), y, loss_residuals, dy)
        # predictions = net(inputs)
        dparams, dinputs = run_backward(net, params, inputs, predictions, net_residuals, dpredictions)
        return dparams, (dinputs, dtargets)

    def predict(params: Params, state: State, x: PyTree) -> PyTree:
        inputs, targets = pair(x)
        return loss.predict((), (), (net.predict(params, state, inputs), targets))

    reads = [f"{loss.name} reads it"] * ("x" in loss.needs) + ["the network reads its output"] * ("y" in net.needs)
    fate = "kept" if kept else "recomputed" if recomputed else "dropped"
    why = "; ".join(reads + ["the network recomputes it"] * recomputed) or "nothing reads it"
    return Layer(
        init=lambda key, x: net.init(key, pair(x)[0]),
        forward=forward,
        backward=backward,
        predict=predict,
        needs=("x", "y") if "y" in loss.needs else ("x",),
        name="objective",
        parts=((".net", net), (".loss", loss)),
        values=(Value("predictions", fate, why),),
        with_parts=lambda parts: objective(*parts),
    )


def value_and_grad(objective: Layer) -> Callable[..., Any]:
    """The value of an objective and the gradient of its parameters, by the hand-written backward.

    Returns `f(params, state, x, key=None) -> ((value, new_state), gradients)`, the form of
    `jax.value_and_grad(..., has_aux=True)`; the gradients have the parameters' tree and feed optax.
    Tree, shapes and dtypes are compared while tracing, at no cost at run time.
    """

    def value_and_gradient(params: Params, state: State, x: PyTree, key: Key = None) -> Any:
        value, state, residuals = objective.forward(params, state, x, key)
        check_scalar(value, objective.name)
        gradients, _ = run_backward(objective, params, x, value, residuals, jnp.ones_like(value))
        return (value, state), gradients

    return value_and_gradient


def as_function(layer: Layer, *, has_state: bool = False) -> Callable[..., Any]:
    """An ordinary function under `jax.custom_vjp`, so that the hand-written backward serves inside `jax.grad`,
    Equinox, Flax or anything else.

    Returns `f(params, x, state=(), key=None) -> y`, or `-> (y, new_state)` with `has_state`.
    Gradients flow to params and x; state and key get none. As with every `custom_vjp`, forward mode is refused:
    for second order differentiate `value_and_grad` instead.
    """

    @jax.custom_vjp
    def call(params: Params, state: State, x: PyTree, key: Key) -> tuple[PyTree, State]:
        y, state, _ = layer.forward(params, state, x, key)
        return y, state

    def call_forward(params: Params, state: State, x: PyTree, key: Key) -> Any:
        y, state, residuals = layer.forward(params, state, x, key)
        return (y, state), (params, x, y if "y" in layer.needs else None, residuals)

    def call_backward(saved: Any, cotangent: Any) -> Any:
        params, x, y, residuals = saved
        dparams, dx = run_backward(layer, params, x, y, residuals, cotangent[0])
        return dparams, None, dx, None

    call.defvjp(call_forward, call_backward)

    def function(params: Params, x: PyTree, state: State = (), key: Key = None) -> Any:
        y, state = call(params, state, x, key)
        return (y, state) if has_state else y

    return function


def from_function(
    function: Callable[..., Any], *, init: Callable[[Any, Any], Params] | None = None, name: str | None = None
) -> Layer:
    """A layer of any JAX function `function(params, x) -> y`, its backward derived by `jax.vjp`.

    Nobody is locked in: what has no hand-written backward yet stands in `serial` beside what has.
    It keeps what autodiff keeps. `init(key, x) -> params`; without it the params are `()`.
    """

    def forward(params: Params, state: State, x: PyTree, key: Key) -> tuple[PyTree, State, Residuals]:
        y, vjp = jax.vjp(function, params, x)
        return y, state, vjp

    def backward(params: Params, x: PyTree, y: PyTree, vjp: Any, dy: PyTree) -> tuple[Params, PyTree]:
        dparams, dx = vjp(dy)
        return dparams, jax.tree.map(lambda leaf: None if leaf.dtype == jax.dtypes.float0 else leaf, dx)

    return Layer(
        init=no_params if init is None else lambda key, x: (init(key, x), ()),
        forward=forward,
        backward=backward,
        predict=lambda params, state, x: function(params, x),
        needs=(),
        name=name or getattr(function, "__name__", "function"),
        keeps=("what jax.vjp keeps",),
    )


# Checks while tracing. Shapes and dtypes are known then, so they cost nothing at run time.


def pair(x: PyTree) -> tuple[PyTree, PyTree]:
    """The two halves of (inputs, targets) or (predictions, targets)."""
    if not (isinstance(x, tuple) and len(x) == 2):
        raise LayerTypeError(f"expected a pair (inputs, targets), got {describe(x)}")
    return x


def check_needs(needs: tuple[str, ...]) -> None:
    if not set(needs) <= {"x", "y"}:
        raise ValueError(f'needs may name "x" and "y", got {needs!r}')


def check_scalar(value: PyTree, name: str) -> None:
    if jnp.shape(value) != ():
        raise LayerValueError(f"expected a scalar from {name}, got {describe(value)}: reduce it, or use a loss")


def check_floating(x: PyTree, what: str = "x") -> None:
    """Raise unless x is one array of a floating dtype."""
    if not hasattr(x, "dtype"):
        raise LayerTypeError(f"expected {what} as one array, got {describe(x)}")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise LayerTypeError(f"expected {what} of a floating dtype, got {describe(x)}: convert it with .astype")


def check_gradient(gradient: PyTree, target: PyTree, what: str) -> None:
    """Raise unless the gradient has the tree, shapes and dtypes of what it belongs to; integers have None."""
    gradient, target = without_replaced(gradient, target)
    gradients = dict(leaves_with_paths(gradient))
    targets = dict(leaves_with_paths(target))
    for path, leaf in targets.items():
        label = path or what
        grad = gradients.pop(path, None)
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            if grad is not None:
                raise LayerTypeError(f"{label} is {describe(leaf)}: its gradient must be None, got {describe(grad)}")
        elif grad is None:
            raise LayerValueError(f"{label} gradient is missing, {what} {leaf.shape}")
        elif jnp.shape(grad) != leaf.shape:
            raise LayerValueError(f"{label} gradient {jnp.shape(grad)}, {what} {leaf.shape}")
        elif jnp.result_type(grad) != leaf.dtype:
            raise LayerTypeError(f"{label} gradient {jnp.result_type(grad)}, {what} {leaf.dtype}")
    if gradients:
        raise LayerValueError(f"{', '.join(gradients)} gradient belongs to no {what}: {list(targets)}")
    expected = jax.tree.map(lambda leaf: leaf if jnp.issubdtype(leaf.dtype, jnp.floating) else None, target)
    trees = jax.tree.structure(gradient), jax.tree.structure(expected)
    if trees[0] != trees[1]:
        raise LayerValueError(f"gradient has the tree {trees[0]}, {what} {trees[1]}")


def without_replaced(gradient: PyTree, target: PyTree) -> tuple[PyTree, PyTree]:
    """Both without those parts where something else stands in the gradient's place."""
    if not any(map(is_replacement, jax.tree.leaves(gradient, is_leaf=is_replacement))):
        return gradient, target
    kept = jax.tree.map(lambda leaf: None if is_replacement(leaf) else leaf, gradient, is_leaf=is_replacement)
    return kept, jax.tree.map(
        lambda leaf, own: None if is_replacement(leaf) else own,
        gradient,
        target,
        is_leaf=lambda leaf: leaf is None or is_replacement(leaf),
    )


def is_replacement(leaf: Any) -> bool:
    return isinstance(leaf, Replacement)


def leaves_with_paths(tree: PyTree) -> list[tuple[str, Any]]:
    """The leaves with readable paths: `0.kernel` for `tree[0]["kernel"]`."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in flat]


def describe(x: PyTree) -> str:
    """Dtype and shape of an array (`float32 [32, 64]`), or the structure of something else, for messages."""
    if hasattr(x, "dtype") and isinstance(getattr(x, "shape", None), tuple):
        return f"{x.dtype} {list(x.shape)}"
    if isinstance(x, (tuple, list)):
        return f"{type(x).__name__} of {len(x)}: ({', '.join(describe(item) for item in x)})"
    if isinstance(x, dict):
        return f"dict with {sorted(x)}"
    return f"{type(x).__name__} {x!r}"
