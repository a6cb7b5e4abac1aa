"""Layers, one kind a file: each is a pair of twins, `x_forward` beside `x_backward`, and a constructor."""

from .activations import (
    celu as celu,
    elu as elu,
    erf_sigmoid as erf_sigmoid,
    gelu as gelu,
    hard_sigmoid as hard_sigmoid,
    hard_swish as hard_swish,
    hard_tanh as hard_tanh,
    identity as identity,
    leaky_relu as leaky_relu,
    log_sigmoid as log_sigmoid,
    log_softmax as log_softmax,
    mish as mish,
    relu as relu,
    relu6 as relu6,
    selu as selu,
    sigmoid as sigmoid,
    silu as silu,
    softmax as softmax,
    softplus as softplus,
    softsign as softsign,
    swish as swish,
    tanh as tanh,
)
from .dense import dense as dense
from .dropout import dropout as dropout
from .layer_norm import layer_norm as layer_norm
from .reshape import flatten as flatten, reshape as reshape
