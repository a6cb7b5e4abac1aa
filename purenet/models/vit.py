"""vit: the transformer's encoder on the patches of an image.

    images [..., height, width, channels] -> patches, a linear map of each [..., tokens, features]
    z_0 = [token; patches] + positions                        token: a learned vector in front, or none
    u_k = z_{k-1} + attention(norm(z_{k-1})),  z_k = u_k + gelu(norm(u_k) W1 + b1) W2 + b2
    y   = norm(z_n)_0 W + b                                   or the mean of the tokens instead of the first

The norm of the last line acts on each token by itself, so that the first is taken before it.
Dosovitskiy et al., *An Image is Worth 16x16 Words* (2021), equations 1 to 4; the mean: appendix D.3.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..annotations import PositiveInt
from ..arguments import checks_arguments
from ..combine import repeat, residual, serial
from ..layer import Layer
from ..layers import dense, gelu, global_avg_pool, layer_norm, learned_positions, self_attention
from .class_token import class_token, first_token
from .mlp import mlp
from .mlp_mixer import patches
from .sizes import check_patches


@checks_arguments
def vit(
    classes: PositiveInt,
    *,
    image_size: PositiveInt | Sequence[PositiveInt],
    patch_size: PositiveInt,
    features: PositiveInt,
    blocks: PositiveInt,
    heads: PositiveInt,
    hidden: PositiveInt | None = None,
    pool: str = "token",
) -> Layer:
    """Images [..., height, width, channels] to logits [..., classes].

    `hidden` is the width inside the blocks, 4 features by default. pool: "token", a learned one in front of the
    patches, or "mean" of the patches. ViT-Ti/16: image_size 224, patch_size 16, features 192, blocks 12, heads 3;
    S/16 has features 384, heads 6; B/16 features 768, heads 12.
    Parameters: patches, token, positions, blocks (stacked along a first axis), norm, head.
    Raises if patches do not tile the image, heads do not divide the features, or the image has another size.
    """
    size, length = check_patches("vit", image_size, patch_size)
    hidden = 4 * features if hidden is None else hidden
    if features % heads:
        raise ValueError(f"vit: expected heads that divide the {features} features, got {heads}")
    if pool not in ("token", "mean"):
        raise ValueError(f'vit: expected pool "token" or "mean", got {pool!r}')

    attention = serial(norm=layer_norm(), attention=self_attention(heads))
    feed_forward = serial(norm=layer_norm(), mlp=mlp([hidden, features], activation=gelu))
    block = serial(attention=residual(attention), mlp=residual(feed_forward))
    embedded = {"patches": patches(features, patch_size, size)}
    if pool == "token":
        before = {**embedded, "token": class_token(), "positions": learned_positions(length + 1)}
        after = {"first": first_token(), "norm": layer_norm()}
    else:
        before = {**embedded, "positions": learned_positions(length)}
        after = {"norm": layer_norm(), "mean": global_avg_pool(dimensions=1)}
    return serial(**before, blocks=repeat(block, blocks), **after, head=dense(classes)).replace(name="vit")
