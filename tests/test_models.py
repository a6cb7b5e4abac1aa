"""Models: gradients, whole forward passes, sizes, and what a variational autoencoder draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

import purenet as pn
from purenet import losses, models
from purenet.models.vae import beside_input
from purenet.validation import leaves_with_paths

CLASSES = 3
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(size=(3, 4, 4, 2))
ROWS = RANDOM.normal(size=(3, 5))
LABELS = np.array([0, 2, 1], np.int32)
TEXT = RANDOM.integers(0, 5, (2, 4)).astype(np.int32)


def tiny_mixer() -> pn.Layer:
    return models.mlp_mixer(CLASSES, image_size=4, patch_size=2, features=5, blocks=2, token_hidden=3, channel_hidden=6)


def tiny_vit(pool: str = "token") -> pn.Layer:
    return models.vit(CLASSES, image_size=4, patch_size=2, features=6, blocks=2, heads=2, hidden=5, pool=pool)


CE = losses.softmax_cross_entropy
TABLE: dict[str, tuple[pn.Layer, pn.Layer, Any]] = {
    "mlp": (models.mlp([4, 4, CLASSES], dropout_rate=0.2), CE(), (ROWS, LABELS)),
    "lenet": (models.lenet(CLASSES, padding="SAME"), CE(), (IMAGES, LABELS)),
    "resnet": (models.resnet(10, CLASSES, widths=(2, 3)), CE(), (IMAGES, LABELS)),
    "resnet, projected": (models.resnet(6, CLASSES, widths=(2, 3), shortcut="B"), CE(), (IMAGES, LABELS)),
    "resnet, pre-activation": (models.resnet(6, CLASSES, widths=(2, 3), preactivation=True), CE(), (IMAGES, LABELS)),
    "mlp_mixer": (tiny_mixer(), CE(), (IMAGES, LABELS)),
    "vit": (tiny_vit(), CE(), (IMAGES, LABELS)),
    "vit, mean": (tiny_vit("mean"), CE(), (IMAGES, LABELS)),
    "char_rnn": (models.char_rnn(5, features=4), CE(), (TEXT, np.roll(TEXT, -1, 1))),
    "autoencoder": (models.autoencoder(5, 2, hidden=(4,)), losses.squared_error(), (ROWS, ROWS)),
    "vae": (models.vae(5, 2, hidden=(4,)), models.negative_elbo(losses.half_squared_error, beta=0.7), (ROWS, ROWS)),
}
# A bias of tokens moves all features of a token alike, which every layer norm behind it takes away again.
FREE = {"mlp_mixer": {"blocks.tokens.mlp.dense2.bias"}}
each_model = pytest.mark.parametrize("name", TABLE)


def drawn(layer: pn.Layer, x: Any) -> Any:
    """(params, state) at random; what is drawn for a variance is positive."""
    random, shapes = np.random.default_rng(1), jax.eval_shape(layer.init, jax.random.key(0), x)
    params, state = jax.tree.map(lambda leaf: random.normal(0, 0.5, leaf.shape), shapes)
    return params, jax.tree.map(np.abs, state)


@pytest.mark.parametrize("name", [name for name in TABLE if "," not in name])
def test_gradients_are_those_of_jax_grad(name: str) -> None:
    net, loss, batch = TABLE[name]
    report = pn.check(pn.objective(net, loss), batch, verbose=False)
    assert {leaf.path for leaf in report.leaves if leaf.verdict != "PASS"} == FREE.get(name, set()), report
    assert max(leaf.error for leaf in report.leaves if leaf.verdict == "PASS") <= 1e-13


@pytest.mark.complete
@each_model
def test_training_goes_where_jax_grad_goes(name: str) -> None:
    """Two steps of descent with `value_and_grad`, and the same two by autodiff."""
    net, loss, batch = TABLE[name]
    objective = pn.objective(net, loss)
    with jax.enable_x64(True):
        start = drawn(objective, batch)

        keys = jax.random.split(jax.random.key(6), 2)

        def by_hand(params: Any, state: Any, key: Any) -> Any:
            (_, state), gradients = pn.value_and_grad(objective)(params, state, batch, key)
            return gradients, state

        def by_autodiff(params: Any, state: Any, key: Any) -> Any:
            def value(params: Any) -> Any:
                return objective.forward(params, state, batch, key)[:2]

            return jax.grad(value, has_aux=True)(params)

        def descent(gradient: Any) -> Any:
            def step(now: Any, key: Any) -> Any:
                gradients, state = gradient(*now, key)
                return (jax.tree.map(lambda p, g: p - 0.1 * g, now[0], gradients), state), None

            return jax.jit(lambda now, keys: lax.scan(step, now, keys)[0])

        hand, auto = (descent(gradient)(start, jax.random.clone(keys)) for gradient in (by_hand, by_autodiff))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), hand, auto)
    before, after = (leaves_with_paths(jax.tree.map(np.asarray, params)) for params in (start[0], hand[0]))
    still = {path for (path, a), (_, b) in zip(before, after, strict=True) if np.max(np.abs(a - b)) < 1e-9}
    assert still == FREE.get(name, set())


# Sizes.


def parameters(net: pn.Layer, *shape: int) -> int:
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(net.init, jax.random.key(0), x)[0]))


@pytest.mark.complete
def test_parameters_are_those_published() -> None:
    assert parameters(models.lenet(10), 1, 28, 28, 1) == 61_706
    assert parameters(models.lenet(10, padding="VALID"), 1, 32, 32, 1) == 61_706
    # He et al. (2016), table 6, in millions
    for depth, millions in {20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.7}.items():
        counted = parameters(models.resnet(depth, 10), 2, 32, 32, 3)
        assert round(counted / 1e6, 1 if millions == 1.7 else 2) == millions
        # a 1x1 convolution and its batch norm for each of the two times that a stage halves
        projections = 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
        assert parameters(models.resnet(depth, 10, shortcut="B"), 2, 32, 32, 3) == counted + projections
    # Touvron et al. (2021), table 1: 5, 22 and 86 million
    for features, heads, counted in ((192, 3, 5_717_416), (384, 6, 22_050_664), (768, 12, 86_567_656)):
        net = models.vit(1000, image_size=224, patch_size=16, features=features, blocks=12, heads=heads)
        assert parameters(net, 1, 224, 224, 3) == counted
    # Tolstikhin et al. (2021), table 1: S/16 has 18 million
    sizes = {"features": 512, "blocks": 8, "token_hidden": 256, "channel_hidden": 2048}
    counted = parameters(models.mlp_mixer(1000, image_size=224, patch_size=16, **sizes), 1, 224, 224, 3)
    assert counted // 10**6 == 18


# Whole forward passes, written again.


def affine(params: Any, x: Any) -> Any:
    return x @ params["kernel"] + params["bias"]


def normed(params: Any, x: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt(centred.var(-1, keepdims=True) + 1e-5) * params["scale"] + params["bias"]


def two_layers(params: Any, x: Any) -> Any:
    return affine(params["dense2"], np.asarray(jax.nn.gelu(affine(params["dense1"], x))))


def tokens_of(params: Any, images: Any) -> Any:
    n, height, width, channels = images.shape
    tiles = images.reshape(n, height // 2, 2, width // 2, 2, channels).swapaxes(2, 3)
    embed = params["patches"]["embed"]
    return tiles.reshape(n, -1, 4 * channels) @ embed["kernel"].reshape(4 * channels, -1) + embed["bias"]


def block_of(params: Any, k: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[k], params["blocks"])


def attended(params: Any, x: Any, heads: int) -> Any:
    q, k, v = np.split(affine(params["project"]["qkv"], x), 3, -1)
    q, k, v = (part.reshape(*part.shape[:2], heads, -1) for part in (q, k, v))
    weights = jax.nn.softmax(np.einsum("nqhd,nkhd->nhqk", q, k) / np.sqrt(q.shape[-1]))
    return affine(params["out"], np.einsum("nhqk,nkhd->nqhd", weights, v).reshape(x.shape))


def vit_value(params: Any, images: Any, pool: str) -> Any:
    z = tokens_of(params, images)
    if pool == "token":
        z = np.insert(z, 0, params["token"]["token"], 1)
    z = z + params["positions"]["embedding"]
    for block in (block_of(params, k) for k in range(2)):
        z = z + attended(block["attention"]["attention"], normed(block["attention"]["norm"], z), 2)
        z = z + two_layers(block["mlp"]["mlp"], normed(block["mlp"]["norm"], z))
    z = normed(params["norm"], z)
    return affine(params["head"], z[:, 0] if pool == "token" else z.mean(1))


def mixer_value(params: Any, images: Any) -> Any:
    z = tokens_of(params, images)
    for block in (block_of(params, k) for k in range(2)):
        turned = normed(block["tokens"]["norm"], z).swapaxes(1, 2)
        z = z + two_layers(block["tokens"]["mlp"], turned).swapaxes(1, 2)
        z = z + two_layers(block["channels"]["mlp"], normed(block["channels"]["norm"], z))
    return affine(params["head"], normed(params["norm"], z).mean(1))


def convolved(kernel: Any, x: Any, stride: int = 1) -> Any:
    """Pixel by pixel, with zeros around the image for a kernel of 3."""
    size, edge = len(kernel), len(kernel) // 2
    padded = np.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
    y = np.zeros((len(x), x.shape[1] // stride, x.shape[2] // stride, kernel.shape[-1]))
    for i, j in np.ndindex(y.shape[1:3]):
        window = padded[:, stride * i : stride * i + size, stride * j : stride * j + size]
        y[:, i, j] = np.tensordot(window, kernel, 3)
    return y


def by_running(params: Any, state: Any, x: Any) -> Any:
    return (x - state["mean"]) / np.sqrt(state["var"] + 1e-5) * params["scale"] + params["bias"]


def relu(x: Any) -> Any:
    return np.maximum(x, 0)


def resnet_value(params: Any, state: Any, x: Any, preactivation: bool) -> Any:
    """Depth 6 with two stages: a block each, the second of which halves and pads (or, with its own, projects)."""

    def normalised(path: str, x: Any) -> Any:
        p, s = params, state
        for key in path.split("."):
            p, s = p[key], s[key]
        return by_running(p, s, x)

    def branch(path: str, kernels: Any, x: Any, stride: int) -> Any:
        first, second = kernels["conv1"]["kernel"], kernels["conv2"]["kernel"]
        if preactivation:
            h = convolved(first, relu(normalised(f"{path}.norm1", x)), stride)
            return convolved(second, relu(normalised(f"{path}.norm2", h)))
        h = relu(normalised(f"{path}.norm1", convolved(first, x, stride)))
        return normalised(f"{path}.norm2", convolved(second, h))

    h = convolved(params["stem"]["conv"]["kernel"], x)
    if preactivation:
        one, two = params["stage1"]["first"], params["stage2"]["first"]["branch"]
        h = h + branch("stage1.first", one, h, 1)
        h = np.pad(h[:, ::2, ::2], [(0, 0)] * 3 + [(0, 1)]) + branch("stage2.first.branch", two, h, 2)
        h = relu(normalised("last.norm", h))
    else:
        one, two = params["stage1"]["first"]["sum"], params["stage2"]["first"]["sum"]
        h = relu(normalised("stem.norm", h))
        h = relu(h + branch("stage1.first.sum", one, h, 1))
        shortcut = convolved(two["shortcut"]["conv"]["kernel"], h[:, ::2, ::2])
        shortcut = normalised("stage2.first.sum.shortcut.norm", shortcut)
        h = relu(shortcut + branch("stage2.first.sum.branch", two["branch"], h, 2))
    return affine(params["head"], h.mean((1, 2)))


VALUES: dict[str, Callable[[Any, Any], Any]] = {
    "mlp_mixer": lambda params, state: mixer_value(params, IMAGES),
    "vit": lambda params, state: vit_value(params, IMAGES, "token"),
    "vit, mean": lambda params, state: vit_value(params, IMAGES, "mean"),
    "resnet, projected": lambda params, state: resnet_value(params, state, IMAGES, False),
    "resnet, pre-activation": lambda params, state: resnet_value(params, state, IMAGES, True),
}


@pytest.mark.parametrize("name", VALUES)
def test_predictions_are_those_of_the_paper(name: str) -> None:
    net = TABLE[name][0]
    with jax.enable_x64(True):
        params, state = drawn(net, IMAGES)
        y = jax.jit(net.predict)(params, state, IMAGES)
        np.testing.assert_allclose(y, VALUES[name](params, state), rtol=1e-11, atol=1e-12)


def test_blocks_of_one_shape_are_stacked() -> None:
    net = models.resnet(14, CLASSES)
    shapes = jax.eval_shape(net.init, jax.random.key(0), jax.ShapeDtypeStruct((2, 8, 8, 1), jnp.float32))[0]
    assert shapes["stage3"]["rest"]["sum"]["conv1"]["kernel"].shape == (1, 3, 3, 64, 64)
    assert shapes["stage3"]["first"]["sum"]["branch"]["conv1"]["kernel"].shape == (3, 3, 32, 64)


# Recurrence.


@pytest.mark.complete
def test_chunks_of_text_are_one_text() -> None:
    net = models.char_rnn(5, features=4)
    with jax.enable_x64(True):
        params, state = net.init(jax.random.key(1), TEXT)
        whole, _, _ = net.forward(params, state, TEXT, None)
        first, between, _ = net.forward(params, state, TEXT[:, :1], None)
        second, _, _ = net.forward(params, between, TEXT[:, 1:], None)
        np.testing.assert_allclose(np.concatenate([first, second], 1), whole, rtol=1e-13)
        anew, _, _ = net.forward(params, state, TEXT[:, 1:], None)
    assert np.max(np.abs(second - anew)) > 1e-3


@pytest.mark.parametrize("cell", [pn.gru, pn.rnn])
def test_other_cells_and_a_fresh_start(cell: Any) -> None:
    net = models.char_rnn(5, features=4, layers=1, cell=cell, stateful=False)
    params, state = net.init(jax.random.key(1), TEXT)
    assert state == ()
    assert net.predict(params, state, TEXT[0]).shape == (4, 5)


# Autoencoders.


def test_a_linear_autoencoder_becomes_principal_component_analysis() -> None:
    """Baldi & Hornik (1989): no other minimum, so that training must end at the trailing eigenvalues."""
    random = np.random.default_rng(2)
    images = (random.normal(size=(64, 6)) * [3, 2.5, 2, 0.5, 0.4, 0.3]) @ np.linalg.qr(random.normal(size=(6, 6)))[0]
    images = (images - images.mean(0)).astype(np.float32)
    least = float(np.sum(np.linalg.svd(images, compute_uv=False)[2:] ** 2) / len(images))
    objective = pn.objective(models.autoencoder(6, 2, hidden=()), losses.squared_error("batch_mean"))
    key, data = jax.random.key(0), (jnp.asarray(images), jnp.asarray(images))
    rate = optax.cosine_decay_schedule(0.03, 600)
    train = jax.jit(lambda key: pn.train.train(objective, optax.adam(rate), key, data, epochs=600, batch_size=64))
    loss = np.asarray(train(key)[1]["loss"])
    assert loss[0] > 2 * least
    assert 0.9999 * least <= loss[-1] <= 1.001 * least


def test_noise_is_the_same_in_every_dtype() -> None:
    sample, key = models.gaussian_sample(), jax.random.key(3)
    with jax.enable_x64(True):
        x = jnp.concatenate([jnp.zeros((4, 3)), jnp.full((4, 3), 2 * np.log(1.5))], -1)
        wide, _, _ = sample.forward((), (), x, jax.random.clone(key))
        for dtype, bound in ((jnp.float32, 1e-6), (jnp.bfloat16, 1e-2), (jnp.float16, 1e-3)):
            narrow, _, _ = sample.forward((), (), x.astype(dtype), jax.random.clone(key))
            assert narrow.dtype == dtype
            np.testing.assert_allclose(np.asarray(narrow, np.float64), wide, rtol=2 * bound)


def test_samples_have_the_mean_and_the_variance() -> None:
    x = jnp.broadcast_to(jnp.array([2.0, -1.0, 2 * np.log(3.0), 2 * np.log(0.5)]), (40_000, 4))
    z, _, _ = models.gaussian_sample().forward((), (), x, jax.random.key(0))
    # five standard errors of the mean, and about as much of the deviation
    np.testing.assert_allclose(z.mean(0), [2, -1], atol=5 * 3 / 200)
    np.testing.assert_allclose(z.std(0), [3, 0.5], rtol=5 / 280)
    np.testing.assert_array_equal(models.gaussian_sample().predict((), (), x), x[:, :2])


def test_divergence_of_a_batch_and_at_its_minimum() -> None:
    x = jnp.asarray(ROWS[:, :4])
    each = [models.gaussian_kl().predict((), (), row) for row in x]
    np.testing.assert_allclose(models.gaussian_kl("mean").predict((), (), x), np.mean(each), rtol=1e-6)
    np.testing.assert_allclose(models.gaussian_kl("sum").predict((), (), x), np.sum(each), rtol=1e-6)
    assert models.gaussian_kl().predict((), (), jnp.zeros((2, 6))) == 0
    # near the minimum exp(v) - 1 - v must not drown in rounding: it is v^2 / 2
    tiny = models.gaussian_kl().predict((), (), jnp.array([0.0, 1e-2]))
    np.testing.assert_allclose(tiny, 1e-4 / 4, rtol=5e-3)


def test_decoding_is_the_second_half() -> None:
    net = models.vae(5, 2, hidden=(4,))
    params, _ = net.init(jax.random.key(0), ROWS.astype(np.float32))
    y, moments = net.predict(params, (), ROWS.astype(np.float32))
    np.testing.assert_allclose(models.decode(net, params, moments[:, :2]), y, rtol=1e-6)
    assert models.decode(net, params, jnp.zeros((7, 1, 2))).shape == (7, 1, 5)


@pytest.mark.parametrize("inner", [pn.tanh(), pn.serial(pn.dense(2), pn.tanh()), pn.gelu(), pn.dense(2)])
def test_an_output_beside_its_input(inner: pn.Layer) -> None:
    report = pn.check(beside_input(inner), ROWS, verbose=False)
    assert max(leaf.error for leaf in report.leaves) <= 1e-13
    assert {leaf.verdict for leaf in report.leaves} == {"PASS"}
    rows = ROWS.astype(np.float32)
    y, x = beside_input(inner).predict(inner.init(jax.random.key(0), rows)[0], (), rows)
    np.testing.assert_array_equal(x, rows)
    assert len(y) == len(ROWS)


def test_the_loss_of_a_batch_is_the_mean_of_its_examples() -> None:
    predictions, moments, targets = ROWS, RANDOM.normal(size=(3, 4)), RANDOM.uniform(size=(3, 5))
    loss = models.negative_elbo(beta=2.0)
    with jax.enable_x64(True):
        whole = loss.predict((), (), ((predictions, moments), targets))
        each = [
            loss.predict((), (), ((predictions[i : i + 1], moments[i : i + 1]), targets[i : i + 1])) for i in range(3)
        ]
        np.testing.assert_allclose(whole, np.mean(each), rtol=1e-13)
