"""What rows of the table do not show of convolutions: every geometry, accurate sums, and what others compute."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import pull
from hypothesis import assume, given, settings, strategies as st
from jax import lax

import purenet as pn
from purenet.layers.conv import conv_backward, conv_forward
from purenet.layers.conv_geometry import Window, output_sizes
from purenet.layers.depthwise_conv import depthwise_conv_backward, depthwise_conv_forward

Twins = tuple[Any, Any]
CONV, DEPTHWISE = (conv_forward, conv_backward), (depthwise_conv_forward, depthwise_conv_backward)


def lax_conv(params: Any, x: Any, window: Window) -> Any:
    space = "DHW"[-len(window.strides) :]
    y = lax.conv_general_dilated(
        x,
        params["kernel"],
        window.strides,
        window.pads,
        rhs_dilation=window.dilation,
        dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
        feature_group_count=window.groups,
    )
    return y + jnp.broadcast_to(params["bias"], y.shape)


def worst_error(twins: Twins, sizes: Any, kernel_size: Any, window: Window, inputs: int = 2) -> float:
    """The largest relative error of y, dkernel, dbias and dx against jax.vjp of lax's convolution."""
    forward, backward = twins
    random, groups = np.random.default_rng(5), window.groups
    x = random.normal(size=(2, *sizes, inputs * groups))
    params = {"kernel": random.normal(size=(*kernel_size, inputs, 2 * groups)), "bias": random.normal(size=2 * groups)}
    dy = random.normal(size=(2, *output_sizes(sizes, kernel_size, window), 2 * groups))

    @jax.jit
    def both(params: Any, x: Any, dy: Any) -> Any:
        by_hand = forward(params, x, window), backward(params, x, dy, window)
        y, vjp = jax.vjp(lambda params, x: lax_conv(params, x, window), params, x)
        return by_hand, (y, vjp(dy))

    by_hand, by_autodiff = (jax.tree.leaves(side) for side in both(params, x, dy))
    errors = [np.max(abs(a - b)) / max(np.max(abs(b)), 1e-30) for a, b in zip(by_hand, by_autodiff, strict=True)]
    return max(errors)


def windows(axes: int) -> Any:
    """Geometries with strides that do not divide, crops, and paddings wider than the kernel."""

    def each(*values: Any) -> Any:
        return st.tuples(*[st.sampled_from(values)] * axes)

    window = st.builds(
        Window,
        each(1, 2, 3),
        each((0, 0), (1, 1), (2, 0), (0, 3), (4, 3), (-1, 0), (1, -2)),
        each(1, 2, 3),
        st.sampled_from([1, 3]),
    )
    return st.tuples(each(1, 3, 4, 5, 6, 7), each(1, 2, 3, 4), window)


@pytest.mark.parametrize(("axes", "examples"), [(1, 7), (2, 3), (3, 1)])
@pytest.mark.parametrize("twins", [CONV, DEPTHWISE], ids=["conv", "depthwise_conv"])
def test_gradients_in_every_geometry(twins: Twins, axes: int, examples: int) -> None:
    @given(drawn=windows(axes))
    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    def check(drawn: Any) -> None:
        sizes, kernel_size, window = drawn
        assume(min(output_sizes(sizes, kernel_size, window)) > 0)
        assert worst_error(twins, sizes, kernel_size, window, 2 if twins is CONV else 1) <= 1e-13

    with jax.enable_x64(True):
        check()


def normal(*shape: int) -> Any:
    return jnp.asarray(np.random.default_rng(6).normal(size=shape), jnp.float32)


def drawn(layer: pn.Layer, x: Any) -> tuple[Any, Any]:
    """Parameters that are not zero, and a cotangent."""
    shapes, _ = jax.eval_shape(layer.init, jax.random.key(0), x)
    params = jax.tree.map(lambda leaf: normal(*leaf.shape).astype(leaf.dtype), shapes)
    y = jax.eval_shape(lambda params: layer.predict(params, (), x), params)
    return params, (0.5 + normal(*y.shape)).astype(y.dtype)


LAYERS = {
    "conv": pn.conv(4, 3, groups=2),
    "depthwise_conv": pn.depthwise_conv(3, multiplier=2),
    "conv_transpose": pn.conv_transpose(4, 3, strides=2, groups=2),
}
each_layer = pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)


