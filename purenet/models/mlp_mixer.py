"""mlp_mixer: an MLP across the patches of an image, another across the channels of each, in turn.

    images [..., height, width, channels] -> patches X [..., tokens, features], tokens = height width / patch_size^2
    U = X + (f(norm(X)^T W1 + b1) W2 + b2)^T          W1 [tokens, token_hidden],   W2 [token_hidden, tokens]
    Y = U + f(norm(U) W3 + b3) W4 + b4                W3 [features, channel_hidden], W4 [channel_hidden, features]

Then norm, the mean of the tokens, and a dense layer. f is gelu, norm layer norm.
Tolstikhin et al., *MLP-Mixer: An all-MLP Architecture for Vision* (2021).
"""

from __future__ import annotations

from collections.abc import Sequence

from ..annotations import PositiveInt
from ..arguments import checks_arguments
from ..combine import repeat, residual, serial
from ..layer import Layer
from ..layers import conv, dense, gelu, global_avg_pool, layer_norm, reshape, swap_axes
from .mlp import mlp
from .sizes import check_patches, taking_images


def patches(features: int, patch_size: int, image_size: tuple[int, int]) -> Layer:
    """Images [..., height, width, channels] to [..., tokens, features], a linear map of each patch."""
    embed = conv(features, (patch_size, patch_size), strides=patch_size, padding="VALID")
    return serial(embed=taking_images(embed, image_size), flat=reshape(-1, features, start=-3))


@checks_arguments
def mlp_mixer(
    classes: PositiveInt,
    *,
    image_size: PositiveInt | Sequence[PositiveInt],
    patch_size: PositiveInt,
    features: PositiveInt,
    blocks: PositiveInt,
    token_hidden: PositiveInt,
    channel_hidden: PositiveInt,
) -> Layer:
    """Images [..., height, width, channels] to logits [..., classes].

    The paper's S/16: image_size 224, patch_size 16, features 512, blocks 8, token_hidden 256, channel_hidden 2048.
    Parameters: patches, blocks (all stacked along a first axis), norm, head.
    Raises if patches do not tile the image or the image has another size.
    """
    size, tokens = check_patches("mlp_mixer", image_size, patch_size)
    across_tokens = serial(
        norm=layer_norm(),
        turn=swap_axes(-1, -2),
        mlp=mlp([token_hidden, tokens], activation=gelu),
        back=swap_axes(-1, -2),
    )
    across_channels = serial(norm=layer_norm(), mlp=mlp([channel_hidden, features], activation=gelu))
    return serial(
        patches=patches(features, patch_size, size),
        blocks=repeat(serial(tokens=residual(across_tokens), channels=residual(across_channels)), blocks),
        norm=layer_norm(),
        pool=global_avg_pool(dimensions=1),
        head=dense(classes),
    ).replace(name="mlp_mixer")
