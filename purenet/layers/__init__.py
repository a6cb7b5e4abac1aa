"""Layers, one kind a file: each is a pair of twins, `x_forward` beside `x_backward`, and a constructor.

How to add one, here `square`, y = x^2:

1. The file, purenet/layers/square.py. Its docstring begins with the equations, one a line and indented by four, says
   what is kept, and cites the source with the year in parentheses. Then the twins, plain functions on arrays at
   module level, and the constructor, which makes a layer of them by `purenet.stateless`:

       def square_forward(x):
           return x * x

       def square_backward(x, dy):
           return 2 * x * dy  # y = x x

       @constructor
       def square() -> Layer:
           \"\"\"y = x^2.\"\"\"
           return stateless(square_forward, square_backward, name="square", needs=("x",), recompute=square_forward)

   `needs` names what of x and y the backward reads, `keeps` what forward hands it besides, `init` makes parameters,
   `recompute` computes y again without a matrix product. Layers with state or randomness are a `purenet.Layer`.
2. Its export: a line below, and one in purenet/__init__.py.
3. Its row, in the file of its subject in purenet/catalogue, with an input that tells right from wrong and the value of
   the forward by something that is not purenet; a longer value stands in tests/values, a variant is one more row:
       Row("square", layers.square(), ROWS, lambda params, x: x**2)

`python -m purenet check` and `layers`, the tests and the benchmark then read the row: the gradient against jax.grad in
float64 and in bfloat16, the value, linearity in dy, jit, vmap, dtypes, second order, and bytes beside autodiff's.
"""

from .activated_batch_norm import activated_batch_norm as activated_batch_norm
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
    mish as mish,
    relu as relu,
    relu6 as relu6,
    selu as selu,
    sigmoid as sigmoid,
    silu as silu,
    softplus as softplus,
    softsign as softsign,
    swish as swish,
    tanh as tanh,
)
from .adaptive_pool import adaptive_avg_pool as adaptive_avg_pool, adaptive_max_pool as adaptive_max_pool
from .avg_pool import avg_pool as avg_pool
from .batch_norm import batch_norm as batch_norm
from .conv import conv as conv
from .conv_transpose import conv_transpose as conv_transpose
from .dense import dense as dense
from .depthwise_conv import depthwise_conv as depthwise_conv
from .dropout import (
    alpha_dropout as alpha_dropout,
    drop_path as drop_path,
    dropout as dropout,
    spatial_dropout as spatial_dropout,
)
from .embedding import embedding as embedding
from .global_pool import (
    global_avg_pool as global_avg_pool,
    global_lp_pool as global_lp_pool,
    global_max_pool as global_max_pool,
)
from .glu import gated_mlp as gated_mlp, geglu as geglu, glu as glu, reglu as reglu, swiglu as swiglu
from .group_norm import group_norm as group_norm, instance_norm as instance_norm
from .highway import highway as highway
from .l2_normalize import l2_normalize as l2_normalize
from .layer_norm import layer_norm as layer_norm
from .linear_recurrence import linear_recurrence as linear_recurrence
from .lp_pool import lp_pool as lp_pool
from .max_pool import max_pool as max_pool
from .maxout import maxout as maxout
from .mixture import mixture_of_experts as mixture_of_experts
from .multi_head_attention import (
    cross_attention as cross_attention,
    multi_head_attention as multi_head_attention,
    self_attention as self_attention,
)
from .noise import gaussian_dropout as gaussian_dropout, gaussian_noise as gaussian_noise
from .packed_attention import dot_product_attention as dot_product_attention, packed_attention as packed_attention
from .pad import crop as crop, pad as pad
from .pixel_shuffle import pixel_shuffle as pixel_shuffle, pixel_unshuffle as pixel_unshuffle
from .positional import learned_positions as learned_positions, sinusoidal_positions as sinusoidal_positions
from .prelu import prelu as prelu
from .recurrent import (
    bidirectional as bidirectional,
    gru as gru,
    lstm as lstm,
    rnn as rnn,
    stacked_rnn as stacked_rnn,
    without_lengths as without_lengths,
)
from .reshape import flatten as flatten, reshape as reshape, swap_axes as swap_axes
from .rms_norm import rms_norm as rms_norm
from .rotary import rotary as rotary
from .softmax import log_softmax as log_softmax, softmax as softmax
from .squeeze_excitation import squeeze_and_excitation as squeeze_and_excitation
from .upsample import upsample as upsample
