"""GPT against `transformers`' models in PyTorch at random weights: logits, loss, every gradient leaf, text, files.

Run where both are installed (the extra `compare`). Theirs take the loss, the RMS norm and the rotation in float32
whatever the dtype. So that float64 says something, the loss is taken from their logits and the other two are written
again without their casts; float32 compares them as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purenet as pn
from purenet import models
from purenet.models.gpt.files import read_params

pytestmark = pytest.mark.filterwarnings("default")
torch: Any = pytest.importorskip("torch")
transformers: Any = pytest.importorskip("transformers")

SIZES = {"vocab_size": 31, "bos_token_id": None, "eos_token_id": None}
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
LLAMA = {
    **SIZES,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 12,
    "rms_norm_eps": 1e-4,
    "rope_parameters": {"rope_type": "default", "rope_theta": 50.0},
}
GPT2 = {**SIZES, **NO_DROPOUT, "n_positions": 12, "n_embd": 16, "n_layer": 2, "n_head": 2}
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", GPT2),
    "gpt2, erf": ("GPT2Config", "GPT2LMHeadModel", {**GPT2, "activation_function": "gelu", "n_inner": 20}),
    "llama": ("LlamaConfig", "LlamaForCausalLM", LLAMA),
    "llama, tied, biased": (
        "LlamaConfig",
        "LlamaForCausalLM",
        {**LLAMA, "tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True, "num_key_value_heads": 1},
    ),
    "mistral": ("MistralConfig", "MistralForCausalLM", {**LLAMA, "sliding_window": None}),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", {**LLAMA, "head_dim": 6}),
}
IDS: Any = np.random.default_rng(0).integers(0, 31, (3, 11)).astype(np.int32)
BOUNDS = {"float64": 1e-12, "float32": 2e-5}


class Tensor:
    """What `read_params` reads, from a gradient of theirs."""

    def __init__(self, gradient: Any):
        self.array = gradient.numpy()

    def get_shape(self) -> list[int]:
        return list(self.array.shape)

    def get_dtype(self) -> str:
        return {"float64": "F64", "float32": "F32"}[self.array.dtype.name]

    def __getitem__(self, index: Any) -> Any:
        return self.array[index]


@pytest.fixture(params=BOUNDS)
def dtype(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "float32":
        yield request.param
        return

    def norm(self: Any, x: Any) -> Any:
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)

    def waves(self: Any, x: Any, position_ids: Any) -> Any:
        half = self.config.head_dim // 2
        frequencies = 50.0 ** (-torch.arange(half, dtype=x.dtype) / half)
        angles = position_ids[..., None].to(x.dtype) * torch.cat([frequencies, frequencies])
        return angles.cos(), angles.sin()

    for name in ("Llama", "Mistral", "Qwen3"):
        module = getattr(transformers.models, name.lower())
        module = getattr(module, f"modeling_{name.lower()}")
        monkeypatch.setattr(getattr(module, f"{name}RMSNorm"), "forward", norm)
        monkeypatch.setattr(getattr(module, f"{name}RotaryEmbedding"), "forward", waves)
    with jax.enable_x64(True):
        yield request.param


def theirs(kind: str, dtype: str) -> Any:
    config, model, options = KINDS[kind]
    torch.manual_seed(0)
    model = getattr(transformers, model)(getattr(transformers, config)(**options)).to(getattr(torch, dtype)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def error(mine: Any, other: Any) -> float:
    mine, other = np.asarray(mine, np.float64), np.asarray(other, np.float64)
    assert mine.shape == other.shape
    return float(np.max(np.abs(mine - other)) / np.max(np.abs(other)))


@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_what_transformers_compute(
    kind: str, dtype: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, bound = theirs(kind, dtype), BOUNDS[dtype]
    model.save_pretrained(tmp_path / "theirs")
    config, params = models.load_gpt(tmp_path / "theirs")

    logits = model(torch.tensor(IDS[:, :-1]).long()).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor(IDS[:, 1:]).long().flatten())
    loss.backward()
    objective = models.gpt_objective(config, block=4, chunk=8)
    gradient = jax.jit(pn.value_and_grad(objective))
    (value, _), gradients = gradient(params, (), (jnp.asarray(IDS[:, :-1]), jnp.asarray(IDS[:, 1:])))
    expected = read_params(tmp_path, config, {name: Tensor(p.grad) for name, p in model.named_parameters()})
    predicted = jax.jit(models.gpt(config).predict)(params, (), IDS[:, :-1])
    errors = {
        "logits": error(predicted, logits.detach()),
        "loss": error(value, loss.detach()),
        "gradient": max(jax.tree.leaves(jax.tree.map(error, gradients, expected))),
    }
    with capsys.disabled():
        print(f"  {kind}, {dtype}: " + ", ".join(f"{what} {size:.1e}" for what, size in errors.items()))
    assert max(errors.values()) <= bound, errors

    text = model.generate(
        torch.tensor(IDS[:, :4]).long(),
        attention_mask=torch.ones(3, 4),
        max_new_tokens=8,
        do_sample=False,
        pad_token_id=0,
    )
    np.testing.assert_array_equal(models.generate(config, params, IDS[:, :4], 8), text[:, 4:].numpy())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "mistral"])  # which is saved as a Llama
def test_files_go_both_ways(kind: str, dtype: str, tmp_path: Path) -> None:
    """Ours, loaded there, give the same tensors under the same names; and again here the same parameters."""
    model = theirs(kind, dtype)
    model.save_pretrained(tmp_path / "theirs", max_shard_size="4KB")
    assert len(list((tmp_path / "theirs").glob("model-*.safetensors"))) > 1
    config, params = models.load_gpt(tmp_path / "theirs")
    models.save_gpt(tmp_path / "ours", config, params)
    back = type(model).from_pretrained(tmp_path / "ours", dtype="auto", local_files_only=True)
    expected, found = model.state_dict(), back.state_dict()
    assert {name: tensor.dtype for name, tensor in found.items()} == {name: t.dtype for name, t in expected.items()}
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    with torch.no_grad():
        ids = torch.tensor(IDS).long()
        # Bits depend on where in memory the weights lie.
        assert error(back.eval()(ids).logits, model(ids).logits) <= BOUNDS[dtype]
    config_again, params_again = models.load_gpt(tmp_path / "ours")
    assert config_again == config
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, params_again, params)))
