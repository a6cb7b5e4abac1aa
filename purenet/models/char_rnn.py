"""char_rnn: a language model of characters: what comes next, from what has come so far.

    x [batch, time] integers -> embedding [..., features] -> recurrent layers [..., features] -> y [..., vocabulary]

The recurrent layers are stateful: chunk after chunk of a long text runs through one state, without gradient from one
chunk into the one before (truncated back-propagation through time).
Graves, *Generating Sequences With Recurrent Neural Networks* (2013); Mikolov et al. (2010).
"""

from __future__ import annotations

from collections.abc import Callable

from ..annotations import PositiveInt
from ..arguments import checks_arguments
from ..combine import serial
from ..layer import Layer
from ..layers import dense, dropout, embedding, lstm


@checks_arguments
def char_rnn(
    vocabulary: PositiveInt,
    *,
    features: PositiveInt = 128,
    layers: PositiveInt = 2,
    cell: Callable[..., Layer] = lstm,
    stateful: bool = True,
    dropout_rate: float = 0.0,
) -> Layer:
    """Integers [batch, time] in 0..vocabulary-1 to logits [batch, time, vocabulary] of the next one at each step.

    cell: `pn.lstm`, `pn.gru` or `pn.rnn`, `layers` of them with `features` each. With `stateful` the batch is that of
    `init`, and row i of a batch goes on where row i of the one before ended; start again with zeros in the state.
    Without it every row starts at zero, with any leading axes. Parameters: embed, rnn1, rnn2, ..., head.
    """
    parts: dict[str, Layer] = {"embed": embedding(vocabulary, features)}
    for k in range(1, layers + 1):
        parts[f"rnn{k}"] = cell(features, stateful=stateful)
        if dropout_rate:
            parts[f"drop{k}"] = dropout(dropout_rate)
    return serial(**parts, head=dense(vocabulary)).replace(name="char_rnn")
