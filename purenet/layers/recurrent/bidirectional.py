"""bidirectional: one layer from the first step to the last, one in reverse, their outputs concatenated.

    y = [forward(x), backward(x)],  dx = the sum of the two gradients

Kept: what the two layers keep.
Schuster & Paliwal, *Bidirectional recurrent neural networks* (1997).
"""

from __future__ import annotations

from ...combine import parallel
from ...constructor import constructor
from ...layer import Layer
from .sequence import FORWARD, REVERSED


@constructor
def bidirectional(forward_layer: Layer, backward_layer: Layer) -> Layer:
    """Two recurrent layers on the same x, from [..., time, in] to [..., time, features of both].

    `bidirectional(lstm(64), lstm(64, reverse=True))`; parameters {"forward": ..., "backward": ...}. x may be a pair
    (inputs, lengths): each example's backward layer starts at its own end.
    """
    if forward_layer.kind is REVERSED or backward_layer.kind is FORWARD:
        raise ValueError(
            "bidirectional: expected a layer and then one with reverse=True, "
            f"got {forward_layer.name} and {backward_layer.name}"
        )
    both = parallel(forward=forward_layer, backward=backward_layer, combine="concatenate")
    return both.replace(name="bidirectional")
