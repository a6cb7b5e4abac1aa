"""packed_attention, dot_product_attention: attention as layers, the heads packed along the features.

    y = softmax(q k^T / sqrt(d)) v, head by head
    packed_attention       [..., T, (heads + 2 kv_heads) d]  ->  [..., T, heads d]      q | k | v, side by side
    dot_product_attention  ([..., T, heads d], [..., S, kv_heads d], [..., S, kv_heads dv])  ->  [..., T, heads dv]
    y = softmax(scale q k^T + bias) v, head by head

Kept: x, y and the log-sum-exp of the scores; x and y are what the dense layers around it make and read anyway. With
`qk_norm` or `rotary` the queries and keys are normalised and rotated again in the backward, which takes the norms'
statistics but no matrix product. The equations are in attention.py.
Vaswani et al., *Attention Is All You Need* (2017); normalised queries and keys: Dehghani et al. (2023).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..annotations import Array, Float, PositiveFloat, PositiveInt, PyTree
from ..barrier import after
from ..combine import serial
from ..constructor import constructor
from ..errors import LayerTypeError, LayerValueError, layer_scope
from ..functions import from_function
from ..layer import Layer, Params, Residuals, State, run_backward
from ..reading import Entries, reading
from ..stateless import stateless
from ..validation import check_floating, describe
from .attention import ScoreOptions, attention_backward, attention_forward
from .attention_blocks import Block, HeadRange, block_attention_backward, block_attention_forward
from .attention_cudnn import check_options, cudnn_attention
from .attention_masks import Offset, Window, check_offset, check_window, first_position, is_integer, reach, split_mask
from .checks import check_names

Heads = Float[Array, "... _ _ _"]  # [..., time, heads, features]
Packed = Float[Array, "... time heads_features"]
Parts = tuple[Any, Any, Any]  # queries, keys and values [..., time, heads, features], arrays or ranges of heads
Twins = tuple[Callable[..., Any], Callable[..., Any] | None]


@constructor
def packed_attention(
    heads: PositiveInt,
    *,
    kv_heads: PositiveInt | None = None,
    causal: bool = False,
    window: Window = None,
    offset: Offset = 0,
    alibi: bool = False,
    qk_norm: Layer | None = None,
    rotary: Layer | None = None,
    scale: float | None = None,
    softcap: PositiveFloat | None = None,
    block: Block | None = None,
    kernel: str = "purenet",
) -> Layer:
    """Self-attention of x [..., time, (heads + 2 kv_heads) * d], the queries, keys and values side by side; y has
    heads * d features. The input is x or (x, mask).

    - `kv_heads` keys and values are shared by heads / kv_heads queries each: grouped or, with 1, multi-query attention.
    - mask [..., keys], [..., queries, keys] or [..., heads, queries, keys], any length of which may be 1: boolean, True
      where a key is seen, or floating, added to the scores and given a gradient. A query that sees nothing gets 0.
    - A mask of integers [..., keys] is documents packed in one sequence, the number of each position's own: a query
      sees the keys of its document. A number below 0 is padding, which sees nothing and is not seen.
    - `causal`: query t sees the keys up to t + `offset`; the offset is 0 as in PyTorch and ONNX (the first query sees
      the first key), or "end", where the last query sees the last key.
    - `window`: a query sees that many keys before and after its own; or (before, after), None for no bound. As in
      jax.nn; a sliding window of n keys in all is causal with window n - 1.
    - `alibi` adds -slope * distance to the scores. `softcap` makes them softcap * tanh(scores / softcap), before masks.
    - `qk_norm`, such as `rms_norm()`, normalises each head's queries and keys, with parameters of their own;
      `rotary`, such as `rotary()`, then rotates them. Either is a layer on [..., time, heads, d].
    - `scale` of the scores is 1 / sqrt(d) by default.
    - `block`, or (block of queries, block of keys), computes the same a pair of blocks at a time, the pairs that the
      causal rule, the offset and the window leave: far fewer bytes, and of causal attention 0.6 of the FLOPs. A length
      need not divide by it. 128 was the fastest on a CPU and takes the fewest bytes anywhere; a GPU may want 256, for
      fewer and larger steps. None has all scores at once.
    - `kernel="cudnn"` is jax.nn's on a GPU, its backward included: bfloat16 or float16, no mask.

    Raises before anything is compiled if the features do not divide into the heads or a mask does not fit.
    """
    kv_heads = check_heads("packed_attention", heads, kv_heads)
    options = score_options(
        "packed_attention", scale=scale, causal=causal, window=window, offset=offset, alibi=alibi, softcap=softcap
    )
    twins = attention_twins("packed_attention", block, kernel, options)
    prepare = preparation("packed_attention", norm=qk_norm, rotary=rotary)
    ranges = ((0, heads), (heads, kv_heads), (heads + kv_heads, kv_heads))
    # What the blocks read themselves is not copied as a whole before.
    prepared = qk_norm is not None or rotary is not None
    copied = (True, True, True) if block is None else (prepared, prepared, False)

    def split(x: Any) -> tuple[Parts, Any]:
        packed: Any
        packed, mask = x if isinstance(x, tuple) and len(x) == 2 else (x, None)
        size = split_heads(packed, heads + 2 * kv_heads).shape[-1]
        views = (HeadRange(packed, first * size, number, size) for first, number in ranges)
        q, k, v = (view.whole() if whole else view for view, whole in zip(views, copied, strict=True))
        return (q, k, v), (mask, mask) if is_integer(mask) else mask

    def join(gradients: Parts) -> tuple[Packed, ...]:
        return (merge_heads(jnp.concatenate(gradients, -2)),)

    layer = attention_layer("packed_attention", split, join, prepare, qk_norm is not None, twins, options)
    _, after = reach(causal, window)
    if after is None or first_position(0, 0, offset) + after > 0:  # sees what comes later
        return layer
    decode = partial(attend_behind, (heads, kv_heads), prepare, qk_norm is not None, twins[0], options)
    return layer.replace(rules={**layer.rules, "decode": decode})


def attend_behind(
    heads: tuple[int, int],
    prepare: Layer,
    has_params: bool,
    attention: Callable[..., Any],
    options: ScoreOptions,
    params: Params,
    state: State,
    x: Packed,
) -> tuple[Packed, State]:
    """Attention of new tokens to those before and themselves: the rule "decode" of `packed_attention`.

    Remembered are keys and values as attention takes them, how many, and what queries and keys go through remembers.
    """
    number, kv_heads = heads
    keys, values, length, of_each = state or (None, None, jnp.int32(0), ((), ()))
    q, k, v = jnp.split(split_heads(x, number + 2 * kv_heads), (number, number + kv_heads), -2)
    ready = [
        reading(prepare).forward(params, remembered, part, None)[:2]
        for params, remembered, part in zip(params_of_each(params, has_params), of_each, (q, k), strict=True)
    ]
    (q, k), of_each = zip(*ready, strict=True)
    new = Entries(k), Entries(v), length + x.shape[-2], of_each
    if keys is None or values is None:  # the first
        return merge_heads(attention(q, k, v, **options)[0]), new
    k, v = keys.then(new[0], length).array, values.then(new[1], length).array
    position: Any = first_position(0, 0, options.get("offset", 0)) + length
    o, _ = attention_forward(q, k, v, **{**options, "offset": position})
    return jnp.where(new[2] <= k.shape[-3], merge_heads(o), jnp.nan), new


@constructor
def dot_product_attention(
    heads: PositiveInt,
    *,
    kv_heads: PositiveInt | None = None,
    causal: bool = False,
    window: Window = None,
    offset: Offset = 0,
    alibi: bool = False,
    qk_norm: Layer | None = None,
    scale: float | None = None,
    softcap: PositiveFloat | None = None,
    block: Block | None = None,
    kernel: str = "purenet",
) -> Layer:
    """Attention of queries [..., time, heads * d] to keys [..., steps, kv_heads * d] and values
    [..., steps, kv_heads * dv]; y is [..., time, heads * dv]. The input is (queries, keys, values) or these and a mask.

    The keywords and the mask are those of `packed_attention`; `offset` is where the first query stands among the keys.
    Documents are a pair of integer arrays, those of the queries [..., time] and of the keys [..., steps].
    """
    kv_heads = check_heads("dot_product_attention", heads, kv_heads)
    options = score_options(
        "dot_product_attention", scale=scale, causal=causal, window=window, offset=offset, alibi=alibi, softcap=softcap
    )
    twins = attention_twins("dot_product_attention", block, kernel, options)
    prepare = preparation("dot_product_attention", norm=qk_norm)
    parts = ((heads, "queries"), (kv_heads, "keys"), (kv_heads, "values"))

    def split(x: Any) -> tuple[Parts, Any]:
        if not isinstance(x, tuple) or len(x) not in (3, 4):
            raise LayerTypeError(f"expected (queries, keys, values) or these and a mask, got {describe(x)}")
        q, k, v = (split_heads(part, *shared) for part, shared in zip(x, parts, strict=False))
        if q.shape[:-3] != k.shape[:-3] or q.shape[-1] != k.shape[-1] or k.shape[:-1] != v.shape[:-1]:
            raise LayerValueError(
                f"expected queries [..., time, {heads} * d], keys [..., steps, {kv_heads} * d] and values "
                f"[..., steps, {kv_heads} * dv], got {describe(x[:3])}"
            )
        return (q, k, v), x[3] if len(x) == 4 else None

    def join(gradients: Parts) -> tuple[Packed, ...]:
        return tuple(merge_heads(gradient) for gradient in gradients)

    return attention_layer("dot_product_attention", split, join, prepare, qk_norm is not None, twins, options)


def attention_layer(
    name: str,
    split: Callable[[Any], tuple[Parts, Any]],
    join: Callable[[Parts], tuple[Packed, ...]],
    prepare: Layer,
    has_params: bool,
    twins: Twins,
    options: ScoreOptions,
) -> Layer:
    """Attention between a way to split x into ((q, k, v), mask) and the way to join the gradients of its parts again.

    `prepare` is what queries and keys go through first, with parameters for each of the two if it has any.
    """
    attention_forward, attention_backward = twins

    def queries_and_keys(x: Any) -> tuple[Any, Any]:
        (q, k, _), mask = split(x)
        split_mask(mask, q, k)  # that it fits
        return q, k

    def init(key: Array, x: Any) -> Params:
        q, k = jax.eval_shape(queries_and_keys, x)
        query_key, key_key = jax.random.split(key, 2)
        params = {"query": prepare.init(query_key, q)[0], "key": prepare.init(key_key, k)[0]}
        return params if has_params else ()

    def forward(params: Params, x: Any) -> tuple[Packed, Residuals]:
        (q, k, v), mask = split(x)
        of_q, of_k = params_of_each(params, has_params)
        with layer_scope("query"):
            q, _, q_kept = prepare.forward(of_q, (), q, None)
        with layer_scope("key"):
            k, _, k_kept = prepare.forward(of_k, (), k, None)
        o, lse = attention_forward(q, k, v, *split_mask(mask, q, k), **options)
        return merge_heads(o), (lse, q_kept, k_kept)

    def backward(params: Params, x: Any, y: Packed, residuals: Residuals, dy: Packed) -> tuple[Params, PyTree]:
        # What is recomputed waits for dy, or XLA would keep the forward's scores instead.
        dy, (x, (lse, q_kept, k_kept)) = after(dy, (x, residuals))
        (q, k, v), mask = split(x)
        of_q, of_k = params_of_each(params, has_params)
        assert prepare.recompute is not None
        ready_q, ready_k = prepare.recompute(of_q, q, q_kept), prepare.recompute(of_k, k, k_kept)
        # y = attention(prepare(q), prepare(k), v)
        do, o = (part.reshape(*q.shape[:-1], v.shape[-1]) for part in (dy, y))
        masks = split_mask(mask, q, k)
        assert attention_backward is not None
        dq, dk, dv, dbias = attention_backward(ready_q, ready_k, v, *masks, o, lse, do, **options)
        dquery, dq = run_backward(prepare, of_q, q, ready_q, q_kept, dq)
        dkey, dk = run_backward(prepare, of_k, k, ready_k, k_kept, dk)
        dparams = {"query": dquery, "key": dkey} if has_params else ()
        parts = join((dq, dk, dv))
        if isinstance(x, tuple) and len(x) > len(parts):
            parts = (*parts, jax.tree.map(lambda given: None if dbias is None else dbias.reshape(given.shape), x[-1]))
        return dparams, parts if isinstance(x, tuple) else parts[0]

    def output(params: Params, x: Any) -> Packed:
        with layer_scope(name):
            return forward(params, x)[0]

    if attention_backward is None:
        return from_function(output, init=init, name=name)
    keeps = ("lse", *(f"{part} {kept}" for part in ("query", "key") if has_params for kept in prepare.keeps))
    return stateless(forward, backward, name=name, init=init, needs=("x", "y"), keeps=keeps)


def attention_twins(name: str, block: Block | None, kernel: str, options: ScoreOptions) -> Twins:
    """Forward and backward of all scores at once or block by block; a library's kernel has no backward of its own."""
    if kernel not in ("purenet", "cudnn"):
        raise ValueError(f'{name}: expected the kernel "purenet" or "cudnn", got {kernel!r}')
    if kernel == "cudnn":
        check_options(name, block, options)
        return cudnn_attention, None
    if block is None:
        return attention_forward, attention_backward
    sizes = block if isinstance(block, tuple) else (block, block)
    if len(sizes) != 2 or not all(type(size) is int and size >= 1 for size in sizes):
        raise ValueError(
            f"{name}: expected a block of at least 1 position, or a pair (queries, keys) of them, got {block!r}"
        )
    return partial(block_attention_forward, block=sizes), partial(block_attention_backward, block=sizes)


