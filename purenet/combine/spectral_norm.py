"""spectral_norm: a layer whose kernel is divided by its largest singular value, so that it stretches nothing.

    W = V / sigma,  sigma = v^T V u,  V as a matrix [in, out],  u [out],  v [in]
    power iteration, in training:  u = V^T v / |V^T v|,  v = V u / |V u|
    dV = (dW - v u^T sum(dW W)) / sigma

u and v are the state; they are constants in the gradient, for at the exact singular vectors sigma changes by
v^T dV u alone. Kept: sigma, u and v. At least float32 inside. A kernel of zeros stays as it is.
Miyato et al., *Spectral Normalization for Generative Adversarial Networks* (2018), algorithm 1.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from ..annotations import Array, Float, PositiveInt
from ..constructor import constructor
from ..layer import Layer
from ..precision import widen
from .reparametrised import Reparametrisation, reparametrised

Kernel = Float[Array, "... out_features"]
Matrix = Float[Array, "rows out_features"]
Vectors = dict[str, Array]
Saved = tuple[Float[Array, ""], Vectors]

INITIAL_ITERATIONS = 15


def spectral_norm_forward(kernel: Kernel, vectors: Vectors, iterations: int = 1) -> tuple[Kernel, Saved]:
    """`iterations` 0 takes the vectors as they are."""
    matrix = as_matrix(kernel)  # [in, out]
    # As Miyato et al. define the gradient: jax.grad takes u and v for constants too.
    vectors = power_iteration(lax.stop_gradient(matrix), vectors, iterations)
    sigma = product(product(vectors["v"], matrix), vectors["u"])
    saved = jnp.where(sigma == 0, 1, sigma), vectors
    return spectral_norm_recompute(kernel, saved), saved


def spectral_norm_recompute(kernel: Kernel, saved: Saved) -> Kernel:
    sigma, _ = saved
    return (kernel.astype(sigma.dtype) / sigma).astype(kernel.dtype)


def spectral_norm_backward(kernel: Kernel, saved: Saved, dnormed: Kernel) -> Kernel:
    sigma, vectors = saved
    dnormed = as_matrix(dnormed)  # [in, out]
    # normed = kernel / sigma, where sigma = v^T kernel u depends on the kernel too
    along = jnp.sum(dnormed * as_matrix(kernel)) / sigma  # the sum of dnormed * normed
    dkernel = (dnormed - along * vectors["v"][:, None] * vectors["u"][None]) / sigma  # [in, out]
    return dkernel.reshape(kernel.shape).astype(kernel.dtype)


def power_iteration(matrix: Matrix, vectors: Vectors, iterations: int) -> Vectors:
    u, v = (vectors[name].astype(matrix.dtype) for name in ("u", "v"))
    for _ in range(iterations):
        u = unit(product(v, matrix))  # [out]
        v = unit(product(matrix, u))  # [in]
    return {"u": u, "v": v}


def as_matrix(kernel: Kernel) -> Matrix:
    return widen(kernel).reshape(-1, kernel.shape[-1])


def product(a: Array, b: Array) -> Array:
    """Without the shorter mantissas that accelerators take for matrix products: sigma scales everything."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def unit(vector: Array) -> Array:
    return vector / jnp.maximum(jnp.sqrt(jnp.sum(jnp.square(vector))), 1e-12)


@constructor
def spectral_norm(layer: Layer, *, iterations: PositiveInt = 1) -> Layer:
    """`layer`, any with a kernel [..., in, out] such as dense, its kernel divided by the largest singular value.

    Parameters: the layer's own. State: u [out] and v [in], singular vectors as found so far; each `forward` improves
    them by `iterations` steps, `predict` takes them as they are. `init` begins with 15 steps. Kernels of convolutions
    count as matrices [height * width * in, out]. Raises at a layer without a kernel.
    """

    def init(key: Array, kernel: Kernel) -> tuple[dict[str, Array], Vectors]:
        matrix = as_matrix(kernel)
        u_key, v_key = jax.random.split(key)
        vectors = {
            "u": unit(jax.random.normal(u_key, matrix.shape[1:], matrix.dtype)),
            "v": unit(jax.random.normal(v_key, matrix.shape[:1], matrix.dtype)),
        }
        return {"kernel": kernel}, power_iteration(matrix, vectors, INITIAL_ITERATIONS)

    def forward(own: dict[str, Array], vectors: Vectors) -> tuple[Kernel, Vectors, Saved]:
        kernel, saved = spectral_norm_forward(own["kernel"], vectors, iterations)
        after = {name: value.astype(vectors[name].dtype) for name, value in saved[1].items()}
        return kernel, after, saved

    how = Reparametrisation(
        name="spectral_norm",
        init=init,
        forward=forward,
        recompute=lambda own, saved: spectral_norm_recompute(own["kernel"], saved),
        backward=lambda own, saved, dkernel: {"kernel": spectral_norm_backward(own["kernel"], saved, dkernel)},
        predict=lambda own, vectors: spectral_norm_forward(own["kernel"], vectors, 0)[0],
        keeps=("sigma", "u", "v"),
        has_state=True,
    )
    return reparametrised(layer, how, lambda parts: spectral_norm(*parts, iterations=iterations))
