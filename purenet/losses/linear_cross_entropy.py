"""linear_cross_entropy: output head and softmax cross entropy in one rule, the logits never all there at once.

    z        = softcap tanh((h W + b) / softcap)      h [tokens, d], W [d, vocabulary], z [tokens, vocabulary]
    value    = n - sum_k t_k z_k + z_loss n^2         n = log sum_k exp(z_k), t the (smoothed) one-hot label
    dz       = (softmax(z) (1 + 2 z_loss n) - t) dvalue       d(h W + b) = dz (1 - (z / softcap)^2)

Three rules with one result. Plain: all logits, kept. By tokens: chunk after chunk of tokens, their gradients formed at
once, in the forward (the loss is a number, so that its backward only scales them); kept: the gradients. By vocabulary:
n from chunks of columns with a running maximum; kept: n, one number a token, and every chunk of logits made again in
the backward, a third more arithmetic. 13 and 40 times fewer temporary bytes than jax.grad at 8,192 tokens x 50,304.
By tokens: Hsu et al., *Liger Kernel* (2024). By vocabulary: Wijmans et al., *Cut Your Losses in Large-Vocabulary
Language Models* (2025); running maximum: Milakov & Gimelshein (2018). z_loss: Chowdhery et al., *PaLM* (2022).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn.initializers import Initializer, lecun_normal, zeros

from ..annotations import Array, Float, Integer
from ..errors import LayerTypeError, LayerValueError, layer_scope
from ..layer import Layer, Params, State
from ..precision import wide_dtype, widen
from ..stateless import stateless
from ..static import Static
from ..validation import check_floating, describe, pair
from .chunks import Chunks, add_at, equal_chunks, slice_at
from .cross_entropy import check_label_range, widen_integers
from .reduction import check_reduction

# kernel [d, vocabulary] or its transpose as embedding [vocabulary, d], and perhaps bias [vocabulary]
Head = dict[str, Array]
Hidden = Float[Array, "tokens features"]
Logits = Float[Array, "tokens columns"]
Tokens = Float[Array, " tokens"]
Scalar = Float[Array, ""]


class Terms(NamedTuple):
    """What stands in the loss besides the logits and their labels."""

    label_smoothing: float = 0.0
    z_loss: float = 0.0
    softcap: float | None = None


class Targets(NamedTuple):
    """The label and the weight of each token: 1, 0 where it is left out, NaN where the label is out of range.

    The loss is the weighted sum over the tokens by `divisor`, which the gradients are divided by after they are summed:
    what is rounded to half precision before a product is then not small for the number of tokens alone.
    """

    labels: Integer[Array, " tokens"]
    weights: Tokens
    divisor: Scalar


# The logits of some tokens and some columns.


def logits_forward(params: Head, hidden: Hidden, softcap: float | None) -> Logits:
    kernel = params["kernel"] if "kernel" in params else params["embedding"].T  # [d, columns]
    logits = jnp.matmul(hidden, kernel, preferred_element_type=wide_dtype(hidden.dtype))  # [tokens, columns]
    if "bias" in params:
        logits = logits + jnp.broadcast_to(widen(params["bias"]), logits.shape)
    return logits if softcap is None else softcap * jnp.tanh(logits / softcap)


def logits_backward(
    params: Head, hidden: Hidden, logits: Logits, dlogits: Logits, softcap: float | None
) -> tuple[Head, Hidden]:
    """The gradients in at least float32; the factors of the products are in the dtype of `hidden`."""
    wide = dlogits.dtype
    if softcap is not None:
        # logits = softcap * tanh(logits / softcap)
        dlogits = dlogits * (1 - jnp.square(logits / softcap))
    narrow = dlogits.astype(hidden.dtype)  # [tokens, columns]
    # logits = hidden @ kernel + bias, embedding = kernel^T
    if "kernel" in params:
        kernel = params["kernel"]
        dparams = {"kernel": jnp.matmul(hidden.T, narrow, preferred_element_type=wide)}  # [d, columns]
    else:
        kernel = params["embedding"].T
        dparams = {"embedding": jnp.matmul(narrow.T, hidden, preferred_element_type=wide)}  # [columns, d]
    if "bias" in params:
        dparams["bias"] = jnp.sum(dlogits, 0)  # [columns]
    return dparams, jnp.matmul(narrow, kernel.T, preferred_element_type=wide)  # [tokens, d]


# The loss of each token, from what a pass over its logits leaves.


def values_forward(log_normalizer: Tokens, label_logit: Tokens, mean_logit: Tokens | float, terms: Terms) -> Tokens:
    target_logit = (1 - terms.label_smoothing) * label_logit + terms.label_smoothing * mean_logit  # sum_k t_k z_k
    return log_normalizer - target_logit + terms.z_loss * jnp.square(log_normalizer)


def values_backward(
    logits: Logits, targets: Targets, log_normalizer: Tokens, vocabulary: int, terms: Terms, first: Any = 0
) -> Logits:
    """The gradient of the weighted sum; the columns start with number `first` of the vocabulary."""
    columns = first + jnp.arange(logits.shape[-1], dtype=jnp.int32)
    is_label = targets.labels[:, None] == columns[None]  # [tokens, columns]
    target = jnp.where(is_label, 1 - terms.label_smoothing, 0.0).astype(logits.dtype)
    # values = log_normalizer + z_loss * log_normalizer^2 - sum target * logits, log_normalizer = log sum exp(logits)
    probabilities = jnp.exp(logits - log_normalizer[:, None]) * (1 + 2 * terms.z_loss * log_normalizer)[:, None]
    dlogits = probabilities - target - terms.label_smoothing / vocabulary
    weights = targets.weights[:, None]
    return jnp.where(weights == 0, 0, dlogits * weights)


def weighted_sum(values: Tokens, weights: Tokens) -> Scalar:
    return jnp.sum(jnp.where(weights == 0, 0, values * weights))


# Plain: the twin that the other two must equal.


def linear_cross_entropy_forward(
    params: Head, hidden: Hidden, targets: Targets, terms: Terms
) -> tuple[Scalar, tuple[Logits, Tokens]]:
    logits = logits_forward(params, hidden, terms.softcap)  # [tokens, vocabulary]
    log_normalizer = jax.nn.logsumexp(logits, -1)  # [tokens]
    label_logit = jnp.take_along_axis(logits, targets.labels[:, None], -1)[:, 0]
    mean_logit = jnp.mean(logits, -1) if terms.label_smoothing else 0.0
    values = values_forward(log_normalizer, label_logit, mean_logit, terms)
    return weighted_sum(values, targets.weights) / targets.divisor, (logits, log_normalizer)


def linear_cross_entropy_backward(
    params: Head, hidden: Hidden, targets: Targets, kept: tuple[Logits, Tokens], dy: Scalar, terms: Terms
) -> tuple[Head, Hidden]:
    gradients = weighted_sum_backward(params, hidden, targets, *kept, terms)
    # y = weighted sum / divisor
    return narrowed(scaled(gradients, dy.astype(targets.divisor.dtype) / targets.divisor), params, hidden.dtype)


def weighted_sum_backward(
    params: Head, hidden: Hidden, targets: Targets, logits: Logits, log_normalizer: Tokens, terms: Terms
) -> tuple[Head, Hidden]:
    dlogits = values_backward(logits, targets, log_normalizer, logits.shape[-1], terms)
    return logits_backward(params, hidden, logits, dlogits, terms.softcap)


def scaled(gradients: Any, factor: Scalar) -> Any:
    return jax.tree.map(lambda gradient: gradient * factor.astype(gradient.dtype), gradients)


def narrowed(gradients: tuple[Head, Hidden], params: Head, dtype: Any) -> tuple[Head, Hidden]:
    """Each gradient in the dtype of what it belongs to."""
    dparams, dhidden = gradients
    return jax.tree.map(lambda gradient, own: gradient.astype(own.dtype), dparams, params), dhidden.astype(dtype)


# By tokens: the plain rule for each chunk of tokens, its gradients formed in the forward.


def linear_cross_entropy_by_tokens_forward(
    params: Head, hidden: Hidden, targets: Targets, chunk: int, terms: Terms
) -> tuple[Scalar, tuple[Head, Hidden]]:
    """The loss and its gradients for dy = 1, those of the parameters in at least float32."""
    chunks = equal_chunks(hidden.shape[0], chunk)

    def step(sums: tuple[Scalar, Head, Hidden], k: Any) -> tuple[tuple[Scalar, Head, Hidden], None]:
        y, dparams, dhidden = sums
        rows, part = chunk_of_tokens(hidden, targets, chunks, k)
        value, kept = linear_cross_entropy_forward(params, rows, part, terms)
        more, drows = weighted_sum_backward(params, rows, part, *kept, terms)
        drows = (drows / targets.divisor).astype(hidden.dtype)
        return (y + value, jax.tree.map(jnp.add, dparams, more), add_at(dhidden, drows, chunks, k)), None

    wide = wide_dtype(hidden.dtype)
    zeros = jnp.zeros((), wide), jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, wide), params), jnp.zeros_like(hidden)
    (y, dparams, dhidden), _ = lax.scan(step, zeros, chunks.numbers)
    return y, (scaled(dparams, 1 / targets.divisor), dhidden)


def linear_cross_entropy_by_tokens_backward(
    params: Head, gradients: tuple[Head, Hidden], dy: Scalar
) -> tuple[Head, Hidden]:
    return narrowed(scaled(gradients, dy), params, gradients[1].dtype)


def linear_cross_entropy_by_tokens_predict(
    params: Head, hidden: Hidden, targets: Targets, chunk: int, terms: Terms
) -> Scalar:
    """The loss alone, no gradients formed."""
    chunks = equal_chunks(hidden.shape[0], chunk)

    def step(y: Scalar, k: Any) -> tuple[Scalar, None]:
        return y + linear_cross_entropy_forward(params, *chunk_of_tokens(hidden, targets, chunks, k), terms)[0], None

    return lax.scan(step, jnp.zeros((), wide_dtype(hidden.dtype)), chunks.numbers)[0]


def chunk_of_tokens(
    hidden: Hidden, targets: Targets, chunks: Chunks, k: Any
) -> tuple[Float[Array, "size features"], Targets]:
    """The tokens of chunk k; those that were in the chunk before weigh nothing."""
    labels, weights = (slice_at(x, chunks, k) for x in targets[:2])
    return slice_at(hidden, chunks, k), Targets(labels, jnp.where(chunks.is_new(k), weights, 0), targets.divisor)


# By vocabulary: the normaliser in a running sum over chunks of columns, which the backward makes again.


def linear_cross_entropy_by_vocabulary_forward(
    params: Head, hidden: Hidden, targets: Targets, chunk: int, terms: Terms
) -> tuple[Scalar, Tokens]:
    chunks = columns_of(params, chunk)
    tokens = jnp.zeros(hidden.shape[:1], wide_dtype(hidden.dtype))
    lowest = jnp.full_like(tokens, jnp.finfo(tokens.dtype).min)

    def step(sums: tuple[Tokens, Tokens, Tokens, Tokens], k: Any) -> tuple[tuple[Tokens, Tokens, Tokens, Tokens], None]:
        largest, exponentials, label_logit, logit_sum = sums
        logits = logits_forward(chunk_of_columns(params, chunks, k), hidden, terms.softcap)  # [tokens, length]
        is_new = chunks.is_new(k)[None]  # [1, length]
        new_largest = jnp.maximum(largest, jnp.max(logits, -1))
        new_exponentials = jnp.sum(jnp.where(is_new, jnp.exp(logits - new_largest[:, None]), 0), -1)
        exponentials = exponentials * jnp.exp(largest - new_largest) + new_exponentials
        local = targets.labels - chunks.start(k)
        found = jnp.take_along_axis(logits, local[:, None], -1, mode="clip")[:, 0]
        label_logit = jnp.where((local >= 0) & (local < chunks.length), found, label_logit)
        if terms.label_smoothing:
            logit_sum = logit_sum + jnp.sum(jnp.where(is_new, logits, 0), -1)
        return (new_largest, exponentials, label_logit, logit_sum), None

    sums, _ = lax.scan(step, (lowest, tokens, tokens, tokens), chunks.numbers)
    largest, exponentials, label_logit, logit_sum = sums
    log_normalizer = largest + jnp.log(exponentials)
    values = values_forward(log_normalizer, label_logit, logit_sum / chunks.size, terms)
    return weighted_sum(values, targets.weights) / targets.divisor, log_normalizer


def linear_cross_entropy_by_vocabulary_backward(
    params: Head, hidden: Hidden, targets: Targets, log_normalizer: Tokens, dy: Scalar, chunk: int, terms: Terms
) -> tuple[Head, Hidden]:
    chunks = columns_of(params, chunk)
    factor = dy.astype(targets.divisor.dtype) / targets.divisor

    def step(sums: tuple[Head, Hidden], k: Any) -> tuple[tuple[Head, Hidden], None]:
        dparams, dhidden = sums
        columns = chunk_of_columns(params, chunks, k)
        logits = logits_forward(columns, hidden, terms.softcap)  # [tokens, length]
        dlogits = values_backward(logits, targets, log_normalizer, chunks.size, terms, chunks.start(k))
        dlogits = jnp.where(chunks.is_new(k)[None], dlogits, 0)
        more, dpart = logits_backward(columns, hidden, logits, dlogits, terms.softcap)
        more, _ = narrowed((scaled(more, factor), dpart), columns, hidden.dtype)
        dparams = {name: add_at(leaf, more[name], chunks, k, axis_of(name)) for name, leaf in dparams.items()}
        return (dparams, dhidden + dpart), None

    zeros = jax.tree.map(jnp.zeros_like, params), jnp.zeros(hidden.shape, log_normalizer.dtype)
    (dparams, dhidden), _ = lax.scan(step, zeros, chunks.numbers)
    return dparams, scaled(dhidden, factor).astype(hidden.dtype)


def columns_of(params: Head, chunk: int) -> Chunks:
    name, leaf = next(iter(params.items()))
    return equal_chunks(leaf.shape[axis_of(name)], chunk)


def chunk_of_columns(params: Head, chunks: Chunks, k: Any) -> Head:
    return {name: slice_at(leaf, chunks, k, axis_of(name)) for name, leaf in params.items()}


def axis_of(name: str) -> int:
    """The axis of the vocabulary."""
    return 1 if name == "kernel" else 0


# The layer.

AT_LEAST = 512  # tokens or columns in a chunk


def linear_cross_entropy(
    vocabulary: int,
    *,
    by: str = "tokens",
    chunk: int | None = None,
    use_bias: bool = False,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    z_loss: float = 0.0,
    softcap: float | None = None,
    transposed: bool = False,
    kernel_init: Initializer = lecun_normal(),
    bias_init: Initializer = zeros,
) -> Layer:
    """softmax_cross_entropy of dense(vocabulary), its logits never all there at once.

    - The input is (hidden, labels) or (hidden, (labels, where)): hidden [..., d]; labels are integers [...]; `where`
      is boolean [...] and leaves out tokens.
    - Parameters as those of dense: kernel [d, vocabulary] and, with `use_bias`, bias [vocabulary]. `head_objective`
      puts this behind a network, `tied` makes the kernel an embedding's.
    - `by`: "tokens" takes no more arithmetic than the plain rule, "vocabulary" a third more and fewer bytes still.
      `chunk` is how many at once, at most (under `vmap`, of each example); without it so many tokens that a chunk of
      logits is half as large as the kernel, or so many columns that it is as large as `hidden`, but at least 512.
    - `transposed` computes with the kernel's transpose, and saves two copies of it where the kernel is an embedding's
      transpose: `tied(head_objective(body, head), {"head.kernel": "body.embed.embedding.T"})`.
    - `z_loss` adds z_loss * log_normalizer^2 a token; `softcap` bounds logits as softcap * tanh(logits / softcap).
    - `reduction`, `label_smoothing`, `ignore_index`, and labels out of range: as in softmax_cross_entropy.
    """
    check_constructor(vocabulary, by, chunk, label_smoothing, z_loss, softcap)
    check_reduction("linear_cross_entropy", reduction)
    terms = Terms(label_smoothing, z_loss, softcap)
    names = {"kernel", "bias"} if use_bias else {"kernel"}

    def prepare(params: Head, x: tuple) -> tuple[Head, Hidden, Targets, int]:
        hidden, targets = pair(x)
        check_hidden(hidden)
        check_params(params, names, hidden, vocabulary)
        check_targets(hidden, targets, vocabulary, ignore_index)
        features = hidden.shape[-1]
        at_most = chunk or max(features // 2 if by == "tokens" else features, AT_LEAST)
        prepared = prepare_targets(targets, vocabulary, ignore_index, reduction, wide_dtype(hidden.dtype))
        return turned(params), hidden.reshape(-1, features), prepared, at_most

    def turned(params: Head) -> Head:
        """The parameters as the twins take them, or a gradient of theirs as the layer's."""
        names = {"kernel": "embedding", "embedding": "kernel"} if transposed else {}
        return {names.get(name, name): leaf.T if name in names else leaf for name, leaf in params.items()}

    def init(key: Array, x: tuple) -> Head:
        hidden, _ = pair(x)
        check_hidden(hidden)
        kernel_key, bias_key = jax.random.split(key, 2)
        params = {"kernel": kernel_init(kernel_key, (hidden.shape[-1], vocabulary), hidden.dtype)}
        return params | ({"bias": bias_init(bias_key, (vocabulary,), hidden.dtype)} if use_bias else {})

    def forward_by_tokens(params: Head, x: tuple) -> tuple[Scalar, Any]:
        y, (dparams, dhidden) = linear_cross_entropy_by_tokens_forward(*prepare(params, x), terms)
        facts = Static((x[0].shape, isinstance(x[1], tuple)))
        return y.astype(x[0].dtype), (dparams, dhidden, facts)

    def backward_by_tokens(params: Head, kept: Any, dy: Scalar) -> tuple[Head, Any]:
        *gradients, facts = kept
        shape, masked = facts.value
        dparams, dhidden = linear_cross_entropy_by_tokens_backward(turned(params), tuple(gradients), dy)
        return turned(dparams), (dhidden.reshape(shape), (None, None) if masked else None)

    def predict_by_tokens(params: Head, state: State, x: tuple) -> Scalar:
        with layer_scope("linear_cross_entropy"):
            return linear_cross_entropy_by_tokens_predict(*prepare(params, x), terms).astype(x[0].dtype)

    def forward_by_vocabulary(params: Head, x: tuple) -> tuple[Scalar, Tokens]:
        y, log_normalizer = linear_cross_entropy_by_vocabulary_forward(*prepare(params, x), terms)
        return y.astype(x[0].dtype), log_normalizer

    def backward_by_vocabulary(params: Head, x: tuple, log_normalizer: Tokens, dy: Scalar) -> tuple[Head, Any]:
        own, rows, targets, at_most = prepare(params, x)
        dparams, dhidden = linear_cross_entropy_by_vocabulary_backward(
            own, rows, targets, log_normalizer, dy, at_most, terms
        )
        return turned(dparams), (dhidden.reshape(x[0].shape), (None, None) if isinstance(x[1], tuple) else None)

    name = "linear_cross_entropy"
    if by == "vocabulary":
        keeps = ("log_normalizer",)
        return stateless(forward_by_vocabulary, backward_by_vocabulary, name=name, init=init, keeps=keeps)
    keeps = ("gradients for dy = 1",)
    layer = stateless(forward_by_tokens, backward_by_tokens, name=name, init=init, needs=(), keeps=keeps)
    return layer.replace(predict=predict_by_tokens)


