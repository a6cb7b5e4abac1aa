"""What a GPT is made of: GPT-2's choices by default, Llama's as options, and GPT-2's published sizes."""

from __future__ import annotations

from typing import NamedTuple

from ...arguments import as_kind
from ...layers import geglu, gelu, layer_norm, reglu, relu, rms_norm, silu, swiglu

NORMS = {"layer_norm": layer_norm, "rms_norm": rms_norm}
ACTIVATIONS = {"gelu": gelu, "gelu_exact": lambda: gelu(approximate=False), "relu": relu, "silu": silu}
GATES = {"swiglu": swiglu, "geglu": geglu, "reglu": reglu}
POSITIONS = ("learned", "rotary")


class GPTConfig(NamedTuple):
    """The architecture, in numbers and names that are known before anything is traced.

    - `context_length`, of the table of learned positions: no sequence may be longer. Rotary ones have no bound.
    - `kv_heads` keys and values are shared by the heads, as many as these by default. `head_features` are features /
      heads by default; `hidden`, the width inside the MLP, 4 features, or with a gate two thirds of that rounded up to
      a multiple of 256, as in Llama.
    - norm: "layer_norm" or "rms_norm"; `qk_norm` has the same kind on the queries and keys of each head.
    - activation: "gelu" (by tanh, as GPT-2's), "gelu_exact", "relu" or "silu", or with a gate "swiglu" (as Llama's),
      "geglu" or "reglu".
    - positions: "learned", or "rotary" with `rotary_base`.
    - `use_bias` in dense layers and layer norms. `tied`: the head is the embedding, transposed.
    - `dropout`, a rate, behind the embedding and both branches of each block.
    - `init_std` of the initial kernels and of the embedding: GPT-2's 0.02 suits its widths; a narrow network learns
      faster from about 1 / sqrt(features).

    Llama 3 8B: GPTConfig(128256, 8192, 4096, blocks=32, heads=32, kv_heads=8, hidden=14336, norm="rms_norm",
    activation="swiglu", positions="rotary", rotary_base=500000.0, use_bias=False, tied=False).
    """

    vocab_size: int = 50257
    context_length: int = 1024
    features: int = 768
    blocks: int = 12
    heads: int = 12
    kv_heads: int | None = None
    head_features: int | None = None
    hidden: int | None = None
    norm: str = "layer_norm"
    norm_epsilon: float = 1e-5
    activation: str = "gelu"
    positions: str = "learned"
    rotary_base: float = 10000.0
    use_bias: bool = True
    tied: bool = True
    qk_norm: bool = False
    dropout: float = 0.0
    init_std: float = 0.02

    @property
    def kv_heads_count(self) -> int:
        return self.heads if self.kv_heads is None else self.kv_heads

    @property
    def head_size(self) -> int:
        return self.features // self.heads if self.head_features is None else self.head_features

    @property
    def hidden_size(self) -> int:
        if self.hidden is not None:
            return self.hidden
        return -(-8 * self.features // (3 * 256)) * 256 if self.activation in GATES else 4 * self.features


# Radford et al. (2019), table 2; the numbers of parameters are those of the weights they published.
GPT_SIZES = {
    "124m": GPTConfig(),
    "350m": GPTConfig(features=1024, blocks=24, heads=16),
    "774m": GPTConfig(features=1280, blocks=36, heads=20),
    "1558m": GPTConfig(features=1600, blocks=48, heads=25),
}


def check_config(name: str, config: GPTConfig) -> None:
    """Raise unless the numbers and names of the configuration fit together."""
    if not isinstance(config, GPTConfig):
        raise TypeError(f"{name}: expected a GPTConfig, got {config!r:.60}: GPT_SIZES has GPT-2's")
    names = ("heads", "vocab_size", "context_length", "features", "blocks", "kv_heads", "head_features", "hidden")
    derived = {"kv_heads": "kv_heads_count", "head_features": "head_size", "hidden": "hidden_size"}
    for what in names:
        as_kind(name, what, ["PositiveInt"], getattr(config, derived.get(what, what)))
    if config.head_features is None and config.features % config.heads:
        raise ValueError(f"{name}: expected heads that divide the {config.features} features, got {config.heads}")
    if config.heads % config.kv_heads_count:
        raise ValueError(f"{name}: expected kv_heads that divide the {config.heads} heads, got {config.kv_heads}")
    as_kind(name, "init_std", ["PositiveFloat"], config.init_std)
    if config.positions == "rotary" and config.head_size % 2:
        raise ValueError(f"{name}: expected an even head size to turn in pairs, got {config.head_size}")
    known = {"norm": [*NORMS], "activation": [*ACTIVATIONS, *GATES], "positions": [*POSITIONS]}
    for what, names in known.items():
        if getattr(config, what) not in names:
            raise ValueError(f"{name}: expected {what} in {names}, got {getattr(config, what)!r}")
