"""gpt: a transformer that tells what comes next, as GPT-2 is built, with Llama's choices as options.

    ids [..., T] in 0..vocabulary-1;  z_0 = E[ids] + P[0..T-1]           E [vocabulary, features], P [length, features]
    u_k = z_{k-1} + attend(norm(z_{k-1}) Wqkv + b) Wout + b              each step sees itself and those before it
    z_k = u_k + gelu(norm(u_k) Wup + b) Wdown + b                        k = 1..n
    logits = norm(z_n) E^T                                               [..., T, vocabulary]

Start, as published: kernels and E normal(0.02), P normal(0.01), Wout and Wdown, whose output the stream adds up,
divided by sqrt(2 n), biases 0, norms 1: Radford et al., *Language Models are Unsupervised Multitask Learners* (2019),
section 2.3, and OpenAI's code for it. Options: RMS norm, a gated MLP, rotary positions and an untied head as in
Touvron et al., *LLaMA* (2023), shared key and value heads (Ainslie et al., 2023), normalised queries and keys.
"""

from __future__ import annotations

import math

from ...combine import head_objective, repeat, residual, serial, tied
from ...initializer import normal
from ...layer import Layer
from ...layers import dense, dropout, embedding, learned_positions, packed_attention, rotary
from ...layers.attention_blocks import Block
from ...losses import linear_cross_entropy
from .config import ACTIVATIONS, GATES, NORMS, GPTConfig, check_config

TIES = {"head.kernel": "body.embed.embedding.T"}


def gpt(config: GPTConfig, *, block: Block | None = None, keep: str = "plan") -> Layer:
    """ids [..., T] to logits [..., T, vocabulary].

    - Parameters: body (embed, positions, blocks stacked along a first axis, norm) and head, whose kernel is None where
      it is tied to the embedding. They have JAX's default floating dtype; cast them for another one.
    - `block`: attention in blocks of that many steps, see `pn.packed_attention`.
      `keep`: what a block keeps, see `pn.repeat`.
    - With dropout `forward` needs a key. Raises if a sequence is longer than the table of positions.
    """
    check_config("gpt", config)
    head = dense(config.vocab_size, use_bias=False, kernel_init=normal(config.init_std))
    return tie(config, serial(body=body(config, block, keep), head=head)).replace(name="gpt")


def gpt_objective(
    config: GPTConfig,
    *,
    block: Block | None = None,
    keep: str = "plan",
    by: str = "tokens",
    chunk: int | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    z_loss: float = 0.0,
) -> Layer:
    """The loss of (ids [..., T], labels [..., T]), the labels being the ids one step later: softmax cross entropy of
    `gpt`'s logits, which are never all there at once. Parameters: those of `gpt`, from the same key the same.

    Labels may be a pair (labels, where). block and keep are those of `gpt`, the other keywords those of
    `losses.linear_cross_entropy`.
    """
    check_config("gpt_objective", config)
    head = linear_cross_entropy(
        config.vocab_size,
        by=by,
        chunk=chunk,
        reduction=reduction,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
        z_loss=z_loss,
        transposed=config.tied,
        kernel_init=normal(config.init_std),
    )
    return tie(config, head_objective(body(config, block, keep), head)).replace(name="gpt_objective")


def tie(config: GPTConfig, network: Layer) -> Layer:
    return tied(network, TIES) if config.tied else network


def body(config: GPTConfig, block: Block | None, keep: str) -> Layer:
    """ids [..., T] to features [..., T, features]: all but the head."""
    embed = {"embed": embedding(config.vocab_size, config.features, embedding_init=normal(config.init_std))}
    if config.positions == "learned":
        embed["positions"] = learned_positions(config.context_length, embedding_init=normal(config.init_std / 2))
    blocks = repeat(transformer_block(config, block), config.blocks, keep=keep)
    return serial(**embed, **dropped(config), blocks=blocks, norm=norm(config))


def transformer_block(config: GPTConfig, block: Block | None = None) -> Layer:
    """One block: [..., T, features] to the same."""
    return serial(attention=residual(attention_branch(config, block)), mlp=residual(mlp_branch(config)))


def attention_branch(config: GPTConfig, block: Block | None = None) -> Layer:
    heads, kv_heads = config.heads, config.kv_heads_count
    return serial(
        norm=norm(config),
        qkv=projection(config, (heads + 2 * kv_heads) * config.head_size),
        attend=packed_attention(
            heads,
            kv_heads=kv_heads,
            causal=True,
            block=block,
            qk_norm=norm(config) if config.qk_norm else None,
            rotary=rotary(base=config.rotary_base) if config.positions == "rotary" else None,
        ),
        out=into_stream(config),
        **dropped(config),
    )


def mlp_branch(config: GPTConfig) -> Layer:
    gated = config.activation in GATES
    return serial(
        norm=norm(config),
        up=projection(config, config.hidden_size * (2 if gated else 1)),  # the gate's columns first
        act=(GATES if gated else ACTIVATIONS)[config.activation](),
        down=into_stream(config),
        **dropped(config),
    )


def norm(config: GPTConfig) -> Layer:
    biased = {"use_bias": config.use_bias} if config.norm == "layer_norm" else {}
    return NORMS[config.norm](eps=config.norm_epsilon, **biased)


def projection(config: GPTConfig, features: int, *, factor: float = 1.0) -> Layer:
    return dense(features, use_bias=config.use_bias, kernel_init=normal(factor * config.init_std))


def into_stream(config: GPTConfig) -> Layer:
    """The dense layer at the end of a branch, of which the stream adds up 2 n."""
    return projection(config, config.features, factor=1 / math.sqrt(2 * config.blocks))


def dropped(config: GPTConfig) -> dict[str, Layer]:
    return {"drop": dropout(config.dropout)} if config.dropout else {}
