"""Recurrent layers: cells with their backward by hand, scanned through time."""

from .bidirectional import bidirectional as bidirectional
from .gru import gru as gru
from .lstm import lstm as lstm
from .rnn import rnn as rnn
from .stacked_rnn import stacked_rnn as stacked_rnn, without_lengths as without_lengths