def params_of_each(params: Params, has_params: bool) -> tuple[Params, Params]:
    if not has_params:
        return (), ()
    check_names(params, ("query", "key"))
    return params["query"], params["key"]


def preparation(name: str, **layers: Layer | None) -> Layer:
    """What queries and keys go through before their product: the given layers, one after the other."""
    given = {key: layer for key, layer in layers.items() if layer is not None}
    for key, layer in given.items():
        if not isinstance(layer, Layer) or layer.recompute is None:
            raise ValueError(f"{name}: expected {key} as a layer that can recompute its output, got {layer!r:.60}")
    if not given:
        return stateless(unchanged, unchanged, name="identity", needs=(), recompute=unchanged)
    return serial(**given) if len(given) > 1 else next(iter(given.values()))


def unchanged(x: Any) -> Any:
    """Of an array or a range of heads."""
    return x


def score_options(name: str, **options: Any) -> ScoreOptions:
    """The options, checked."""
    check_window(name, options["window"])
    check_offset(name, options["offset"])
    if options["scale"] is not None and not math.isfinite(options["scale"]):
        raise ValueError(f"{name}: expected a finite scale, got {options['scale']!r}")
    return ScoreOptions(**options)


def check_heads(name: str, heads: int, kv_heads: int | None) -> int:
    """The number of key and value heads."""
    kv_heads = heads if kv_heads is None else kv_heads
    if heads % kv_heads:
        raise ValueError(f"{name}: expected kv_heads that divide the {heads} heads, got {kv_heads}")
    return kv_heads


def split_heads(x: Packed, heads: int, what: str = "x") -> Heads:
    """[..., time, heads * d] as [..., time, heads, d]."""
    check_floating(x, what)
    if x.ndim < 2:
        raise LayerValueError(f"expected {what} [..., time, features], got {describe(x)}")
    if x.shape[-1] % heads or not x.shape[-1]:
        raise LayerValueError(f"expected {what} with features for {heads} heads of equal size, got {describe(x)}")
    return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads)


def merge_heads(x: Heads) -> Packed:
    return lax.collapse(x, x.ndim - 2)
