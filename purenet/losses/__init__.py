"""Losses, as twins with a reduction; a loss is a layer whose input is the pair (predictions, targets)."""

from .cross_entropy import softmax_cross_entropy as softmax_cross_entropy
from .elementwise import (
    absolute_error as absolute_error,
)
from .elementwise import (
    binary_cross_entropy as binary_cross_entropy,
)
from .elementwise import (
    half_squared_error as half_squared_error,
)
from .elementwise import (
    hinge as hinge,
)
from .elementwise import (
    huber as huber,
)
from .elementwise import (
    log_cosh as log_cosh,
)
from .elementwise import (
    poisson_nll as poisson_nll,
)
from .elementwise import (
    sigmoid_binary_cross_entropy as sigmoid_binary_cross_entropy,
)
from .elementwise import (
    squared_error as squared_error,
)
from .vectors import (
    cosine_distance as cosine_distance,
)
from .vectors import (
    cosine_similarity as cosine_similarity,
)
from .vectors import (
    kl_divergence as kl_divergence,
)
