"""How Hugging Face's transformers call what a GPT is made of, for GPT-2 and for the Llama family.

    GPT-2   kernels [in, out] as ours, queries, keys and values side by side in one
    Llama   kernels [out, in], one each for queries, keys, values, gate and up, which stand side by side here

Llama turns pairs of halves, as `pn.rotary` does, so that no column moves. Blocks are numbered in their names and
stacked here. Other models of Llama's shape: Mistral without its window, and Qwen 3, which normalises queries and keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ...validation import leaves_with_paths
from .config import GATES, GPTConfig, check_config
from .network import gpt

# Layers, the {} for the number of the block; a kernel here is that of all of them side by side.
GPT2 = {
    "body.embed": ("wte",),
    "body.positions": ("wpe",),
    "body.blocks.attention.norm": ("h.{}.ln_1",),
    "body.blocks.attention.qkv": ("h.{}.attn.c_attn",),
    "body.blocks.attention.out": ("h.{}.attn.c_proj",),
    "body.blocks.mlp.norm": ("h.{}.ln_2",),
    "body.blocks.mlp.up": ("h.{}.mlp.c_fc",),
    "body.blocks.mlp.down": ("h.{}.mlp.c_proj",),
    "body.norm": ("ln_f",),
    "head": ("lm_head",),
}
LLAMA = {
    "body.embed": ("embed_tokens",),
    "body.blocks.attention.norm": ("layers.{}.input_layernorm",),
    "body.blocks.attention.qkv": tuple(f"layers.{{}}.self_attn.{part}_proj" for part in "qkv"),
    "body.blocks.attention.attend.query.norm": ("layers.{}.self_attn.q_norm",),
    "body.blocks.attention.attend.key.norm": ("layers.{}.self_attn.k_norm",),
    "body.blocks.attention.out": ("layers.{}.self_attn.o_proj",),
    "body.blocks.mlp.norm": ("layers.{}.post_attention_layernorm",),
    "body.blocks.mlp.up": ("layers.{}.mlp.gate_proj", "layers.{}.mlp.up_proj"),
    "body.blocks.mlp.down": ("layers.{}.mlp.down_proj",),
    "body.norm": ("norm",),
    "head": ("lm_head",),
}
PREFIXES = {"gpt2": "transformer.", "llama": "model."}
LEAVES = {"embedding": "weight", "scale": "weight", "kernel": "weight", "bias": "bias"}
ACTIVATIONS = {"gelu_new": "gelu", "gelu_pytorch_tanh": "gelu", "gelu": "gelu_exact", "relu": "relu", "silu": "silu"}
GATED = {"silu": "swiglu", "gelu_pytorch_tanh": "geglu", "relu": "reglu"}
LLAMA_LIKE = ("llama", "mistral", "qwen3")


class Leaf(NamedTuple):
    """One of our parameters: its path and shape, and the tensors it is made of."""

    path: str
    shape: tuple[int, ...]
    names: tuple[str, ...]  # without the prefix
    widths: tuple[int, ...]  # of each along our last axis
    transposed: bool

    @property
    def blocks(self) -> int | None:
        return self.shape[0] if "{}" in self.names[0] else None

    def tensors(self, block: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Name and shape of each tensor of a block, or of the only one."""
        inner = self.shape[1:] if self.blocks else self.shape
        for name, width in zip(self.names, self.widths, strict=True):
            shape = (*inner[:-1], width)
            yield name.format(block), shape[::-1] if self.transposed else shape


def leaves_of(config: GPTConfig) -> list[Leaf]:
    ids = jax.ShapeDtypeStruct((1,), jnp.int32)
    shapes = jax.eval_shape(gpt(config).init, jax.random.key(0), ids)[0]
    family = family_of(config)
    table = GPT2 if family == "gpt2" else LLAMA
    found = []
    for path, leaf in leaves_with_paths(shapes):
        layer, _, kind = path.rpartition(".")
        names = tuple(f"{name}.{LEAVES[kind]}" for name in table[layer])
        transposed = kind == "kernel" and (family == "llama" or layer == "head")
        found.append(Leaf(path, leaf.shape, names, widths_of(config, layer, leaf.shape[-1], len(names)), transposed))
    return found


