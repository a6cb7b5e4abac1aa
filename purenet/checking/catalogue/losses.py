"""Entries of the losses."""

from __future__ import annotations

from ... import losses
from .inputs import (
    BATCH,
    FEATURE_ROWS,
    FEATURES,
    SEQUENCES,
    Row,
    counts,
    distributions,
    hard_and_soft,
    labels,
    log_distributions,
    masked_classes,
    masked_examples,
    normal,
    one_hot,
    pair,
    sequence_labels,
    signs,
    some_ignored,
    spread,
    unit_interval,
)


def elementwise_losses() -> list[Row]:
    wide = normal(BATCH, FEATURES)
    return [
        ("squared_error", losses.squared_error(), pair(wide, wide)),
        ("squared_error, sum", losses.squared_error("sum"), pair(wide, wide)),
        ("squared_error, batch_mean", losses.squared_error("batch_mean"), pair(wide, wide)),
        ("half_squared_error", losses.half_squared_error(), pair(wide, wide)),
        ("half_squared_error, batch_mean", losses.half_squared_error("batch_mean"), pair(wide, wide)),
        ("absolute_error", losses.absolute_error(), pair(wide, wide)),
        ("huber", losses.huber(), pair(spread, wide)),
        ("huber, delta 3", losses.huber(delta=3.0), pair(spread, wide)),
        ("log_cosh", losses.log_cosh(), pair(spread, wide)),
        ("sigmoid_binary_cross_entropy", losses.sigmoid_binary_cross_entropy(), pair(spread, hard_and_soft)),
        ("binary_cross_entropy", losses.binary_cross_entropy(), pair(unit_interval, hard_and_soft)),
        ("binary_cross_entropy, clip 0.1", losses.binary_cross_entropy(clip=0.1), pair(unit_interval, hard_and_soft)),
        ("hinge", losses.hinge(), pair(spread, signs)),
        ("poisson_nll", losses.poisson_nll(), pair(wide, counts)),
    ]


def vector_losses() -> list[Row]:
    vectors = pair(FEATURE_ROWS, FEATURE_ROWS)
    return [
        ("kl_divergence", losses.kl_divergence(), pair(log_distributions, distributions)),
        ("kl_divergence, one-hot", losses.kl_divergence(), pair(log_distributions, one_hot)),
        ("kl_divergence, sum", losses.kl_divergence("sum"), pair(log_distributions, distributions)),
        ("cosine_similarity", losses.cosine_similarity(), vectors),
        ("cosine_similarity, some lengths held", losses.cosine_similarity(epsilon=7.0), vectors),
        ("cosine_distance", losses.cosine_distance(), vectors),
        ("cosine_distance, batch_mean", losses.cosine_distance("batch_mean"), vectors),
    ]


def cross_entropies() -> list[Row]:
    loss = losses.softmax_cross_entropy
    smoothed = loss(label_smoothing=0.2)
    rows = [
        ("integer labels", loss(), pair(spread, labels)),
        ("integer labels, sum", loss("sum"), pair(spread, labels)),
        ("integer labels, batch_mean", loss("batch_mean"), pair(spread, labels)),
        ("integer labels, sequences", loss(), pair(SEQUENCES, sequence_labels)),
        ("integer labels, smoothing", smoothed, pair(spread, labels)),
        ("one-hot", loss(), pair(spread, one_hot)),
        ("distributions", loss(), pair(spread, distributions)),
        ("distributions, smoothing", smoothed, pair(spread, distributions)),
        ("where, examples", loss(), pair(spread, masked_examples)),
        ("where, classes", loss("sum"), pair(spread, masked_classes)),
        ("where, classes, smoothing", smoothed, pair(spread, masked_classes)),
        ("ignore_index", loss(ignore_index=-1), pair(spread, some_ignored)),
        ("ignore_index, smoothing", loss("sum", ignore_index=-1, label_smoothing=0.1), pair(spread, some_ignored)),
    ]
    return [(f"softmax_cross_entropy, {variant}", layer, draw) for variant, layer, draw in rows]


def fused_cross_entropies() -> list[Row]:
    loss = losses.linear_cross_entropy
    bounded = loss(11, by="vocabulary", chunk=4, use_bias=True, softcap=2.0, ignore_index=-1, transposed=True)
    return [
        ("linear_cross_entropy, by tokens", loss(11, chunk=2, z_loss=0.1), pair(FEATURE_ROWS, masked_examples)),
        ("linear_cross_entropy, by vocabulary", bounded, pair(FEATURE_ROWS, some_ignored)),
    ]


def rows() -> list[Row]:
    return [*elementwise_losses(), *vector_losses(), *cross_entropies(), *fused_cross_entropies()]
