"""Where the windows of a convolution lie, along each spatial axis on its own; all of it known while tracing.

    output = floor((input + before + after - dilation (kernel - 1) - 1) / stride) + 1

`before` and `after` are the zeros put around the input; a negative number crops it. Names of paddings:
"VALID": none. "SAME": as many as give an output of ceil(input / stride), the odd one after; "SAME_LOWER": the odd one
before. "CAUSAL": dilation (kernel - 1) before, none after, so that no output sees a later input.
Dumoulin & Visin, *A guide to convolution arithmetic for deep learning* (2016).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeGuard

import jax

from ..annotations import Array
from ..errors import LayerTypeError, LayerValueError
from ..layer import Layer, Params, Shaped
from ..stateless import stateless
from ..validation import describe
from .checks import check_names, spatial_sizes

Sizes = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]
PerAxis = int | Sequence[int]
Padding = str | int | Sequence[int | tuple[int, int]]


class Window(NamedTuple):
    """How a kernel moves over [..., spatial..., channels]: a number, or a pair of paddings, for each spatial axis."""

    strides: Sizes
    pads: Pads
    dilation: Sizes
    groups: int = 1


class Geometry(NamedTuple):
    """What a constructor was asked for: a window whose padding may still be a name."""

    kernel_size: Sizes
    strides: Sizes
    padding: str | Pads
    dilation: Sizes

    @property
    def reach(self) -> Sizes:
        """How far apart the first and the last thing lie that a kernel sees: dilation (kernel - 1)."""
        return tuple(d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True))


def geometry(name: str, kernel_size: PerAxis, strides: PerAxis, padding: Padding, dilation: PerAxis) -> Geometry:
    """Check the hyper-parameters and give each a number for every spatial axis."""
    axes = len(kernel_size) if is_sequence(kernel_size) else 1
    if not 1 <= axes <= 3:
        raise ValueError(f"{name}: expected kernel_size for 1, 2 or 3 spatial axes, got {kernel_size!r}")
    return Geometry(
        per_axis(name, "kernel_size", kernel_size, axes),
        per_axis(name, "strides", strides, axes),
        check_padding(name, padding, axes),
        per_axis(name, "dilation", dilation, axes),
    )


def per_axis(name: str, what: str, value: Any, axes: int, least: int = 1) -> Sizes:
    numbers = tuple(value) if is_sequence(value) else (value,) * axes
    if len(numbers) != axes or not all(isinstance(number, int) and number >= least for number in numbers):
        raise ValueError(
            f"{name}: expected {what} of at least {least}, one integer or {axes} for the spatial axes, got {value!r}"
        )
    return numbers


def check_padding(name: str, padding: Padding, axes: int) -> str | Pads:
    if isinstance(padding, str):
        if padding not in ("SAME", "SAME_LOWER", "VALID", "CAUSAL"):
            raise ValueError(
                f'{name}: expected padding "SAME", "SAME_LOWER", "VALID", "CAUSAL" or numbers, got {padding!r}'
            )
        if padding == "CAUSAL" and axes != 1:
            raise ValueError(f'{name}: expected one spatial axis, time, for padding "CAUSAL", got {axes}')
        return padding
    pads = (padding,) * axes if isinstance(padding, int) else padding
    pairs = tuple((pad, pad) if isinstance(pad, int) else pad for pad in pads) if is_sequence(pads) else ()
    if len(pairs) != axes or not all(is_pair(pair) for pair in pairs):
        raise ValueError(
            f"{name}: expected padding as one integer or {axes} for the spatial axes, each an integer or a pair "
            f"(before, after), got {padding!r}"
        )
    return tuple((before, after) for before, after in pairs)


def is_sequence(value: Any) -> TypeGuard[tuple[Any, ...] | list[Any]]:
    return isinstance(value, (tuple, list))


def is_pair(value: Any) -> bool:
    return is_sequence(value) and len(value) == 2 and all(isinstance(number, int) for number in value)


def split_pads(total: int, lower: bool) -> tuple[int, int]:
    """Halves of a total padding, the odd one after, or before if `lower`."""
    return (total - total // 2, total // 2) if lower else (total // 2, total - total // 2)


def conv_window(x: Shaped, geometry: Geometry, groups: int = 1) -> Window:
    """The window over x [..., spatial..., channels]; raises if the kernel fits nowhere."""
    sizes, padding = spatial_sizes(x, len(geometry.kernel_size)), geometry.padding
    if padding == "VALID":
        pads = ((0, 0),) * len(sizes)
    elif padding == "CAUSAL":
        pads = tuple((reach, 0) for reach in geometry.reach)
    elif isinstance(padding, str):
        totals = (
            max((math.ceil(n / s) - 1) * s + reach + 1 - n, 0)
            for n, s, reach in zip(sizes, geometry.strides, geometry.reach, strict=True)
        )
        pads = tuple(split_pads(total, padding == "SAME_LOWER") for total in totals)
    else:
        pads = padding
    padded = [n + sum(pad) for n, pad in zip(sizes, pads, strict=True)]
    if any(n <= reach for n, reach in zip(padded, geometry.reach, strict=True)):
        raise LayerValueError(
            f"expected x, padded, to be at least as large as the kernel {[reach + 1 for reach in geometry.reach]} "
            f"(with its dilation), got {padded} from {describe(x)}: pad more, or take a smaller kernel"
        )
    return Window(geometry.strides, pads, geometry.dilation, groups)


def output_sizes(sizes: Sizes, kernel_size: Sizes, window: Window) -> Sizes:
    strides, pads, dilation, _ = window
    return tuple(
        (n + p + q - d * (k - 1) - 1) // s + 1
        for n, k, s, (p, q), d in zip(sizes, kernel_size, strides, pads, dilation, strict=True)
    )


def input_pads(sizes: Sizes, y_sizes: Sizes, kernel_size: Sizes, window: Window) -> Pads:
    """The padding of dy, dilated by the stride, from which the reversed kernel gives dx, as long as x."""
    strides, pads, dilation, _ = window
    befores = [d * (k - 1) - p for k, d, (p, _) in zip(kernel_size, dilation, pads, strict=True)]
    afters = [n + p - s * (m - 1) - 1 for n, m, s, (p, _) in zip(sizes, y_sizes, strides, pads, strict=True)]
    return tuple(zip(befores, afters, strict=True))


def as_batch(x: Array, axes: int) -> Array:
    """[..., spatial..., channels] with one leading axis: [examples, spatial..., channels]."""
    lead = x.shape[: -axes - 1]
    return x.reshape(math.prod(lead), *x.shape[-axes - 1 :])


def kernel_layer(
    name: str,
    forward: Callable[[Params, Array], Array],
    backward: Callable[[Params, Array, Array], tuple[Params, Array]],
    shapes: Callable[[Shaped], dict[str, Sizes]],
    kernel_init: Callable[..., Array],
    bias_init: Callable[..., Array],
) -> Layer:
    """A layer of twins with a kernel and perhaps a bias. `shapes(x)` checks x and says the parameters' shapes."""

    def init(key: Array, x: Shaped) -> dict[str, Array]:
        keys = jax.random.split(key, 2)
        initializers = {"kernel": kernel_init, "bias": bias_init}
        return {
            which: initializers[which](key, shape, x.dtype)
            for key, (which, shape) in zip(keys, shapes(x).items(), strict=False)
        }

    def checked_forward(params: dict[str, Array], x: Array) -> Array:
        expected = shapes(x)
        check_names(params, expected)
        for which, shape in expected.items():
            check_parameter(which, params[which], shape, x)
        return forward(params, x)

    return stateless(checked_forward, backward, name=name, init=init)


def check_parameter(which: str, value: Any, shape: Sizes, x: Array) -> None:
    if getattr(value, "shape", None) != shape:
        raise LayerValueError(
            f"expected {which} {list(shape)} for x {describe(x)}, got {describe(value)}: another x, or another layer's?"
        )
    if value.dtype != x.dtype:
        raise LayerTypeError(f"expected {which} of x's dtype {x.dtype}, got {describe(value)}")