@each_layer
def test_leading_axes(layer: pn.Layer) -> None:
    """Two leading axes and none are as good as one; no examples give zeros."""
    x = normal(6, 5, 4)
    params, dy = drawn(layer, x)

    def split(a: Any) -> Any:
        return a.reshape(2, 3, *a.shape[1:])

    @jax.jit
    def all_of_them(params: Any, x: Any, dy: Any) -> Any:
        shapes = [(x, dy), (split(x), split(dy)), (x[0], dy[0]), (x[:0], dy[:0])]
        return [pull(layer, params, *pair) for pair in shapes]

    (y, (dparams, dx)), two, none, empty = all_of_them(params, x, dy)
    jax.tree.map(np.testing.assert_array_equal, two, (split(y), (dparams, split(dx))))
    np.testing.assert_allclose(none[0], y[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(none[1][1], dx[0], rtol=1e-5, atol=1e-5)
    assert (empty[0].shape, empty[1][1].shape) == (y[:0].shape, x[:0].shape)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(empty[1][0]))


@each_layer
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=["bfloat16", "float16"])
def test_sums_over_positions_are_wide(layer: pn.Layer, dtype: Any) -> None:
    """Each parameter's gradient, a sum of some thousand products, is as exact as its dtype."""
    x = normal(64, 50, 4).astype(dtype)
    params, dy = drawn(layer, x)

    @jax.jit
    def both(*narrow: Any) -> Any:
        wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), narrow)
        return pull(layer, *narrow)[1][0], pull(layer, *wide)[1][0]

    for a, b in zip(*map(jax.tree.leaves, both(params, x, dy)), strict=True):
        error = np.max(np.abs(np.asarray(a, np.float32) - b)) / np.max(np.abs(b))
        assert error <= float(jnp.finfo(dtype).eps)


