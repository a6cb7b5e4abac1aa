"""Data in memory: IDX files (MNIST's format), standardisation, splits. Nothing is downloaded."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import IO, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .annotations import Float, Integer

IDX_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MNIST_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}

Arrays = tuple[np.ndarray, np.ndarray]


def load_idx(path: str | Path) -> np.ndarray:
    """The array in an IDX file, gzipped or not: two zero bytes, dtype, number of axes, lengths, values (big-endian).

    Raises ValueError if the file is no IDX file, or shorter or longer than its header says. No more is read than that.
    """
    path = Path(path)
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            # Deflate makes at most 1,032 bytes of one.
            return read_idx(path, file, path.stat().st_size * (1032 if packed else 1))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: broken gzip file: {error}") from error


def read_idx(path: Path, file: gzip.GzipFile | IO[bytes], most: int) -> np.ndarray:
    """The array in an open file of at most `most` bytes."""
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in IDX_DTYPES:
        raise ValueError(f"{path}: expected an IDX file, which begins 00 00, dtype, axes; got {head.hex(' ')}")
    dtype, ndim = np.dtype(IDX_DTYPES[head[2]]), head[3]
    lengths = file.read(4 * ndim)
    if len(lengths) < 4 * ndim:
        raise ValueError(f"{path}: the header of {ndim} axes is cut off at {4 + len(lengths)} bytes")
    shape = struct.unpack(f">{ndim}I", lengths)
    expected = math.prod(shape) * dtype.itemsize
    values = file.read(expected + 1) if expected <= most else b""
    if len(values) != expected:
        got = "more" if len(values) > expected else f"{len(values)}" if expected <= most else f"at most {most}"
        raise ValueError(f"{path}: expected {expected} bytes for {dtype} {list(shape)}, got {got}")
    try:
        return np.frombuffer(values, dtype).reshape(shape).astype(dtype.newbyteorder("="))
    except ValueError as error:
        raise ValueError(f"{path}: no array of {ndim} axes {list(shape[:4])}...: {error}") from error


def load_mnist(folder: str | Path) -> tuple[Arrays, Arrays]:
    """((images, labels), (images, labels)) for training and test, from the four files of MNIST, gzipped or not.

    Images float32 [examples, height * width] in [0, 1], labels int32 [examples]. Fashion-MNIST and EMNIST files
    renamed to MNIST's names are read as well. Raises FileNotFoundError naming a missing file.
    """
    train, test = (load_images(Path(folder), *MNIST_FILES[part]) for part in ("train", "test"))
    if train[0].shape[1] != test[0].shape[1]:
        raise ValueError(f"{folder}: training images have {train[0].shape[1]} pixels, test images {test[0].shape[1]}")
    return train, test


def load_images(folder: Path, images_name: str, labels_name: str) -> Arrays:
    images, labels = load_idx(find_file(folder, images_name)), load_idx(find_file(folder, labels_name))
    if images.ndim < 2 or labels.ndim != 1 or len(images) != len(labels):
        raise ValueError(f"{folder}: images {list(images.shape)} do not go with labels {list(labels.shape)}")
    pixels = images.reshape(len(images), -1).astype(np.float32)
    return pixels / 255 if images.dtype == np.uint8 else pixels, labels.astype(np.int32)


def find_file(folder: Path, name: str) -> Path:
    """The file under its usual spellings: with a dot before idx, gzipped."""
    for spelling in (name, name.replace("-idx", ".idx")):
        for suffix in ("", ".gz"):
            if (folder / (spelling + suffix)).is_file():
                return folder / (spelling + suffix)
    raise FileNotFoundError(f"{folder}: expected {name} or {name}.gz")


def load_digits() -> Arrays:
    """scikit-learn's 1,797 handwritten digits: images float32 [1797, 64] in [0, 1], labels int32 [1797]."""
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError("load_digits needs scikit-learn: pip install 'purenet[examples]'") from error
    images, labels = datasets.load_digits(return_X_y=True)
    return (np.asarray(images) / 16).astype(np.float32), np.asarray(labels).astype(np.int32)


