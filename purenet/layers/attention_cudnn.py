"""Attention by cuDNN's fused kernel: jax.nn.dot_product_attention(implementation="cudnn") on a GPU.

Its backward is cuDNN's own, reached as JAX reaches it, through jax.vjp: the library's kernel, chosen by the caller, and
no hand-written rule. It keeps what the rule of attention.py keeps, q, k, v, o and the log-sum-exp, and recomputes the
weights; with `qk_norm`, also what autodiff keeps of that. What the kernel cannot do, or does otherwise than
attention.py, is refused before anything is compiled.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..errors import LayerTypeError, LayerValueError
from ..validation import describe
from .attention import Bias, Keys, Mask, Outputs, Queries, Values
from .attention_masks import Offset, Window, first_position, reach


def cudnn_attention(
    q: Queries,
    k: Keys,
    v: Values,
    mask: Mask = None,
    bias: Bias = None,
    *,
    scale: float | None = None,
    causal: bool = False,
    window: Window = None,
    offset: Offset = 0,
    **others: Any,
) -> tuple[Outputs, None]:
    """(o, None): the log-sum-exp stays with the kernel."""
    before, _ = reach(causal, window)
    check_supported(q, k, v, mask, bias, first_position(q.shape[-3], k.shape[-3], offset) if causal else 0)
    q4, k4, v4 = (lax.collapse(part, 0, part.ndim - 3) for part in (q, k, v))
    o = jax.nn.dot_product_attention(
        q4,
        k4,
        v4,
        scale=scale,
        is_causal=causal,
        local_window_size=None if before is None else (before, 0),
        implementation="cudnn",
    )
    return o.reshape(*q.shape[:-1], v.shape[-1]), None


def check_options(name: str, block: Any, options: Any) -> None:
    """Raise for what the kernel does not do, whatever the input."""
    window_alone = options["window"] is not None and not options["causal"]
    refused = {
        "block": block is not None,
        "alibi": options["alibi"],
        "softcap": options["softcap"] is not None,
        "window without causal": window_alone,
    }
    if any(refused.values()):
        names = ", ".join(option for option, given in refused.items() if given)
        raise ValueError(f'{name}: kernel="cudnn" does without {names}: use kernel="purenet"')


def check_supported(q: Any, k: Any, v: Any, mask: Any, bias: Any, position: int) -> None:
    if mask is not None or bias is not None:
        raise LayerTypeError('kernel="cudnn" takes no mask, got one: use kernel="purenet"')
    if q.dtype not in (jnp.bfloat16, jnp.float16) or not q.dtype == k.dtype == v.dtype:
        raise LayerTypeError(f'kernel="cudnn" takes bfloat16 or float16, got {describe((q, k, v))}')
    if q.shape[-1] != v.shape[-1] or q.shape[-1] % 8 or q.shape[-1] > 256:
        raise LayerValueError(
            'kernel="cudnn" takes heads of one size, a multiple of 8 up to 256, for queries, keys and values, got '
            f"{describe((q, k, v))}"
        )
    if position != 0:
        raise LayerValueError(f'kernel="cudnn" puts the first query at the first key, got an offset of {position}')
    if jax.default_backend() != "gpu":
        raise LayerValueError(f'kernel="cudnn" takes an NVIDIA GPU, got the backend {jax.default_backend()}')
