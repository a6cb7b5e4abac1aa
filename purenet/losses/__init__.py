"""Losses, as twins with a reduction; a loss is a layer whose input is the pair (predictions, targets)."""

from .cross_entropy import softmax_cross_entropy as softmax_cross_entropy
from .elementwise import (
    absolute_error as absolute_error,
    binary_cross_entropy as binary_cross_entropy,
    half_squared_error as half_squared_error,
    hinge as hinge,
    huber as huber,
    log_cosh as log_cosh,
    poisson_nll as poisson_nll,
    sigmoid_binary_cross_entropy as sigmoid_binary_cross_entropy,
    squared_error as squared_error,
)
from .linear_cross_entropy import linear_cross_entropy as linear_cross_entropy
from .vectors import (
    cosine_distance as cosine_distance,
    cosine_similarity as cosine_similarity,
    kl_divergence as kl_divergence,
)