def prepare_targets(targets: Any, vocabulary: int, ignore_index: int | None, reduction: str, dtype: Any) -> Targets:
    labels, where = targets if isinstance(targets, tuple) else (targets, None)
    labels = widen_integers(labels).reshape(-1)
    counts = jnp.ones(labels.shape, bool) if where is None else where.reshape(-1)
    if ignore_index is not None:
        counts &= labels != ignore_index
    in_range = (labels >= 0) & (labels < vocabulary)
    labels = jnp.where(in_range, labels, 0).astype(jnp.int32)
    weights = jnp.where(counts, jnp.where(in_range, 1.0, jnp.nan), 0.0).astype(dtype)
    divisor = jnp.ones((), dtype) if reduction == "sum" else jnp.maximum(jnp.sum(counts, dtype=dtype), 1)
    return Targets(labels, weights, divisor)


def check_constructor(
    vocabulary: int, by: str, chunk: int | None, label_smoothing: float, z_loss: float, softcap: float | None
) -> None:
    for what, size in (("vocabulary", vocabulary), ("chunk", chunk)):
        if not (isinstance(size, int) and size >= 1) and not (what == "chunk" and size is None):
            raise ValueError(f"linear_cross_entropy: expected {what} of at least 1, got {size!r}")
    if by not in ("tokens", "vocabulary"):
        raise ValueError(f'linear_cross_entropy: expected by "tokens" or "vocabulary", got {by!r}')
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"linear_cross_entropy: expected label_smoothing in [0, 1), got {label_smoothing!r}")
    if not 0 <= z_loss < jnp.inf:
        raise ValueError(f"linear_cross_entropy: expected z_loss of at least 0, got {z_loss!r}")
    if softcap is not None and not 0 < softcap < jnp.inf:
        raise ValueError(f"linear_cross_entropy: expected softcap above 0, or None, got {softcap!r}")


