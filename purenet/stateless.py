"""stateless: a layer of plain twins, whose arguments say what is kept between forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .annotations import Array, PyTree
from .errors import layer_scope
from .layer import Key, Layer, Params, Residuals, State


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
        rules={} if squared_norm is None else {"squared_norm": norm_of_layer},
    )


def check_needs(needs: tuple[str, ...]) -> None:
    if not set(needs) <= {"x", "y"}:
        raise ValueError(f'needs may name "x" and "y", got {needs!r}')
