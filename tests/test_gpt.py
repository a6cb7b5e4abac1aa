"""GPT: sizes, start, loss, text with a cache, samples, and files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gpt_value import LLAMA, TINY, drawn, logits_of
from safetensors.numpy import load_file, save_file

import purenet as pn
from purenet import losses, models
from purenet.models.gpt import families, sampling
from purenet.validation import leaves_with_paths

IDS: Any = np.random.default_rng(3).integers(0, TINY.vocab_size, (2, 5)).astype(np.int32)
LABELS = np.roll(IDS, -1, -1)
CONFIGS = {
    "gpt2": TINY,
    "llama": LLAMA,
    "llama, tied": LLAMA._replace(init_std=0.1, tied=True, qk_norm=False, head_features=None, kv_heads=1),
}
each_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def equal_trees(a: Any, b: Any) -> bool:
    """The same structure, dtypes and bits."""
    same = jax.tree.map(lambda x, y: x.dtype == y.dtype and np.array_equal(x, y), a, b)
    return jax.tree.structure(a) == jax.tree.structure(b) and all(jax.tree.leaves(same))


# The network.


def test_sizes_have_the_parameters_of_the_published_weights() -> None:
    ids = jax.ShapeDtypeStruct((1, 8), jnp.int32)
    published = {"124m": 124_439_808, "350m": 354_823_168, "774m": 774_030_080, "1558m": 1_557_611_200}
    for name, number in published.items():
        params, _ = jax.eval_shape(models.gpt(models.GPT_SIZES[name]).init, jax.random.key(0), ids)
        assert sum(leaf.size for leaf in jax.tree.leaves(params)) == number
    summary = pn.summary(models.gpt(models.GPT_SIZES["124m"]), ids)
    assert summary.parameters == 124_439_808
    assert "124,439,808" in str(summary).splitlines()[-1]


def test_llamas_hidden_width() -> None:
    """Of 7B, 13B and 65B: Touvron et al. (2023)."""
    widths = {4096: 11008, 5120: 13824, 8192: 22016}
    assert {n: LLAMA._replace(features=n, hidden=None).hidden_size for n in widths} == widths


def test_llama_gives_what_numpy_gives() -> None:
    with jax.enable_x64(True):
        params = drawn(LLAMA)
        y = jax.jit(models.gpt(LLAMA, block=2).predict)(params, (), IDS)
        np.testing.assert_allclose(y, logits_of(LLAMA, params, IDS), rtol=1e-11, atol=1e-12)


@pytest.mark.complete
def test_start_is_the_published_one_for_network_and_objective() -> None:
    config = TINY._replace(vocab_size=500, context_length=200, features=64, blocks=8)
    key = jax.random.key(0)

    def start(key: Any) -> Any:
        network, objective = models.gpt(config), models.gpt_objective(config)
        return network.init(key, IDS)[0], objective.init(jax.random.clone(key), (IDS, LABELS))[0]

    params, others = jax.jit(start)(key)
    assert equal_trees(params, others)
    seen = set()
    for path, leaf in leaves_with_paths(params):
        kind = path.split(".")[-1]
        mean = 1.0 if kind == "scale" else 0.0
        deviation = {"scale": 0.0, "bias": 0.0, "kernel": 0.02, "embedding": 0.02}[kind]
        if path.endswith(("out.kernel", "down.kernel")):
            deviation = 0.02 / 4  # two branches in each of 8 blocks
        if path == "body.positions.embedding":
            deviation = 0.01
        seen.add(deviation)
        # five standard errors
        assert abs(leaf.mean() - mean) <= 5 * deviation / leaf.size**0.5, path
        assert abs(leaf.std() - deviation) <= 5 * deviation / (2 * leaf.size) ** 0.5, path
    assert seen == {0.0, 0.005, 0.01, 0.02}


@pytest.mark.parametrize("config", [TINY, LLAMA], ids=["tied", "untied"])
def test_the_objective_is_the_loss_of_the_networks_logits(config: Any) -> None:
    """Value and gradient, of the same parameters."""
    plain = pn.objective(models.gpt(config), losses.softmax_cross_entropy(label_smoothing=0.1))
    fused = models.gpt_objective(config, block=2, keep="inputs", by="vocabulary", chunk=8, label_smoothing=0.1)
    with jax.enable_x64(True):
        batch = jnp.asarray(IDS), jnp.asarray(LABELS)
        gradients = [pn.value_and_grad(layer) for layer in (plain, fused)]
        expected, found = jax.jit(lambda params: [gradient(params, (), batch) for gradient in gradients])(drawn(config))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13), found, expected)


@pytest.mark.complete
def test_dropout_draws_in_training_and_only_there() -> None:
    net = models.gpt(TINY._replace(dropout=0.5))
    params = drawn(TINY)
    params["body"]["drop"] = ()
    for branch in ("attention", "mlp"):
        params["body"]["blocks"][branch]["drop"] = ()
    still = jax.jit(net.predict)(params, (), IDS)
    np.testing.assert_array_equal(still, jax.jit(models.gpt(TINY).predict)(drawn(TINY), (), IDS))
    a, b = (jax.jit(net.forward)(params, (), IDS, jax.random.key(k))[0] for k in (0, 1))
    assert np.max(np.abs(a - still)) > 1e-3
    assert np.max(np.abs(a - b)) > 1e-3


# Text.


def continued(config: Any, params: Any, prompt: Any, steps: int) -> tuple[Any, Any]:
    """The text and the logits behind each token of it, by the whole network on ever longer texts."""
    text, seen = np.asarray(prompt), []
    for _ in range(steps):
        seen.append(logits_of(config, params, text)[:, -1])
        text = np.concatenate([text, seen[-1].argmax(-1)[:, None]], -1)
    return text, np.stack(seen)


@each_config
def test_text_is_that_of_the_whole_network(config: Any) -> None:
    """Token for token, up to the last that the table of positions has room for; and the logits of each step."""
    with jax.enable_x64(True):
        params, steps = drawn(config), 8
        text, expected = continued(config, params, IDS, steps)
        np.testing.assert_array_equal(models.generate(config, params, IDS, steps), text[:, 5:])
        step = jax.jit(models.decode_step, static_argnums=0)
        logits, cache = jax.jit(lambda params, ids: models.prefill(config, params, ids, 12, block=2))(params, IDS)
        found = [logits]
        for t in range(5, 12):
            logits, cache = step(config, params, cache, text[:, t : t + 1])
            found.append(logits)
        np.testing.assert_allclose(np.stack(found), expected, rtol=1e-12, atol=1e-12)
        assert int(cache.length) == 12


@pytest.mark.complete
def test_float32_steps_are_as_good() -> None:
    params = drawn(LLAMA)
    whole = jax.jit(models.gpt(LLAMA).predict)(params, (), IDS)
    _, cache = jax.jit(lambda ids: models.prefill(LLAMA, params, ids, 5))(IDS[:, :2])
    logits, _ = jax.jit(models.decode_step, static_argnums=0)(LLAMA, params, cache, IDS[:, 2:])  # three at once
    assert np.max(np.abs(logits - whole[:, -1])) <= 1e-5 * np.max(np.abs(whole))


@pytest.mark.complete
def test_each_example_may_have_a_cache_of_its_own_length() -> None:
    """Under vmap, which a server would use; beyond the cache's room the logits are NaN, not another text's."""
    params = drawn(LLAMA)
    short, long = (models.prefill(LLAMA, params, ids, 5)[1] for ids in (IDS[0, :2], IDS[1, :4]))
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), short, long)
    step = jax.jit(jax.vmap(lambda cache, ids: models.decode_step(LLAMA, params, cache, ids)))
    logits, both = step(both, IDS[:, 2:3])
    texts = IDS[0, :3], np.append(IDS[1, :4], IDS[1, 2])
    for mine, text in zip(logits, texts, strict=True):
        np.testing.assert_allclose(mine, logits_of(LLAMA, params, text[None])[0, -1], rtol=1e-3, atol=1e-4)
    logits, _ = step(both, IDS[:, 3:4])
    assert np.isfinite(logits[0]).all()
    assert np.isnan(logits[1]).all()


@pytest.mark.complete
def test_a_key_draws_text_and_nothing_else_does() -> None:
    params, key = drawn(TINY), jax.random.key(5)
    greedy = models.generate(TINY, params, IDS, 6)
    options: dict[str, Any] = {"temperature": 3.0, "top_k": 20, "top_p": 0.9}
    first, again, other = (
        models.generate(TINY, params, IDS, 6, key=k, **options) for k in (key, jax.random.clone(key), jax.random.key(6))
    )
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)
    assert first.dtype == jnp.int32
    np.testing.assert_array_equal(models.generate(TINY, params, IDS, 6, key=key, temperature=0), greedy)
    assert models.generate(TINY, params, IDS[0], 1).shape == (1,)
    jitted = jax.jit(models.generate, static_argnums=(0, 3), static_argnames="top_k")
    assert jitted.eval_shape(TINY, params, IDS, 6, key=key, **options).shape == (2, 6)


def test_samples_have_their_probabilities() -> None:
    p, draws = np.array([0.05, 0.4, 0.15, 0.3, 0.1], np.float32), 3000
    logits = jnp.broadcast_to(jnp.log(p), (draws, 5))

    def share(**options: Any) -> Any:
        chosen = jax.jit(lambda key: sampling.sample(logits, key, **options))(jax.random.key(2))
        return np.bincount(chosen, minlength=5) / draws

    def close(found: Any, expected: Any) -> None:
        expected = np.asarray(expected) / np.sum(expected)
        # five standard errors; what is left out never comes
        np.testing.assert_array_less(np.abs(found - expected), 5 * np.sqrt(expected * (1 - expected) / draws) + 1e-12)

    close(share(temperature=0.5), p**2)
    close(share(top_k=3), [0, 0.4, 0.15, 0.3, 0])
    close(share(top_k=100), p)
    close(share(top_k=3, top_p=0.8), [0, 0.4, 0, 0.3, 0])  # of the three, 0.47 and 0.35


def test_top_p_takes_the_fewest_that_reach_it() -> None:
    falling = jnp.log(jnp.array([0.4, 0.3, 0.15, 0.1, 0.05]))
    taken = {0.39: 1, 0.41: 2, 0.69: 2, 0.71: 3, 0.96: 5, 1.0: 5, 1e-9: 1}
    assert {top_p: int(sampling.nucleus(falling, top_p).sum()) for top_p in taken} == taken


# Files.


@each_config
def test_files_give_back_every_bit(config: Any, tmp_path: Path) -> None:
    for dtype in (jnp.float32, jnp.bfloat16):
        params = jax.tree.map(lambda leaf, dtype=dtype: jnp.asarray(leaf, dtype), drawn(config))
        models.save_gpt(tmp_path / "model", config, params, eos_token_id=7)
        found, again = models.load_gpt(tmp_path / "model")
        assert found == config
        assert equal_trees(again, params)
    assert json.loads((tmp_path / "model" / "config.json").read_text())["eos_token_id"] == 7
    assert {file.name for file in (tmp_path / "model").iterdir()} == {"config.json", "model.safetensors"}
    _, wide = models.load_gpt(tmp_path / "model" / "model.safetensors", dtype=jnp.float32)
    assert equal_trees(wide, jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params))


def saved(tmp_path: Path, config: Any) -> tuple[Path, Any, dict[str, Any]]:
    params = drawn(config)
    models.save_gpt(tmp_path, config, params)
    return tmp_path / "model.safetensors", params, load_file(tmp_path / "model.safetensors")


def test_names_and_layouts_are_transformers(tmp_path: Path) -> None:
    """What the file's documentation says; tests/test_gpt_compare.py asks transformers themselves."""
    _, params, tensors = saved(tmp_path / "gpt2", TINY)
    block = params["body"]["blocks"]
    assert "lm_head.weight" not in tensors
    np.testing.assert_array_equal(tensors["transformer.h.1.attn.c_attn.weight"], block["attention"]["qkv"]["kernel"][1])
    np.testing.assert_array_equal(tensors["transformer.h.0.mlp.c_fc.bias"], block["mlp"]["up"]["bias"][0])
    _, params, tensors = saved(tmp_path / "llama", LLAMA)
    qkv = params["body"]["blocks"]["attention"]["qkv"]["kernel"][1]  # 4 heads and twice 2 of 6 features
    for name, columns in (("q", qkv[:, :24]), ("k", qkv[:, 24:36]), ("v", qkv[:, 36:])):
        np.testing.assert_array_equal(tensors[f"model.layers.1.self_attn.{name}_proj.weight"], columns.T)
    gate = params["body"]["blocks"]["mlp"]["up"]["kernel"][0, :, :24]
    np.testing.assert_array_equal(tensors["model.layers.0.mlp.gate_proj.weight"], gate.T)
    np.testing.assert_array_equal(tensors["lm_head.weight"], params["head"]["kernel"].T)


