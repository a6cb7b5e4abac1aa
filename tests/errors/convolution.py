"""Bad input to convolutions and transposed convolutions."""

from __future__ import annotations

from typing import Any, cast

import jax
import jax.numpy as jnp

import purenet as pn

from .calls import Table, forward, fresh, init, params_of

IMAGES, STEPS = jnp.ones((2, 5, 6, 4)), jnp.ones((2, 5, 4))
CONV = pn.conv(8, (3, 3))

TABLE: Table = {
    # Constructors.
    "conv features": (lambda: pn.conv(0, 3), ValueError, "conv: expected features of at least 1, got 0"),
    "conv groups": (lambda: pn.conv(4, 3, groups=0), ValueError, "conv: expected groups of at least 1"),
    "conv groups of features": (
        lambda: pn.conv(4, 3, groups=3),
        ValueError,
        "conv: expected groups that divide the 4 features, got 3",
    ),
    "conv kernel of four axes": (
        lambda: pn.conv(4, (3, 3, 3, 3)),
        ValueError,
        r"conv: expected kernel_size for 1, 2 or 3 spatial axes, got \(3, 3, 3, 3\)",
    ),
    "conv kernel of no length": (lambda: pn.conv(4, (3, 0)), ValueError, "conv: expected kernel_size of at least 1"),
    "conv kernel float": (lambda: pn.conv(4, cast(Any, 3.0)), ValueError, "conv: expected kernel_size of at least 1"),
    "conv strides": (
        lambda: pn.conv(4, (3, 3), strides=(2, 2, 2)),
        ValueError,
        r"conv: expected strides of at least 1, one integer or 2 for the spatial axes, got \(2, 2, 2\)",
    ),
    "conv strides 0": (lambda: pn.conv(4, 3, strides=0), ValueError, "conv: expected strides of at least 1"),
    "conv dilation": (lambda: pn.conv(4, 3, dilation=-1), ValueError, "conv: expected dilation of at least 1"),
    "conv padding name": (
        lambda: pn.conv(4, 3, padding="same"),
        ValueError,
        'conv: expected padding "SAME", "SAME_LOWER", "VALID", "CAUSAL" or numbers, got \'same\'',
    ),
    "conv padding pairs": (
        lambda: pn.conv(4, (3, 3), padding=((1, 1),)),
        ValueError,
        r"conv: expected padding as one integer or 2 for the spatial axes, each an integer or a pair \(before, after\)",
    ),
    "conv padding triple": (
        lambda: pn.conv(4, 3, padding=cast(Any, ((1, 1, 1),))),
        ValueError,
        "conv: expected padding as one integer or 1",
    ),
    "conv padding None": (lambda: pn.conv(4, 3, padding=cast(Any, None)), ValueError, "conv: expected padding as one"),
    "conv causal images": (
        lambda: pn.conv(4, (3, 3), padding="CAUSAL"),
        ValueError,
        'conv: expected one spatial axis, time, for padding "CAUSAL", got 2',
    ),
    "depthwise_conv multiplier": (
        lambda: pn.depthwise_conv(3, multiplier=0),
        ValueError,
        "depthwise_conv: expected multiplier of at least 1, got 0",
    ),
    "conv_transpose output_padding": (
        lambda: pn.conv_transpose(4, 3, output_padding=-1),
        ValueError,
        "conv_transpose: expected output_padding of at least 0",
    ),
    "conv_transpose output_shape": (
        lambda: pn.conv_transpose(4, 3, padding=1, output_shape=6),
        ValueError,
        'conv_transpose: expected padding "SAME" or "SAME_LOWER" with output_shape, got 1',
    ),
    "conv_transpose causal": (
        lambda: pn.conv_transpose(4, 3, padding="CAUSAL"),
        ValueError,
        'conv_transpose: expected padding "SAME", "SAME_LOWER", "VALID" or numbers, got "CAUSAL"',
    ),
    # Inputs and parameters.
    "conv rank": (
        init(CONV, jnp.ones((5, 4))),
        ValueError,
        r"conv: expected x \[..., height, width, channels\], got float32 \[5, 4\]",
    ),
    "conv rank in time": (init(pn.conv(4, 3), jnp.ones(4)), ValueError, r"conv: expected x \[..., time, channels\]"),
    "conv integers": (
        init(CONV, jax.ShapeDtypeStruct(IMAGES.shape, jnp.int32)),
        TypeError,
        "conv: expected x of a floating dtype",
    ),
    "conv channels": (
        fresh(CONV, IMAGES, IMAGES[..., :3]),
        ValueError,
        r"conv: expected kernel \[3, 3, 3, 8\] for x float32 \[2, 5, 6, 3\], got float32 \[3, 3, 4, 8\]",
    ),
    "conv channels in groups": (
        init(pn.conv(6, 3, groups=3), STEPS),
        ValueError,
        r"conv: expected x \[..., channels\] with channels in 3 equal groups, got float32 \[2, 5, 4\]",
    ),
    "conv too large a kernel": (
        init(pn.conv(4, 3, dilation=3, padding="VALID"), STEPS),
        ValueError,
        r"conv: expected x, padded, to be at least as large as the kernel \[7\].*got \[5\] from float32 \[2, 5, 4\]",
    ),
    "conv too large a kernel, forward": (
        fresh(pn.conv(4, 3, padding=-1), STEPS, STEPS[:, :4]),
        ValueError,
        r"conv: expected x, padded, to be at least as large as the kernel \[3\].*got \[2\]",
    ),
    "conv other parameters": (
        forward(CONV, params_of(pn.conv(8, (3, 3), use_bias=False), IMAGES), IMAGES),
        ValueError,
        r"conv: expected parameters \['bias', 'kernel'\], got dict with \['kernel'\]",
    ),
    "conv another width's bias": (
        forward(CONV, {"kernel": jnp.ones((3, 3, 4, 8)), "bias": jnp.ones(7)}, IMAGES),
        ValueError,
        r"conv: expected bias \[8\] for x",
    ),
    "conv dtype": (
        fresh(CONV, IMAGES, IMAGES.astype(jnp.float16)),
        TypeError,
        "conv: expected kernel of x's dtype float16, got float32",
    ),
    "depthwise_conv channels": (
        fresh(pn.depthwise_conv(3), STEPS, STEPS[..., :3]),
        ValueError,
        r"depthwise_conv: expected kernel \[3, 1, 3\] for x",
    ),
    "conv_transpose channels": (
        fresh(pn.conv_transpose(8, 3, transpose_kernel=True), STEPS, STEPS[..., :3]),
        ValueError,
        r"conv_transpose: expected kernel \[3, 8, 3\] for x float32 \[2, 5, 3\], got float32 \[3, 8, 4\]",
    ),
    "conv_transpose groups": (
        init(pn.conv_transpose(6, 3, groups=3), STEPS),
        ValueError,
        "conv_transpose: expected x .* with channels in 3 equal groups",
    ),
    "conv_transpose cuts everything": (
        init(pn.conv_transpose(4, 3, padding=4), STEPS),
        ValueError,
        r"conv_transpose: expected an output with elements, got lengths \[-1\] from float32 \[2, 5, 4\]: cut less",
    ),
}
