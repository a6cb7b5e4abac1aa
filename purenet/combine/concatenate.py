"""concatenate: the same x into every layer, the outputs side by side: `parallel` by concatenation."""

from __future__ import annotations

from ..constructor import constructor
from ..layer import Layer
from .parallel import parallel


@constructor
def concatenate(*layers: Layer, axis: int = -1, **named: Layer) -> Layer:
    """`parallel(..., combine="concatenate")`: y = [f_1(x), ..., f_n(x)] along `axis`, dx the sum of what they give."""
    return parallel(*layers, combine="concatenate", axis=axis, **named)