def check_hidden(hidden: Any) -> None:
    check_floating(hidden, "hidden")
    if hidden.ndim == 0:
        raise LayerValueError(f"expected hidden [..., features], got {describe(hidden)}")
    if hidden.size == 0:
        raise LayerValueError(f"expected at least one token, got hidden {describe(hidden)}")


def check_params(params: Params, names: set[str], hidden: Any, vocabulary: int) -> None:
    if not isinstance(params, dict) or set(params) != names:
        raise LayerValueError(f"expected parameters {sorted(names)}, got {describe(params)}")
    shapes = {"kernel": (hidden.shape[-1], vocabulary), "bias": (vocabulary,)}
    for name, leaf in params.items():
        if leaf.shape != shapes[name]:
            raise LayerValueError(
                f"expected {name} {list(shapes[name])} from hidden {describe(hidden)} to {vocabulary} logits, "
                f"got {describe(leaf)}"
            )


def check_targets(hidden: Any, targets: Any, vocabulary: int, ignore_index: int | None) -> None:
    """Raise unless labels and mask fit the tokens; values are looked at where they are known."""
    if isinstance(targets, tuple) and len(targets) != 2:
        raise LayerTypeError(f"expected labels or a pair (labels, where), got {describe(targets)}")
    labels, where = targets if isinstance(targets, tuple) else (targets, None)
    tokens = list(hidden.shape[:-1])
    if not hasattr(labels, "dtype") or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise LayerTypeError(
            f"expected labels as an array of integers, got {describe(labels)}: distributions over the vocabulary are "
            "as large as the logits, and softmax_cross_entropy takes them"
        )
    if list(labels.shape) != tokens:
        raise LayerValueError(f"expected labels {tokens} for hidden {describe(hidden)}, got {describe(labels)}")
    if where is not None and (not hasattr(where, "dtype") or where.dtype != bool or list(where.shape) != tokens):
        raise LayerValueError(f"expected where as bool {tokens}, got {describe(where)}")
    check_label_range(labels, vocabulary, ignore_index)