def test_depthwise_conv_is_conv_in_as_many_groups_as_channels() -> None:
    x = normal(2, 7, 3)
    narrow = pn.depthwise_conv(3, multiplier=2, strides=2, padding="SAME_LOWER")
    params, dy = drawn(narrow, x)
    grouped = pn.conv(6, 3, groups=3, strides=2, padding="SAME_LOWER")
    sides = (jax.tree.leaves(jax.jit(pull, static_argnums=0)(layer, params, x, dy)) for layer in (narrow, grouped))
    for a, b in zip(*sides, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_a_causal_conv_sees_nothing_that_comes_later() -> None:
    layer = pn.conv(2, 3, padding="CAUSAL", dilation=2, strides=2)
    x = normal(7, 2)
    params, _ = drawn(layer, x)
    seen = jax.jacobian(lambda x: layer.predict(params, (), x))(x)  # [outputs, features, inputs, channels]
    times = np.any(np.asarray(seen) != 0, (1, 3))
    assert [np.flatnonzero(row).tolist() for row in times] == [[0], [0, 2], [0, 2, 4], [2, 4, 6]]


@pytest.mark.parametrize("transpose_kernel", [False, True])
@pytest.mark.parametrize(
    ("kernel_size", "strides", "padding", "dilation", "groups", "length", "sizes"),
    [
        (3, 2, 1, 1, 1, None, 9),
        (2, 3, "SAME", 1, 2, None, 15),
        (3, 2, "SAME_LOWER", 2, 1, 10, 10),
        (3, 3, ((2, -1),), 1, 2, None, 14),
    ],
)
def test_conv_transpose_is_the_transpose(
    kernel_size: int,
    strides: int,
    padding: Any,
    dilation: int,
    groups: int,
    length: Any,
    sizes: int,
    transpose_kernel: bool,
) -> None:
    """<conv_transpose(b), a> = <b, conv(a)> with the same geometry and, turned round or not, the same kernel."""
    common: dict[str, Any] = {"strides": strides, "dilation": dilation, "groups": groups, "use_bias": False}
    back = pn.conv_transpose(
        4, kernel_size, padding=padding, output_shape=length, transpose_kernel=transpose_kernel, **common
    )
    b = normal(5, 2)
    params, a = drawn(back, b)
    assert a.shape == (sizes, 4)
    there = pn.conv(2, kernel_size, padding=padding, **common)
    kernel = params["kernel"]
    if not transpose_kernel:
        parts = jnp.split(jnp.flip(kernel, 0), groups, -1)
        kernel = jnp.concatenate([jnp.swapaxes(part, -1, -2) for part in parts], -1)
    left = jnp.vdot(back.predict(params, (), b), a)
    right = jnp.vdot(b, there.predict({"kernel": kernel}, (), a))
    np.testing.assert_allclose(left, right, rtol=1e-5)


@pytest.mark.parametrize("transpose_kernel", [False, True])
@pytest.mark.parametrize(
    ("kernel_size", "strides", "padding", "dilation", "consistent"),
    [
        ((3, 4), (2, 3), "SAME", (1, 2), False),
        ((1, 2), (3, 3), "SAME", (1, 1), False),
        ((2, 3), (3, 2), "VALID", (1, 1), False),
        ((3, 2), (2, 1), ((1, 0), (2, 1)), (2, 1), False),
        ((3, 2), (2, 1), ((1, 0), (0, -1)), (2, 1), True),
    ],
)
def test_conv_transpose_is_that_of_lax(
    kernel_size: Any, strides: Any, padding: Any, dilation: Any, consistent: bool, transpose_kernel: bool
) -> None:
    layer = pn.conv_transpose(
        3,
        kernel_size,
        strides=strides,
        padding=padding,
        dilation=dilation,
        transpose_kernel=transpose_kernel,
        use_consistent_padding=consistent,
        use_bias=False,
    )
    x = normal(2, 4, 5, 2)
    params, _ = drawn(layer, x)
    expected = lax.conv_transpose(
        x,
        params["kernel"],
        strides,
        padding,
        dilation,
        transpose_kernel=transpose_kernel,
        use_consistent_padding=consistent,
    )
    np.testing.assert_allclose(layer.predict(params, (), x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("transpose_kernel", [False, True])
def test_kernels_start_with_the_variance_of_their_fan_in(transpose_kernel: bool) -> None:
    layer = pn.conv_transpose(64, (3, 3), groups=2, transpose_kernel=transpose_kernel)
    kernel = layer.init(jax.random.key(0), jax.ShapeDtypeStruct((5, 5, 32), jnp.float32))[0]["kernel"]
    assert kernel.shape == ((3, 3, 32, 32) if transpose_kernel else (3, 3, 16, 64))
    np.testing.assert_allclose(jnp.std(kernel), (3 * 3 * 16) ** -0.5, rtol=0.03)


def test_the_numbers_are_pytorchs() -> None:
    """Its weights with their axes moved: [out, in / groups, k...] of conv, [in, out / groups, k...] of the other."""
    torch = pytest.importorskip("torch")
    functional, random = torch.nn.functional, np.random.default_rng(3)
    x, bias = random.normal(size=(2, 4, 6, 5)).astype(np.float32), random.normal(size=6).astype(np.float32)
    weight = random.normal(size=(6, 2, 3, 2)).astype(np.float32)
    options: dict[str, Any] = {"strides": (2, 1), "padding": (1, 2), "dilation": (1, 2), "groups": 2}
    layer = pn.conv(6, (3, 2), **options)
    back = pn.conv_transpose(6, (3, 2), **options, output_padding=(1, 0), transpose_kernel=True)
    tensors = [torch.tensor(a) for a in (x, weight, bias)]
    expected = functional.conv2d(*tensors, (2, 1), (1, 2), (1, 2), 2)
    tensors[1] = torch.tensor(weight.reshape(4, 3, 3, 2))
    expected_back = functional.conv_transpose2d(*tensors, (2, 1), (1, 2), (1, 0), 2, (1, 2))
    for net, kernel, theirs in ((layer, weight, expected), (back, weight.reshape(4, 3, 3, 2), expected_back)):
        params = {"kernel": jnp.asarray(np.transpose(kernel, (2, 3, 1, 0))), "bias": jnp.asarray(bias)}
        y = net.predict(params, (), jnp.asarray(np.moveaxis(x, 1, -1)))
        np.testing.assert_allclose(np.moveaxis(np.asarray(y), -1, 1), theirs.numpy(), rtol=1e-4, atol=1e-4)