def split(data: Arrays, test_fraction: float, *, key: Any) -> tuple[Arrays, Arrays]:
    """(train, test) by a random permutation, every class (integer targets) in the same proportion in both.

    `key` is a key from jax.random.key; NumPy permutes by it, on the host.
    """
    if not 0 < test_fraction < 1:
        raise ValueError(f"split: expected test_fraction in (0, 1), got {test_fraction!r}")
    if not hasattr(key, "dtype") or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or key.ndim:
        raise TypeError(f"split: expected one typed key from jax.random.key, got {key!r}")
    inputs, targets = map(np.asarray, data)
    if len(inputs) != len(targets):
        raise ValueError(f"split: expected as many targets as inputs, got {len(inputs)} inputs, {len(targets)} targets")
    order = np.random.default_rng(np.asarray(jax.random.key_data(key))).permutation(len(inputs))
    groups = [order]
    if np.issubdtype(targets.dtype, np.integer) and targets.ndim == 1:
        groups = [order[targets[order] == label] for label in np.unique(targets)]
    test = np.concatenate([group[: round(len(group) * test_fraction)] for group in groups])
    train = np.setdiff1d(order, test)
    if not len(test) or not len(train):
        raise ValueError(f"split: {len(inputs)} examples are too few for test_fraction={test_fraction}")
    return (inputs[train], targets[train]), (inputs[test], targets[test])


class Standardization(NamedTuple):
    """Mean and standard deviation of each feature [features], of the training data."""

    mean: Float[np.ndarray, " features"]
    deviation: Float[np.ndarray, " features"]


def standardize(inputs: np.ndarray, by: Standardization | None = None) -> tuple[np.ndarray, Standardization]:
    """(inputs with mean 0 and deviation 1 a feature, what it took): measured on training data, passed `by` for test.

    A constant feature becomes 0. Raises TypeError for integers and ValueError for no examples, NaN, infinity or other
    features.
    """
    if not np.issubdtype(inputs.dtype, np.floating):
        raise TypeError(f"standardize: expected floating inputs, got {inputs.dtype}: convert with .astype")
    if len(inputs) == 0:
        raise ValueError("standardize: expected at least one example, got none")
    check_finite("standardize", "inputs", inputs)
    if by is None:
        mean, deviation = inputs.mean(0, dtype=np.float64), inputs.std(0, dtype=np.float64)
        constant = deviation <= 10 * np.finfo(inputs.dtype).eps * np.abs(mean)
        by = Standardization(mean.astype(inputs.dtype), np.where(constant, 1, deviation).astype(inputs.dtype))
    if by.mean.shape != inputs.shape[1:]:
        raise ValueError(f"standardize: expected inputs [..., {by.mean.shape}], got {list(inputs.shape)}")
    return (inputs - by.mean) / by.deviation, by


def check_finite(caller: str, what: str, values: np.ndarray) -> None:
    wrong = ~np.isfinite(values)
    if wrong.any():
        first = tuple(int(i) for i in np.argwhere(wrong)[0])
        got = f"{values[first]} at {list(first)} ({wrong.sum()} in all)"
        raise ValueError(f"{caller}: expected finite {what}, got {got}")


def accuracy(predicted: Integer[np.ndarray, " examples"], labels: Integer[np.ndarray, " examples"]) -> float:
    """The part of the examples that is predicted right."""
    predicted, labels = check_pair("accuracy", predicted, labels)
    return float(np.mean(predicted == labels))


def confusion_matrix(
    predicted: Integer[np.ndarray, " examples"], labels: Integer[np.ndarray, " examples"], classes: int
) -> Integer[np.ndarray, "classes classes"]:
    """How often label i (row) was predicted as j (column)."""
    predicted, labels = check_pair("confusion_matrix", predicted, labels)
    for what, values in (("predicted", predicted), ("labels", labels)):
        if not np.issubdtype(values.dtype, np.integer):
            raise TypeError(f"confusion_matrix: expected {what} as integers, got {values.dtype}")
        if values.min() < 0 or values.max() >= classes:
            raise ValueError(
                f"confusion_matrix: expected {what} in 0..{classes - 1}, got {values.min()}..{values.max()}"
            )
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (labels, predicted), 1)
    return matrix


def check_pair(caller: str, predicted: Any, labels: Any) -> Arrays:
    """Both as arrays, which must be of one shape: NumPy would compare everything with everything."""
    predicted, labels = np.asarray(predicted), np.asarray(labels)
    if predicted.shape != labels.shape or predicted.size == 0:
        raise ValueError(
            f"{caller}: expected predicted and labels of one shape, at least one example, got "
            f"{list(predicted.shape)} and {list(labels.shape)}: np.argmax(scores, -1) makes classes of scores"
        )
    return predicted, labels
