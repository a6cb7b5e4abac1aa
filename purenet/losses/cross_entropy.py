"""softmax_cross_entropy: -sum_k t_k log softmax(z)_k of logits z [..., classes] and labels.

    value    = -sum_k t_k (z_k - log_normalizer),  log_normalizer = log sum_j exp(z_j)
    dlogits  = (softmax(z) sum_k t_k - t) dvalue
    dlabels  = -(z - log_normalizer) dvalue        for labels that are distributions

The labels are distributions t [..., classes], or integers [...] that stand for one-hot ones. Smoothing mixes t with
the uniform distribution. Kept: logits, labels and log_normalizer, one number per example; softmax is recomputed.
Bishop, *Pattern Recognition and Machine Learning* (2006), section 4.3.4; smoothing: Szegedy et al. (2016).
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from ..annotations import Array, Bool, Float, Integer
from ..constructor import constructor
from ..errors import LayerTypeError, LayerValueError
from ..layer import Layer
from ..layers.checks import check_range, widen_integers
from ..precision import widen
from ..stateless import stateless
from ..validation import describe, pair
from .reduction import check_predictions, check_reduction, divisor_of, reduce_backward, reduce_forward

Logits = Float[Array, "... classes"]
Values = Float[Array, "..."]
Labels = Float[Array, "... classes"] | Integer[Array, "..."]


def softmax_cross_entropy_forward(logits: Logits, target: Logits, where: Bool[Array, ...] | None = None) -> tuple:
    log_normalizer = jax.nn.logsumexp(logits, -1, keepdims=True, where=where)  # [..., 1]
    log_probabilities = logits - log_normalizer  # [..., classes]
    values = -jnp.sum(target * possible(target, log_probabilities), -1)  # [...]
    return values, log_normalizer


def softmax_cross_entropy_backward(
    logits: Logits,
    target: Logits,
    log_normalizer: Float[Array, "... 1"],
    dvalues: Values,
    where: Bool[Array, ...] | None = None,
) -> tuple[Logits, Logits]:
    dvalues = dvalues[..., None]  # [..., 1]
    log_probabilities = logits - log_normalizer  # [..., classes]
    probabilities = jnp.exp(log_probabilities)
    if where is not None:
        probabilities = jnp.where(where, probabilities, 0)
    # values = -sum target * log_probabilities, log_probabilities = logits - log sum exp(logits)
    dlogits = (probabilities * jnp.sum(target, -1, keepdims=True) - target) * dvalues
    return dlogits, -possible(target, log_probabilities) * dvalues


def possible(target: Logits, log_probabilities: Logits) -> Logits:
    """The log-probabilities, where 0 log 0 = 0: a class of weight 0 may have a logit of -inf."""
    return jnp.where((target == 0) & jnp.isneginf(log_probabilities), 0, log_probabilities)


def target_distribution(
    labels: Labels, logits: Logits, label_smoothing: float, where: Bool[Array, ...] | None = None
) -> Logits:
    """The distribution that labels stand for, smoothed, zero for classes outside `where`.

    A label outside 0..classes-1 has none: its row is NaN, so that the loss is NaN too instead of quietly wrong.
    """
    classes = logits.shape[-1]
    target = labels
    if jnp.issubdtype(labels.dtype, jnp.integer):
        label = labels[..., None]  # [..., 1]
        one_hot = (label == jnp.arange(classes, dtype=labels.dtype).reshape((1,) * labels.ndim + (classes,))).astype(
            logits.dtype
        )
        target = jnp.where((label >= 0) & (label < classes), one_hot, jnp.nan)
    target = target.astype(logits.dtype)
    allowed = classes if where is None else jnp.sum(where, -1, keepdims=True).astype(logits.dtype)
    if label_smoothing:
        target = (1 - label_smoothing) * target + label_smoothing / allowed
    return target if where is None else jnp.where(where, target, 0)


@constructor
def softmax_cross_entropy(
    reduction: str = "mean", *, label_smoothing: float = 0.0, ignore_index: int | None = None
) -> Layer:
    """Cross entropy between softmax(logits) and labels: the input is (logits, labels) or (logits, (labels, where)).

    - logits [..., classes]; labels are floats [..., classes], a distribution each, or integers [...].
    - `where` is boolean: [...] leaves out whole examples, [..., classes] leaves out classes of each example.
    - `label_smoothing` in [0, 1) mixes the labels with the uniform distribution over the (allowed) classes.
    - Examples with the integer label `ignore_index` are left out. What is left out gets a loss and a gradient of 0,
      and "mean" divides by the number of the others; if there are none, the loss is 0.
    - An integer label outside 0..classes-1 raises when its value is known. Inside jit it is not: the loss is NaN
      and so is the gradient of that example's logits.
    """
    check_reduction("softmax_cross_entropy", reduction)
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"softmax_cross_entropy: expected label_smoothing in [0, 1), got {label_smoothing!r}")
    prepare = functools.partial(prepare_target, label_smoothing=label_smoothing, ignore_index=ignore_index)

    def divisor(examples: Bool[Array, ...] | None, values_shape: tuple[int, ...], dtype: Any) -> Any:
        if examples is None or reduction == "sum":
            return divisor_of(reduction, values_shape, per_example=True)
        return jnp.maximum(jnp.sum(examples, dtype=dtype), 1)

    def forward(x: tuple) -> tuple[Float[Array, ""], Float[Array, "... 1"]]:
        logits, targets = pair(x)
        check_predictions(logits)
        check_labels(logits, targets, ignore_index)
        target, examples, classes = prepare(targets, logits)
        values, log_normalizer = softmax_cross_entropy_forward(widen(logits), target, classes)
        if examples is not None:
            values = jnp.where(examples, values, 0)
        y = reduce_forward(values, divisor(examples, values.shape, values.dtype))
        return y.astype(logits.dtype), log_normalizer

    def backward(x: tuple, log_normalizer: Float[Array, "... 1"], dy: Float[Array, ""]) -> tuple:
        logits, targets = x
        target, examples, classes = prepare(targets, logits)
        shape, dtype = logits.shape[:-1], target.dtype
        dvalues = reduce_backward(dy.astype(dtype), divisor(examples, shape, dtype), shape)
        dlogits, dtarget = softmax_cross_entropy_backward(widen(logits), target, log_normalizer, dvalues, classes)
        # target = (1 - label_smoothing) * labels + label_smoothing / classes, 0 where a class is left out
        dlabels = (1 - label_smoothing) * dtarget
        if classes is not None:
            dlabels = jnp.where(classes, dlabels, 0)
        if examples is not None:
            dlogits, dlabels = (jnp.where(examples[..., None], d, 0) for d in (dlogits, dlabels))
        return dlogits.astype(logits.dtype), cotangent_of_targets(targets, dlabels)

    return stateless(forward, backward, name="softmax_cross_entropy", keeps=("log_normalizer",))


def prepare_target(targets: Any, logits: Logits, label_smoothing: float, ignore_index: int | None) -> tuple:
    """(target distribution, examples that count or None, classes that count or None)."""
    labels, where = split_where(targets)
    classes, examples = None, where
    if where is not None and where.ndim == logits.ndim:
        classes, examples = where, jnp.any(where, -1)
    if jnp.issubdtype(labels.dtype, jnp.integer):
        labels = widen_integers(labels)
    if ignore_index is not None:
        counts = labels != ignore_index
        examples = counts if examples is None else examples & counts
        labels = jnp.where(counts, labels, 0)  # any class: the example is left out
    return target_distribution(labels, widen(logits), label_smoothing, classes), examples, classes


def cotangent_of_targets(targets: Any, dlabels: Logits) -> Any:
    """Integers and masks have no gradient."""
    labels, where = split_where(targets)
    own = dlabels.astype(labels.dtype) if jnp.issubdtype(labels.dtype, jnp.floating) else None
    return own if where is None else (own, None)


def split_where(targets: Any) -> tuple[Any, Any]:
    """(labels, where), where None for labels alone."""
    if isinstance(targets, tuple) and len(targets) != 2:
        raise LayerTypeError(f"expected labels or a pair (labels, where), got {describe(targets)}")
    return targets if isinstance(targets, tuple) else (targets, None)


def check_labels(logits: Logits, targets: Any, ignore_index: int | None) -> None:
    """Raise unless labels and mask fit the logits; values are looked at where they are known."""
    labels, where = split_where(targets)
    examples, all_axes = list(logits.shape[:-1]), list(logits.shape)
    if not hasattr(labels, "dtype"):
        raise LayerTypeError(f"expected labels as an array, got {describe(labels)}")
    integers = jnp.issubdtype(labels.dtype, jnp.integer)
    if not integers and not jnp.issubdtype(labels.dtype, jnp.floating):
        raise LayerTypeError(f"expected labels of an integer or floating dtype, got {describe(labels)}")
    if not integers and ignore_index is not None:
        raise LayerTypeError(f"expected integer labels with ignore_index={ignore_index}, got {describe(labels)}")
    if list(labels.shape) != (examples if integers else all_axes):
        raise LayerValueError(
            f"expected labels as integers {examples} or distributions {all_axes} for logits {describe(logits)}, "
            f"got {describe(labels)}"
        )
    if where is not None and (where.dtype != bool or list(where.shape) not in (examples, all_axes)):
        raise LayerValueError(f"expected where as bool {examples} or {all_axes}, got {describe(where)}")
    if integers:
        check_range(labels, logits.shape[-1], "labels", ignore_index)
