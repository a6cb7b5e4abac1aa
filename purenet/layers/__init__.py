"""Layers, one kind a file: each is a pair of twins, `x_forward` beside `x_backward`, and a constructor."""

from .activations import (
    celu as celu,
)
from .activations import (
    elu as elu,
)
from .activations import (
    erf_sigmoid as erf_sigmoid,
)
from .activations import (
    gelu as gelu,
)
from .activations import (
    hard_sigmoid as hard_sigmoid,
)
from .activations import (
    hard_swish as hard_swish,
)
from .activations import (
    hard_tanh as hard_tanh,
)
from .activations import (
    identity as identity,
)
from .activations import (
    leaky_relu as leaky_relu,
)
from .activations import (
    log_sigmoid as log_sigmoid,
)
from .activations import (
    log_softmax as log_softmax,
)
from .activations import (
    mish as mish,
)
from .activations import (
    relu as relu,
)
from .activations import (
    relu6 as relu6,
)
from .activations import (
    selu as selu,
)
from .activations import (
    sigmoid as sigmoid,
)
from .activations import (
    silu as silu,
)
from .activations import (
    softmax as softmax,
)
from .activations import (
    softplus as softplus,
)
from .activations import (
    softsign as softsign,
)
from .activations import (
    swish as swish,
)
from .activations import (
    tanh as tanh,
)
from .dense import dense as dense
from .dropout import dropout as dropout
from .norm import layer_norm as layer_norm
from .reshape import flatten as flatten
from .reshape import reshape as reshape
