"""What normalising layers and weights promise beyond the table: statistics, their state, shards, large offsets."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cost import cost
from helpers import assert_close, normal, pull_all

import purenet as pn
from purenet.layer import run_backward
from purenet.train import init_train_state, make_step

ROOT = Path(__file__).parent.parent


# Batch statistics and their running means.


def test_batch_norm_normalises_by_the_batch_and_predicts_by_running_statistics() -> None:
    layer = pn.batch_norm(momentum=0.7, eps=1e-3)
    with jax.enable_x64(True):
        batches = [3 + 2 * normal(4, 5, 6, seed=seed) for seed in range(3)]
        params, state = layer.init(jax.random.key(0), batches[0])
        params = {"scale": jnp.arange(1.0, 7.0), "bias": jnp.arange(6.0)}
        mean, var = np.zeros(6), np.ones(6)
        for x in batches:
            y, state, _ = layer.forward(params, state, x, None)
            rows = x.reshape(-1, 6)
            xhat = (rows - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-3)
            assert_close(y, (xhat * np.arange(1, 7) + np.arange(6)).reshape(x.shape))
            mean, var = 0.7 * mean + 0.3 * rows.mean(0), 0.7 * var + 0.3 * rows.var(0)
        assert_close(state, {"mean": mean, "var": var})
        frozen = (batches[0] - mean) / np.sqrt(var + 1e-3) * np.arange(1, 7) + np.arange(6)
        assert_close(layer.predict(params, state, batches[0]), frozen)
        assert_close(layer.predict(params, state, batches[0][0]), frozen[0])


@pytest.mark.parametrize("momentum", [0.0, 1.0])
def test_momentum_is_the_part_of_the_old_statistics_that_stays(momentum: float) -> None:
    x = jnp.asarray(normal(8, 3), jnp.float32)
    layer = pn.batch_norm(momentum=momentum, unbiased=True)
    params, state = layer.init(jax.random.key(0), x)
    _, after, _ = layer.forward(params, state, x, None)
    batch = {"mean": jnp.mean(x, 0), "var": jnp.var(x, 0, ddof=1)}
    assert_close(after, state if momentum else batch, 1e-6)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_state_is_float32_at_least(dtype: Any) -> None:
    x = jnp.asarray(normal(8, 3), dtype)
    for layer in (pn.batch_norm(), pn.spectral_norm(pn.dense(4))):
        params, state = layer.init(jax.random.key(0), x)
        _, after, _ = layer.forward(params, state, x, None)
        assert {leaf.dtype for leaf in jax.tree.leaves((state, after))} == {jnp.dtype(jnp.float32)}
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(dtype)}


def test_state_carries_no_gradient() -> None:
    x = jnp.asarray(normal(8, 3), jnp.float32)
    for layer in (pn.batch_norm(), pn.spectral_norm(pn.dense(4))):
        params, state = layer.init(jax.random.key(0), x)

        def total(params: Any, x: Any, layer: pn.Layer = layer, state: Any = state) -> Any:
            return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(layer.forward(params, state, x, None)[1]))

        gradients = jax.grad(total, (0, 1))(params, x)
        assert all(not np.any(leaf) for leaf in jax.tree.leaves(gradients))


def test_training_threads_the_state_and_predict_reads_it() -> None:
    """A network whose inputs lie far from zero: only running statistics can bring predictions near the targets."""
    random = np.random.default_rng(0)
    x = jnp.asarray(50 + 4 * random.normal(size=(64, 3)), jnp.float32)
    targets = jnp.tanh((x - 50) / 4) @ jnp.asarray(random.normal(size=(3, 2)), jnp.float32)
    net = pn.objective(pn.serial(pn.batch_norm(), pn.dense(8), pn.tanh(), pn.dense(2)), pn.losses.squared_error())
    optimizer = optax.adam(0.02)
    before = init_train_state(net, optimizer, jax.random.key(0), (x, targets))
    step = jax.jit(make_step(net, optimizer))
    after, metrics = before, {}
    for _ in range(150):
        after, metrics = step(after, (x, targets))
    assert_close(after.state[0], {"mean": jnp.mean(x, 0), "var": jnp.var(x, 0)}, 1e-4)
    predicted = net.predict(after.params, after.state, (x, targets))
    assert predicted == pytest.approx(float(metrics["loss"]), rel=0.2)
    assert predicted < 0.1 * net.predict(after.params, before.state, (x, targets))


# Shards.


@pytest.mark.complete
def test_batch_norm_over_a_vmapped_axis_is_that_of_the_whole_batch() -> None:
    """Statistics, state and gradients; the parameters' gradients are the shards', to be summed."""
    with jax.enable_x64(True):
        x, dy = normal(6, 4, 3), normal(6, 4, 3, seed=1)
        whole, sharded = (pn.batch_norm(unbiased=True, axis_name=name) for name in (None, "shards"))
        _, state = whole.init(jax.random.key(0), x)
        params = {"scale": jnp.arange(1.0, 4.0), "bias": jnp.arange(3.0)}
        expected = pull_all(whole, params, state, x, dy)
        apart = jax.vmap(
            functools.partial(pull_all, sharded), (None, None, 0, 0), out_axes=(0, None, 0, 0), axis_name="shards"
        )
        for shards in (2, 6):
            x_shards, dy_shards = (value.reshape(shards, -1, 4, 3) for value in (x, dy))
            y, after, dparams, dx = apart(params, state, x_shards, dy_shards)
            dparams = jax.tree.map(lambda leaf: leaf.sum(0), dparams)
            assert_close((y.reshape(x.shape), after, dparams, dx.reshape(x.shape)), expected)
        gradients = jax.grad(lambda p, x: jnp.vdot(whole.forward(p, state, x, None)[0], dy), (0, 1))(params, x)
        assert_close(expected[2:], gradients)


SHARDED = """
import functools, jax, jax.numpy as jnp, numpy as np, purenet as pn
from jax.sharding import AxisType, PartitionSpec as P
from helpers import assert_close, normal, pull_all