def widths_of(config: GPTConfig, layer: str, width: int, parts: int) -> tuple[int, ...]:
    if parts == 3:
        return tuple(n * config.head_size for n in (config.heads, config.kv_heads_count, config.kv_heads_count))
    return (width // parts,) * parts


def family_of(config: GPTConfig) -> str:
    """ "gpt2" or "llama". Raises ValueError naming what neither has."""
    check_config("family_of", config)
    gpt2 = {"norm": "layer_norm", "positions": "learned", "use_bias": True, "qk_norm": False}
    llama = {"norm": "rms_norm", "positions": "rotary"}
    if config.positions == "rotary":
        wrong = {what: value for what, value in llama.items() if getattr(config, what) != value}
        wrong |= {"activation": f"in {[*GATED.values()]}"} if config.activation not in GATED.values() else {}
        wrong |= {"use_bias": False} if config.use_bias and config.qk_norm else {}
    else:
        wrong = {what: value for what, value in gpt2.items() if getattr(config, what) != value}
        wrong |= {"kv_heads": None} if config.kv_heads_count != config.heads else {}
        wrong |= {"head_features": None} if config.head_size * config.heads != config.features else {}
        wrong |= {"activation": f"in {[*ACTIVATIONS.values()]}"} if config.activation in GATES else {}
    family = "llama" if config.positions == "rotary" else "gpt2"
    if wrong:
        expected = ", ".join(f"{what} {value}" for what, value in wrong.items())
        got = ", ".join(f"{what}={getattr(config, what)!r}" for what in wrong)
        raise ValueError(f"expected an architecture of {family} ({expected}), got {got}: see purenet.files.save_params")
    return family


def config_of(entries: Mapping[str, Any]) -> GPTConfig:
    """Of the entries of a config.json. What is not there has transformers' default."""
    kind = entries.get("model_type")
    if kind == "gpt2":
        return gpt2_config(entries)
    if kind in LLAMA_LIKE:
        return llama_config(entries)
    raise ValueError(f"expected model_type in {['gpt2', *LLAMA_LIKE]}, got {kind!r}")


def gpt2_config(entries: Mapping[str, Any]) -> GPTConfig:
    refuse(entries, scale_attn_weights=True, scale_attn_by_inverse_layer_idx=False, add_cross_attention=False)
    return with_defaults(
        GPTConfig(
            vocab_size=entries.get("vocab_size", 50257),
            context_length=entries.get("n_positions", 1024),
            features=entries.get("n_embd", 768),
            blocks=entries.get("n_layer", 12),
            heads=entries.get("n_head", 12),
            hidden=entries.get("n_inner"),
            norm_epsilon=entries.get("layer_norm_epsilon", 1e-5),
            activation=translated(ACTIVATIONS, "activation_function", entries.get("activation_function", "gelu_new")),
            tied=entries.get("tie_word_embeddings", True),
            init_std=entries.get("initializer_range", 0.02),
        )
    )


def llama_config(entries: Mapping[str, Any]) -> GPTConfig:
    qk_norm, length = entries["model_type"] == "qwen3", entries.get("max_position_embeddings", 2048)
    biases = {entries.get("attention_bias", False), entries.get("mlp_bias", False)}
    window = entries.get("sliding_window") if entries.get("use_sliding_window", True) else None
    if len(biases) > 1:
        raise ValueError("expected attention_bias and mlp_bias to be the same, got one without the other")
    if window is not None and window < length:
        raise ValueError(f"expected no sliding_window shorter than max_position_embeddings {length}, got {window}")
    return with_defaults(
        GPTConfig(
            vocab_size=entries.get("vocab_size", 32000),
            context_length=length,
            features=entries["hidden_size"],
            blocks=entries["num_hidden_layers"],
            heads=entries["num_attention_heads"],
            kv_heads=entries.get("num_key_value_heads"),
            head_features=entries.get("head_dim", 128 if qk_norm else None),
            hidden=entries["intermediate_size"],
            norm="rms_norm",
            norm_epsilon=entries.get("rms_norm_eps", 1e-6),
            activation=translated(GATED, "hidden_act", entries.get("hidden_act", "silu")),
            positions="rotary",
            rotary_base=float(rotary_base_of(entries)),
            use_bias=biases.pop(),
            tied=entries.get("tie_word_embeddings", False),
            qk_norm=qk_norm,
            init_std=entries.get("initializer_range", 0.02),
        )
    )


def rotary_base_of(entries: Mapping[str, Any]) -> float:
    """Of either place that transformers have had for it."""
    given = dict(entries.get("rope_parameters") or {}) | dict(entries.get("rope_scaling") or {})
    kind = given.get("rope_type", given.get("type", "default"))
    if kind != "default":
        raise ValueError(f'expected rope_type "default", got {kind!r}')
    refuse(given, partial_rotary_factor=1.0)
    return given.get("rope_theta", entries.get("rope_theta", 10000.0))


def refuse(entries: Mapping[str, Any], **expected: Any) -> None:
    """Raise where an entry asks for something else than what there is."""
    for name, value in expected.items():
        if entries.get(name, value) != value:
            raise ValueError(f"expected {name} {value}, got {entries[name]!r}")


def translated(table: Mapping[str, str], what: str, name: str) -> str:
    if name not in table:
        raise ValueError(f"expected {what} in {[*table]}, got {name!r}")
    return table[name]


def with_defaults(config: GPTConfig) -> GPTConfig:
    """The same architecture, with None where that says it."""
    for what in ("kv_heads", "head_features", "hidden"):
        shorter = config._replace(**{what: None})
        if sizes(shorter) == sizes(config):
            config = shorter
    return config


def sizes(config: GPTConfig) -> tuple[int, ...]:
    return config.kv_heads_count, config.head_size, config.hidden_size


def entries_of(config: GPTConfig) -> dict[str, Any]:
    """What transformers need in a config.json to build the same network."""
    shared = {
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tied,
        "initializer_range": config.init_std,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    if family_of(config) == "gpt2":
        return shared | gpt2_entries(config)
    return shared | llama_entries(config)


def gpt2_entries(config: GPTConfig) -> dict[str, Any]:
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "n_positions": config.context_length,
        "n_embd": config.features,
        "n_layer": config.blocks,
        "n_head": config.heads,
        "n_inner": config.hidden,
        "layer_norm_epsilon": config.norm_epsilon,
        "activation_function": next(theirs for theirs, ours in ACTIVATIONS.items() if ours == config.activation),
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": 0.0,
    }


def llama_entries(config: GPTConfig) -> dict[str, Any]:
    kind, name = ("qwen3", "Qwen3ForCausalLM") if config.qk_norm else ("llama", "LlamaForCausalLM")
    return {
        "architectures": [name],
        "model_type": kind,
        "max_position_embeddings": config.context_length,
        "hidden_size": config.features,
        "num_hidden_layers": config.blocks,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads_count,
        "head_dim": config.head_size,
        "intermediate_size": config.hidden_size,
        "rms_norm_eps": config.norm_epsilon,
        "hidden_act": next(theirs for theirs, ours in GATED.items() if ours == config.activation),
        "rope_theta": config.rotary_base,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rotary_base},
        "attention_bias": config.use_bias,
        "mlp_bias": config.use_bias,
    }
