"""Combinators: networks made of layers, each a layer again.

    serial          y = f_n(... f_2(f_1(x)))           what stands between the layers is kept, recomputed or dropped
    residual        y = x + f(x)
    parallel        y = combine(f_1(x), ..., f_n(x))   by sum, mean or concatenation
    concatenate     y = [f_1(x), ..., f_n(x)]          parallel by concatenation
    compose         y = function(f, x) over named layers f, for what is not a chain
    repeat          n equal blocks, one compiled block scanned over stacked parameters
    reversible      y1 = x1 + f(x2), y2 = x2 + g(y1); its input is found from its output
    remat           the same y; keeps its input alone and runs forward again in the backward
    frozen          the same y; the parameters' gradients are zero and cost nothing
    tied            one parameter in several places, its gradient the sum over them
    with_dtype      mixed precision: arithmetic and what is kept in another dtype than the parameters
    scale_gradient  the same x; its gradient is multiplied by a factor
    weight_norm, weight_standardize, spectral_norm
                    a layer with its kernel computed from another one
    per_example     the objective of one example over a batch, by jax.vmap
    head_objective  the objective of a network whose loss has parameters, such as the output head's

They know the contract of `purenet.layer`, not the layers.
"""

from .compose import compose as compose
from .concatenate import concatenate as concatenate
from .frozen import frozen as frozen
from .head_objective import head_objective as head_objective
from .parallel import parallel as parallel
from .per_example import per_example as per_example
from .remat import remat as remat
from .repeat import repeat as repeat
from .residual import residual as residual
from .reversible import reversible as reversible
from .scale_gradient import scale_gradient as scale_gradient
from .serial import serial as serial
from .spectral_norm import spectral_norm as spectral_norm
from .tied import tied as tied
from .weight_norm import weight_norm as weight_norm
from .weight_standardize import weight_standardize as weight_standardize
from .with_dtype import with_dtype as with_dtype

__all__ = [
    "compose",
    "concatenate",
    "frozen",
    "head_objective",
    "parallel",
    "per_example",
    "remat",
    "repeat",
    "residual",
    "reversible",
    "scale_gradient",
    "serial",
    "spectral_norm",
    "tied",
    "weight_norm",
    "weight_standardize",
    "with_dtype",
]