jax.config.update("jax_enable_x64", True)
x, dy = normal(6, 4, 3), normal(6, 4, 3, seed=1)
whole, sharded = (pn.batch_norm(unbiased=True, axis_name=name) for name in (None, "shards"))
_, state = whole.init(jax.random.key(0), x)
params = {"scale": jnp.arange(1.0, 4.0), "bias": jnp.arange(3.0)}

def on_a_shard(params, state, x, dy):
    y, after, dparams, dx = pull_all(sharded, params, state, x, dy)
    return y, after, jax.lax.psum(dparams, "shards"), dx

mesh = jax.make_mesh((2,), ("shards",), axis_types=(AxisType.Auto,))
apart = jax.shard_map(
    on_a_shard, mesh=mesh, in_specs=(P(), P(), P("shards"), P("shards")), out_specs=(P("shards"), P(), P(), P("shards"))
)
assert_close(jax.jit(apart)(params, state, x, dy), pull_all(whole, params, state, x, dy))
print("equal on", len(jax.devices()), "devices")
"""


@pytest.mark.complete
def test_batch_norm_on_two_devices_is_that_of_the_whole_batch() -> None:
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run([sys.executable, "-c", SHARDED], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.stdout == "equal on 2 devices\n", done.stderr


# Numbers.


FAR_AWAY = {
    "layer_norm": (pn.layer_norm(), (3, 64), (1,)),
    "batch_norm": (pn.batch_norm(), (64, 3), (0,)),
    "group_norm": (pn.group_norm(1), (2, 8, 8, 4), (1, 2, 3)),
    "instance_norm": (pn.instance_norm(), (2, 8, 8, 4), (1, 2)),
}


@pytest.mark.parametrize("name", FAR_AWAY)
def test_a_large_offset_does_not_destroy_the_variance(name: str) -> None:
    """Values 10000 away from zero, one apart: E[x^2] - E[x]^2 in float32 would be off by several times the variance."""
    layer, shape, axes = FAR_AWAY[name]
    x = (1e4 + normal(*shape)).astype(np.float32)
    params, state = layer.init(jax.random.key(0), x)
    exact = x.astype(np.float64)
    xhat = (exact - exact.mean(axes, keepdims=True)) / np.sqrt(exact.var(axes, keepdims=True) + 1e-5)
    y = jax.jit(lambda x: layer.forward(params, state, x, None)[0])(x)
    np.testing.assert_allclose(y, xhat, rtol=0, atol=2e-3)  # the mean alone is rounded by 1e4 * 2**-24


def test_l2_normalize_is_finite_at_zero_and_its_norm_clamped_below_eps() -> None:
    layer = pn.l2_normalize(eps=0.5)
    x = jnp.asarray([[0.0, 0.0], [0.3, 0.0], [0.6, 0.8]], jnp.float32)
    dy = jnp.asarray([[1.0, 2.0]] * 3, jnp.float32)
    y, _, _, dx = pull_all(layer, (), (), x, dy)
    np.testing.assert_allclose(y, [[0, 0], [0.6, 0], [0.6, 0.8]], atol=1e-6)
    np.testing.assert_allclose(dx, [[2, 4], [2, 4], [1 - 0.6 * 2.2, 2 - 0.8 * 2.2]], atol=1e-6)
    zero = jnp.zeros((1, 2), jnp.float32)
    y, _, _, dx = pull_all(pn.l2_normalize(), (), (), zero, dy[:1])
    assert not np.any(y)
    np.testing.assert_allclose(dx, dy[:1] / 1e-12, rtol=1e-6)


def test_rms_norm_survives_values_whose_cube_does_not() -> None:
    """rstd is 1e14 here, its cube more than float32 holds."""
    layer = pn.rms_norm(eps=0.0)
    params, _ = layer.init(jax.random.key(0), jnp.zeros((1, 8), jnp.float32))
    x, dy = normal(3, 8).astype(np.float32), normal(3, 8, seed=1).astype(np.float32)
    dx, tiny = (pull_all(layer, params, (), x * scale, dy * scale)[3] for scale in (np.float32(1), np.float32(1e-14)))
    assert_close(tiny, dx, 1e-5)


def test_one_group_is_layer_norm_over_space_and_channels() -> None:
    x = jnp.asarray(normal(3, 4, 5, 6), jnp.float32)
    group, layer = pn.group_norm(1, use_scale=False, use_bias=False), pn.layer_norm(use_scale=False, use_bias=False)
    y = layer.forward({}, (), x.reshape(3, -1), None)[0]
    assert_close(group.forward({}, (), x, None)[0], y.reshape(x.shape), 1e-6)


@pytest.mark.parametrize("dimensions", [0, 1, 2, 3])
def test_axes_before_the_spatial_ones_are_examples(dimensions: int) -> None:
    x = jnp.asarray(normal(2, 3, 4, 5, 6), jnp.float32)
    for layer in (pn.group_norm(2, dimensions=dimensions), pn.instance_norm(dimensions=dimensions)):
        params, _ = layer.init(jax.random.key(0), x)
        one = functools.partial(layer.predict, params, ())
        for _ in range(4 - dimensions):
            one = jax.vmap(one)
        assert_close(layer.predict(params, (), x), one(x), 1e-6)


# The output of an activated batch norm in place of its input.


def plain_activated(params: Any, x: Any, slope: float = 0.01) -> Any:
    mean, variance = jnp.mean(x, range(x.ndim - 1)), jnp.var(x, range(x.ndim - 1))
    with jax.numpy_rank_promotion("allow"):
        z = (x - mean) * jax.lax.rsqrt(variance + 1e-5) * params["scale"] + params["bias"]
    return jax.nn.leaky_relu(z, slope)


SCALES = np.array([1.3, -0.7, 1e-2, -1e-3, 1e-5, 1e-9, 0.0, 0.0, 1e-6, -1e-3])
BIASES = np.array([0.4, 0.4, 1.0, -1.0, 1.0, 1.0, 1.0, -1.0, 0.0, 0.0])


@pytest.mark.complete
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_scales_near_zero_have_the_right_gradient_up_to_the_rounding_of_y(dtype: str) -> None:
    """Within the error that the documentation states, also where y as it is rounded shows nothing of x."""
    layer = pn.activated_batch_norm()
    u = float(jnp.finfo(dtype).eps)
    with jax.enable_x64(True):
        x, dy = (jnp.asarray(normal(512, SCALES.size, seed=seed), dtype) for seed in (0, 1))
        params = {"scale": jnp.asarray(SCALES, dtype), "bias": jnp.asarray(BIASES, dtype)}
        _, state = layer.init(jax.random.key(0), x)
        y, _, dparams, dx = jax.jit(functools.partial(pull_all, layer))(params, state, x, dy)
        params, x, dy = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), (params, x, dy))
        expected, vjp = jax.vjp(plain_activated, params, x)
        expected_dparams, expected_dx = vjp(dy)

    def error(actual: Any, truth: Any) -> Any:
        return np.abs(np.asarray(actual, np.float64) - np.asarray(truth))

    scale, bias = np.abs(params["scale"]), np.abs(params["bias"])
    dy_sum, dy_max = np.sum(np.abs(dy), 0), np.max(np.abs(dy))
    least = np.maximum(u * bias, 2.0**-14 if dtype == "float16" else 1e-30)  # that of the scale which y shows
    xhat_error = u * (4 + bias / np.maximum(scale, least)) + (0.1 if dtype == "float16" else 0) * (bias == 0)
    assert np.all(error(y, expected) <= u * (np.abs(expected) + bias + 4 * scale) + 8 * least * (scale < least))
    assert np.all(error(dparams["bias"], expected_dparams["bias"]) <= u * dy_sum)
    assert np.all(error(dparams["scale"], expected_dparams["scale"]) <= xhat_error * dy_sum)
    assert np.all(error(dx, expected_dx) <= 8 * scale * (u + xhat_error) * dy_max + least * u)


def test_at_a_scale_and_bias_of_zero_the_gradient_is_that_of_a_scale_above_zero() -> None:
    """Where every value stands on the kink, and a scale that starts at zero has to find out of it."""
    x, dy = (jnp.asarray(normal(64, 3, seed=seed), jnp.float32) for seed in (0, 1))
    layer = pn.activated_batch_norm()
    _, state = layer.init(jax.random.key(0), x)
    zero, above = ({"scale": jnp.full(3, scale, jnp.float32), "bias": jnp.zeros(3)} for scale in (0.0, 1e-6))
    (y, _, dparams, dx), (_, _, expected, _) = (pull_all(layer, params, state, x, dy) for params in (zero, above))
    assert np.max(np.abs(y)) < 1e-30
    assert not np.any(dx)
    assert_close(dparams, expected, 1e-6)


@pytest.mark.complete
def test_activated_convolutions_keep_a_third_of_the_bytes_of_autodiff() -> None:
    """Of a stack of eight, at the same convolutions."""
    net = pn.repeat(pn.serial(pn.conv(8, (3, 3)), pn.activated_batch_norm()), 8)
    x = jax.ShapeDtypeStruct((8, 14, 14, 8), jnp.float32)
    params, state = jax.eval_shape(net.init, jax.random.key(0), x)

    def plain(params: Any, x: Any) -> Any:
        def block(x: Any, params: Any) -> Any:
            conv, norm = params
            z = jax.lax.conv_general_dilated(
                x, conv["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            return plain_activated(norm, z + jnp.broadcast_to(conv["bias"], z.shape)), None

        return jnp.sum(jnp.sin(jax.lax.scan(block, x, params)[0]))

    def by_hand(params: Any, x: Any) -> Any:
        y, _, residuals = net.forward(params, state, x, None)
        return jnp.sum(jnp.sin(y)), run_backward(net, params, x, y, residuals, jnp.cos(y))[0]

    hand, auto = cost(by_hand, params, x), cost(jax.value_and_grad(plain), params, x)
    assert auto.temporary >= 2.9 * hand.temporary, (hand, auto)
    assert hand.flops == auto.flops


# PyTorch, where it is installed.


@pytest.mark.parametrize("momentum", [0.1, 0.35])
def test_batch_norm_equals_pytorchs_over_several_steps(momentum: float) -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.nn.BatchNorm2d(6, momentum=momentum, dtype=torch.float64)
    layer = pn.batch_norm(momentum=1 - momentum, unbiased=True)
    with jax.enable_x64(True):
        x = np.zeros((2, 3, 4, 6))
        params, state = layer.init(jax.random.key(0), x)
        for seed in range(4):
            x = 2 + 3 * normal(2, 3, 4, 6, seed=seed)
            y, state, _ = layer.forward(params, state, x, None)
            assert_close(y, channels_last(theirs(channels_first(torch, x))), 1e-12)
        assert_close(state, {"mean": theirs.running_mean.numpy(), "var": theirs.running_var.numpy()})
        theirs.eval()
        assert_close(layer.predict(params, state, x), channels_last(theirs(channels_first(torch, x))), 1e-12)


def test_groups_instances_and_root_mean_squares_equal_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    with jax.enable_x64(True):
        x = normal(2, 3, 4, 6)
        scale, bias = np.arange(1.0, 7.0), np.arange(6.0)
        params = {"scale": scale, "bias": bias}
        group, instance = torch.nn.GroupNorm(3, 6), torch.nn.InstanceNorm2d(6, affine=True)
        for theirs, mine in ((group, pn.group_norm(3)), (instance, pn.instance_norm())):
            theirs.load_state_dict({"weight": torch.tensor(scale), "bias": torch.tensor(bias)})
            expected = channels_last(theirs.double()(channels_first(torch, x)))
            assert_close(mine.predict(params, (), x), expected, 1e-12)
        root = torch.nn.RMSNorm(6, eps=1e-3, dtype=torch.float64)
        assert_close(pn.rms_norm(eps=1e-3).predict({"scale": np.ones(6)}, (), x), root(torch.tensor(x)).detach(), 1e-12)
        unit = torch.nn.functional.normalize(torch.tensor(x), dim=1)
        assert_close(pn.l2_normalize(axis=1).predict((), (), x), unit, 1e-12)


def channels_first(torch: Any, x: Any) -> Any:
    return torch.tensor(np.moveaxis(x, -1, 1))


def channels_last(x: Any) -> Any:
    return np.moveaxis(x.detach().numpy(), 1, -1)
