"""Checks that the models of images share: patches that tile an image, images of the expected size."""

from __future__ import annotations

from collections.abc import Sequence

from ..constructor import constructor
from ..errors import LayerValueError
from ..layer import Layer, Shaped
from ..validation import check_floating, describe


def check_patches(name: str, image_size: int | Sequence[int], patch_size: int) -> tuple[tuple[int, int], int]:
    """((height, width), how many patches [patch_size, patch_size] tile them)."""
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    if height % patch_size or width % patch_size:
        raise ValueError(f"{name}: expected a patch_size that divides the image_size {image_size}, got {patch_size}")
    return (height, width), (height // patch_size) * (width // patch_size)


@constructor
def taking_images(layer: Layer, size: tuple[int, int]) -> Layer:
    """The layer, which raises unless x is [..., *size, channels]."""

    def checked(x: Shaped) -> Shaped:
        check_floating(x)
        if x.ndim < 3 or x.shape[-3:-1] != size:
            raise LayerValueError(f"expected images [..., {size[0]}, {size[1]}, channels], got {describe(x)}")
        return x

    return layer.replace(
        init=lambda key, x: layer.init(key, checked(x)),
        forward=lambda params, state, x, key: layer.forward(params, state, checked(x), key),
        predict=lambda params, state, x: layer.predict(params, state, checked(x)),
    )