def test_other_files_of_the_same_model(tmp_path: Path) -> None:
    """Without the prefix and with the constants of old versions, as gpt2's own; and in several files."""
    file, params, tensors = saved(tmp_path, TINY)
    bare = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    constants = {f"h.{k}.attn.bias": np.ones((1, 1, 12, 12), np.float32) for k in range(2)}
    head = {"lm_head.weight": bare["wte.weight"]}
    save_file(bare | constants | head, file)
    assert equal_trees(models.load_gpt(tmp_path)[1], params)
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[:9], "model-00002-of-00002.safetensors": names[9:]}
    for part, inside in parts.items():
        save_file({name: tensors[name] for name in inside}, tmp_path / part)
    places = {name: part for part, inside in parts.items() for name in inside}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    file.unlink()
    assert equal_trees(models.load_gpt(tmp_path)[1], params)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected the files .*model-00002-of-00002.safetensors"):
        models.load_gpt(tmp_path)


def test_what_is_wrong_with_a_file_is_named(tmp_path: Path) -> None:
    file, _, tensors = saved(tmp_path, TINY)

    def refused(changed: dict[str, Any], message: str) -> None:
        save_file(changed, file)
        with pytest.raises(ValueError, match=message):
            models.load_gpt(tmp_path)

    bias = "transformer.h.1.attn.c_attn.bias"
    refused({k: v for k, v in tensors.items() if k != bias}, r"missing \['transformer.h.1.attn.c_attn.bias'\], unknown")
    refused(tensors | {"transformer.h.2.ln_1.bias": tensors[bias]}, r"unknown \['transformer.h.2.ln_1.bias'\]")
    refused(tensors | {bias: tensors[bias][:-1]}, r"expected transformer.h.1.attn.c_attn.bias \[48\], got \[47\]")
    refused(
        tensors | {"lm_head.weight": tensors["transformer.wte.weight"] + 1}, "expected lm_head.weight to be the emb"
    )
    mixed = r"of one dtype, got F16 \(transformer.h.1.attn.c_attn.bias\), F32 \(.*: give a dtype"
    refused(tensors | {bias: tensors[bias].astype(np.float16)}, mixed)
    refused({k: v.astype(np.int8) for k, v in tensors.items()}, r"expected floating tensors, got I8 \(")
    refused({k: v.astype(np.float64) for k, v in tensors.items()}, "float64: enable jax_enable_x64, or give a dtype")
    file.write_bytes(b"no such format")
    with pytest.raises(ValueError, match=r"model.safetensors: no readable safetensors file"):
        models.load_gpt(tmp_path)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"model_type": "bert"}, r"config.json: expected model_type in \['gpt2', 'llama'"),
        ({"model_type": "gpt2", "activation_function": "tanh"}, "expected activation_function in .*, got 'tanh'"),
        ({"model_type": "gpt2", "scale_attn_by_inverse_layer_idx": True}, "expected scale_attn_by_inverse_layer_idx"),
        ({"model_type": "llama"}, "config.json: expected an entry 'hidden_size'"),
        ({"attention_bias": True}, "expected attention_bias and mlp_bias to be the same"),
        ({"model_type": "mistral", "sliding_window": 4}, "expected no sliding_window shorter"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "expected rope_type .*, got 'yarn'"),
        ({"hidden_size": "64"}, r"config.json: .*"),
        ({"num_attention_heads": 0}, r"config.json: .*"),
        ({"num_hidden_layers": None}, r"config.json: .*blocks as a whole number, got NoneType None"),
        ({"sliding_window": "wide"}, r"config.json: .*"),
        ({"rope_scaling": 3}, r"config.json: .*"),
        ({"hidden_act": ["silu"]}, r"config.json: .*"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "expected partial_rotary_factor 1.0, got 0.5"),
    ],
)
def test_configurations_that_are_something_else(entries: dict[str, Any], message: str, tmp_path: Path) -> None:
    plain = families.entries_of(LLAMA._replace(qk_norm=False))
    given = {"model_type": entries["model_type"]} if entries.keys() == {"model_type"} else plain
    (tmp_path / "config.json").write_text(json.dumps({**given, **entries}))
    with pytest.raises(ValueError, match=message):
        models.load_gpt(tmp_path)


MALFORMED = ("", "[]", "3", "{", "[" * 100_000, '{"weight_map": 3}', '{"weight_map": {"a": "../b"}}')


@pytest.mark.parametrize("text", MALFORMED, ids=lambda text: text[:20])
def test_malformed_json_names_its_file(text: str, tmp_path: Path) -> None:
    saved(tmp_path, TINY)
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config.json: "):
        models.load_gpt(tmp_path)
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ValueError, match=r"model.safetensors.index.json: expected "):
        models.load_gpt(tmp_path)


def test_the_base_of_the_rotation_is_where_either_version_puts_it() -> None:
    entries = families.entries_of(LLAMA)
    old = {k: v for k, v in entries.items() if k != "rope_parameters"}
    new = {k: v for k, v in entries.items() if k != "rope_theta"}
    assert families.config_of(old) == families.config_of(new) == LLAMA


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, params, _ = saved(tmp_path, TINY)
    before = file.read_bytes()

    def fail(*paths: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        models.save_gpt(tmp_path, TINY, jax.tree.map(lambda leaf: leaf + 1, params))
    assert file.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
    shutil.rmtree(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"config.json: no such file: give config"):
        models.load_gpt(tmp_path / "model.safetensors")
