"""Checks that the models share: sizes that are numbers, patches that tile an image."""

from __future__ import annotations

from collections.abc import Sequence


def check_sizes(name: str, **sizes: int | Sequence[int]) -> None:
    """Raise unless each is a whole number of at least 1, or a sequence of such."""
    for what, given in sizes.items():
        each = list(given) if isinstance(given, Sequence) else [given]
        if not each or any(not isinstance(size, int) or isinstance(size, bool) or size < 1 for size in each):
            raise ValueError(f"{name}: expected {what} of at least 1, got {given!r}")


def count_patches(name: str, image_size: int | tuple[int, int], patch_size: int) -> int:
    """How many patches [patch_size, patch_size] tile an image of this height and width."""
    check_sizes(name, image_size=image_size, patch_size=patch_size)
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    if height % patch_size or width % patch_size:
        raise ValueError(f"{name}: expected a patch_size that divides the image_size {image_size}, got {patch_size}")
    return (height // patch_size) * (width // patch_size)
