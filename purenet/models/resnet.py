"""resnet: residual network for small images, 6n + 2 layers deep.

    images [..., height, width, channels]
    conv 3x3 to widths[0];  three stages of n blocks, each halving height and width but the first;  mean;  dense
    block      y = relu(x + norm(conv(relu(norm(conv(x))))))                   3x3, no biases
    pre-activation, y = x + conv(relu(norm(conv(relu(norm(x))))))              and norm, relu before the mean
    Where a stage halves, x becomes every other pixel, with zeros for the new channels (option A), or
    norm(conv 1x1 of stride 2) (option B).

Blocks of one shape are one compiled block scanned over stacked parameters.
He et al., *Deep Residual Learning* (2016), section 4.2; pre-activation: *Identity Mappings* (2016).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax

from ..annotations import Array, Float, PositiveInt
from ..arguments import checks_arguments
from ..combine import parallel, repeat, residual, serial
from ..constructor import constructor
from ..errors import LayerValueError
from ..initializer import he_normal
from ..layer import Layer
from ..layers import batch_norm, conv, dense, global_avg_pool, relu
from ..stateless import stateless
from ..static import Static
from ..validation import check_floating, describe

Images = Float[Array, "... _ _ _"]  # [..., height, width, channels]
Smaller = Float[Array, "... rows columns wider"]


def widening_shortcut_forward(x: Images, channels: int, strides: int) -> tuple[Smaller, Static]:
    """Every `strides`-th pixel, with zeros for the channels that x has not."""
    y = x[..., ::strides, ::strides, :]
    return jnp.pad(y, [(0, 0)] * (x.ndim - 1) + [(0, channels - x.shape[-1])]), Static(x.shape)


def widening_shortcut_backward(x_shape: Static, dy: Smaller, strides: int) -> Images:
    *lead, height, width, channels = x_shape.value
    # y = pad(x[..., ::strides, ::strides, :])
    sizes = zip((height, width), dy.shape[-3:-1], strict=True)
    gaps = [(0, size - strides * (n - 1) - 1, strides - 1) for size, n in sizes]
    return lax.pad(dy[..., :channels], jnp.zeros((), dy.dtype), [(0, 0, 0)] * len(lead) + gaps + [(0, 0, 0)])


@constructor
def widening_shortcut(channels: int, *, strides: int = 2) -> Layer:
    """y = every other pixel, zeros for the new channels; option A, without parameters."""

    def forward(x: Images) -> tuple[Smaller, Static]:
        check_floating(x)
        if x.ndim < 3 or x.shape[-1] > channels:
            raise LayerValueError(f"expected x [..., height, width, at most {channels}], got {describe(x)}")
        return widening_shortcut_forward(x, channels, strides)

    return stateless(
        forward,
        functools.partial(widening_shortcut_backward, strides=strides),
        name="widening_shortcut",
        needs=(),
        keeps=("shape",),
        recompute=lambda x, x_shape: widening_shortcut_forward(x, channels, strides)[0],
    )


def conv3x3(channels: int, strides: int = 1) -> Layer:
    return conv(channels, (3, 3), strides=strides, padding=1, use_bias=False, kernel_init=he_normal())


def branch_of(channels: int, strides: int, preactivation: bool) -> Layer:
    """What a block adds to its input."""
    first, second = conv3x3(channels, strides), conv3x3(channels)
    if preactivation:
        return serial(norm1=batch_norm(), act1=relu(), conv1=first, norm2=batch_norm(), act2=relu(), conv2=second)
    return serial(conv1=first, norm1=batch_norm(), act=relu(), conv2=second, norm2=batch_norm())


def block(channels: int, preactivation: bool) -> Layer:
    """A block whose output has the shape of its input."""
    added = residual(branch_of(channels, 1, preactivation))
    return added if preactivation else serial(sum=added, act=relu())


def halving_block(channels: int, shortcut: str, preactivation: bool) -> Layer:
    """A block with half the height and width and more channels."""
    projection = serial(conv=conv(channels, (1, 1), strides=2, use_bias=False), norm=batch_norm())
    way = widening_shortcut(channels) if shortcut == "A" else projection
    added = parallel(branch=branch_of(channels, 2, preactivation), shortcut=way)
    return added if preactivation else serial(sum=added, act=relu())


@checks_arguments
def resnet(
    depth: PositiveInt,
    classes: PositiveInt,
    *,
    widths: Sequence[PositiveInt] = (16, 32, 64),
    shortcut: str = "A",
    preactivation: bool = False,
) -> Layer:
    """Images [..., height, width, channels] to logits [..., classes]; depth 6n + 2: 8, 14, 20, 32, 44, 56, 110.

    `widths` are the channels of the stages. shortcut: "A" (every other pixel, zeros for new channels; no parameters)
    or "B" (1x1 convolution). Parameters: stem, stage1, stage2, ..., head; a stage has `first`, its first block, and
    `rest`, its other n - 1 blocks stacked. State: the running statistics of every batch norm, under the same names.
    It mixes examples in training, as batch norm does. Raises if depth is no 6n + 2 with three stages.
    """
    stages = len(widths)
    n, rest = divmod(depth - 2, 2 * stages)
    if rest or n < 1:
        raise ValueError(f"resnet: expected a depth {2 * stages}n + 2 with n of at least 1, got {depth}")
    if shortcut not in ("A", "B"):
        raise ValueError(f'resnet: expected shortcut "A" (padded) or "B" (projected), got {shortcut!r}')

    layers: dict[str, Layer] = {}
    for k, channels in enumerate(widths, 1):
        same = block(channels, preactivation)
        first = same if k == 1 else halving_block(channels, shortcut, preactivation)
        layers[f"stage{k}"] = serial(first=first, **({"rest": repeat(same, n - 1)} if n > 1 else {}))
    stem = {"conv": conv3x3(widths[0])}
    last = {"norm": batch_norm(), "act": relu()}
    if preactivation:
        layers["last"] = serial(**last)
    else:
        stem |= last
    return serial(stem=serial(**stem), **layers, pool=global_avg_pool(), head=dense(classes)).replace(name="resnet")
