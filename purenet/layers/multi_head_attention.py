"""self_attention, cross_attention, multi_head_attention: attention between dense layers.

    q = x Wq + bq,  k = m Wk + bk,  v = m Wv + bv,  o = attention(q, k, v) head by head,  y = o Wo + bo

Each is `serial` of three layers. In self_attention the projections of x are one product, its kernel Wq | Wk | Wv. An
input that is projected more than once gets the sum of the gradients. Kept: the inputs, the
projections, o and the log-sum-exp of the scores.
Vaswani et al., *Attention Is All You Need* (2017), section 3.2.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import jax
from jax.nn.initializers import Initializer, lecun_normal, zeros

from ..annotations import Array, PositiveInt
from ..combine import serial
from ..constructor import constructor
from ..errors import LayerTypeError, LayerValueError, layer_scope
from ..layer import Layer, Params
from ..stateless import stateless
from ..validation import describe
from .attention import ScoreOptions
from .attention_blocks import Block
from .checks import check_features, check_names
from .dense import dense, dense_backward, dense_forward
from .packed_attention import check_heads, dot_product_attention, packed_attention


class CrossOptions(ScoreOptions, total=False):
    """The keywords of `dot_product_attention`."""

    kv_heads: int | None
    qk_norm: Layer | None
    block: Block | None
    kernel: str


class AttendOptions(CrossOptions, total=False):
    """The keywords of `packed_attention`."""

    rotary: Layer | None


Tensors = tuple[Any, ...]
Sources = Mapping[str, int]


def project_forward(params: dict[str, Params], x: Tensors, sources: Sources) -> Tensors:
    """A dense layer for each name, of the input that `sources` tells."""
    return tuple(dense_forward(params[name], x[i]) for name, i in sources.items())


def project_backward(params: dict[str, Params], x: Tensors, dy: Tensors, sources: Sources) -> tuple[Params, Tensors]:
    dparams: dict[str, Params] = {}
    dx: list[Any] = [None] * (1 + max(sources.values()))
    for (name, i), cotangent in zip(sources.items(), dy, strict=True):
        # y = x[i] @ kernel + bias
        dparams[name], own = dense_backward(params[name], x[i], cotangent)
        dx[i] = own if dx[i] is None else dx[i] + own
    return dparams, tuple(dx)


def projections(
    heads: int, counts: Mapping[str, int], sources: Sources, head_features: int | None, options: dict[str, Any]
) -> Layer:
    """Project the inputs, `counts` heads per name; a mask after them is passed through.

    A head has head_features, or those of the first input divided by `heads`.
    """
    inputs = 1 + max(sources.values())

    def layers(x: Any) -> dict[str, Layer]:
        if not inputs <= len(x) <= inputs + 1:
            raise LayerTypeError(f"expected {inputs} inputs or these and a mask, got {describe(x)}")
        for part in x[:inputs]:
            check_features(part)
        size = head_features or x[0].shape[-1] // heads
        if not head_features and x[0].shape[-1] != size * heads:
            raise LayerValueError(
                f"expected features that the {heads} heads divide, got {describe(x[0])}: give head_features"
            )
        return {name: dense(count * size, **options) for name, count in counts.items()}

    def init(key: Array, x: Any) -> Params:
        x = as_tuple(x)
        keys = jax.random.split(key, len(sources))
        each = zip(layers(x).items(), keys, sources.values(), strict=True)
        return {name: layer.init(own_key, x[i])[0] for (name, layer), own_key, i in each}

    def forward(params: Params, x: Any) -> Any:
        parts = as_tuple(x)
        check_names(params, sources)
        for name, layer in layers(parts).items():
            with layer_scope(name):
                jax.eval_shape(layer.predict, params[name], (), parts[sources[name]])  # that they fit
        y = project_forward(params, parts, sources) + parts[inputs:]
        return y if isinstance(x, tuple) else y[0]

    def backward(params: Params, x: Any, dy: Any) -> tuple[Params, Any]:
        parts, dparts = as_tuple(x), as_tuple(dy)
        dparams, dx = project_backward(params, parts, dparts[: len(sources)], sources)
        dx += dparts[len(sources) :]
        return dparams, dx if isinstance(x, tuple) else dx[0]

    return stateless(forward, backward, name="projections", init=init)


def as_tuple(x: Any) -> Tensors:
    return x if isinstance(x, tuple) else (x,)


@constructor
def self_attention(
    heads: PositiveInt,
    *,
    features: PositiveInt | None = None,
    head_features: PositiveInt | None = None,
    use_bias: bool = True,
    kernel_init: Initializer = lecun_normal(),
    bias_init: Initializer = zeros,
    **options: Unpack[AttendOptions],
) -> Layer:
    """x [..., time, in], or (x, mask), to [..., time, features]: dense to q, k and v, `packed_attention`, dense.

    - Parameters: project.qkv, the kernel [in, (heads + 2 kv_heads) * head_features] and its bias, and out, the kernel
      [heads * head_features, features] and its bias; with qk_norm those of packed_attention.
    - head_features is in / heads by default, and features is heads * head_features.
    - The other keywords and the mask are those of `packed_attention`.
    """
    kv_heads = check_heads("self_attention", heads, options.get("kv_heads"))
    of_dense = {"use_bias": use_bias, "kernel_init": kernel_init, "bias_init": bias_init}
    counts, sources = {"qkv": heads + 2 * kv_heads}, {"qkv": 0}
    return serial(
        project=projections(heads, counts, sources, head_features, of_dense),
        attend=packed_attention(heads, **options),
        out=output_projection(features, of_dense),
    ).replace(name="self_attention")


@constructor
def cross_attention(
    heads: PositiveInt,
    *,
    features: PositiveInt | None = None,
    head_features: PositiveInt | None = None,
    use_bias: bool = True,
    kernel_init: Initializer = lecun_normal(),
    bias_init: Initializer = zeros,
    **options: Unpack[CrossOptions],
) -> Layer:
    """(x, memory), or (x, memory, mask): queries from x [..., time, in], keys and values from memory
    [..., steps, memory_in]; y is [..., time, features].

    Parameters: project.query, project.key, project.value and out, a kernel and a bias each. The keywords are those of
    self_attention, without rotary.
    """
    sources = {"query": 0, "key": 1, "value": 1}
    of_dense = {"use_bias": use_bias, "kernel_init": kernel_init, "bias_init": bias_init}
    return attention_of("cross_attention", heads, sources, features, head_features, of_dense, options)


@constructor
def multi_head_attention(
    heads: PositiveInt,
    *,
    features: PositiveInt | None = None,
    head_features: PositiveInt | None = None,
    use_bias: bool = True,
    kernel_init: Initializer = lecun_normal(),
    bias_init: Initializer = zeros,
    **options: Unpack[CrossOptions],
) -> Layer:
    """(queries, keys, values), or these and a mask: each [..., its time, its features] with a projection of its own.

    Parameters and keywords are those of cross_attention; keys and values have the same number of steps.
    """
    sources = {"query": 0, "key": 1, "value": 2}
    of_dense = {"use_bias": use_bias, "kernel_init": kernel_init, "bias_init": bias_init}
    return attention_of("multi_head_attention", heads, sources, features, head_features, of_dense, options)


def attention_of(
    name: str,
    heads: int,
    sources: Sources,
    features: int | None,
    head_features: int | None,
    of_dense: dict[str, Any],
    options: CrossOptions,
) -> Layer:
    """`dot_product_attention` between the projections of its inputs and a dense layer."""
    kv_heads = check_heads(name, heads, options.get("kv_heads"))
    counts = {"query": heads, "key": kv_heads, "value": kv_heads}
    return serial(
        project=projections(heads, counts, sources, head_features, of_dense),
        attend=dot_product_attention(heads, **options),
        out=output_projection(features, of_dense),
    ).replace(name=name)


def output_projection(features: int | None, options: dict[str, Any]) -> Layer:
    """dense, to as many features as x has if none are given."""

    def sized(x: Any) -> Layer:
        return dense(features or x.shape[-1], **options)

    return dense(1, **options).replace(
        init=lambda key, x: sized(x).init(key, x),
        forward=lambda params, state, x, key: sized(x).forward(params, state, x, key),
        predict=lambda params, state, x: sized(x).predict(params, state, x),
    )
