"""IDX files as MNIST has them, good and broken; splits, standardisation, parameter files."""

from __future__ import annotations

import gzip
import os
import re
import resource
import struct
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purenet as pn
from purenet.data import confusion_matrix, load_idx, load_mnist, split, standardize

CODES = {"u1": 0x08, "i1": 0x09, ">i2": 0x0B, ">i4": 0x0C, ">f4": 0x0D, ">f8": 0x0E}


def idx_bytes(array: np.ndarray, dtype: str) -> bytes:
    header = bytes([0, 0, CODES[dtype], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(dtype).tobytes()


def write_mnist(folder: Path, *, compress: bool, spelling: str = "-") -> tuple[np.ndarray, np.ndarray]:
    images = np.random.default_rng(0).integers(0, 256, (7, 4, 5))
    labels = np.arange(7) % 3
    for part, count in (("train", 7), ("t10k", 3)):
        for name, array in (
            (f"{part}-images{spelling}idx3-ubyte", images),
            (f"{part}-labels{spelling}idx1-ubyte", labels),
        ):
            raw = idx_bytes(array[:count], "u1")
            (folder / (name + ".gz" * compress)).write_bytes(gzip.compress(raw) if compress else raw)
    return images, labels


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("spelling", ["-", "."])
def test_mnist_files_are_read(tmp_path: Path, compress: bool, spelling: str) -> None:
    images, labels = write_mnist(tmp_path, compress=compress, spelling=spelling)
    train, test = load_mnist(tmp_path)
    assert train[0].dtype == np.float32
    assert train[1].dtype == np.int32
    np.testing.assert_allclose(train[0], images.reshape(7, 20) / 255, rtol=1e-6)
    np.testing.assert_array_equal(train[1], labels)
    assert len(test[0]) == len(test[1]) == 3


@pytest.mark.parametrize("dtype", CODES)
def test_every_idx_dtype_comes_back_in_native_order(tmp_path: Path, dtype: str) -> None:
    array = np.array([[1, 2, 3], [-4 if dtype != "u1" else 4, 5, 100]])
    (tmp_path / "file").write_bytes(idx_bytes(array, dtype))
    read = load_idx(tmp_path / "file")
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "expected an IDX file"),
        (b"PNG\n and more", "got 50 4e 47 0a"),
        (b"\0\0\x07\x01\0\0\0\x01\0", "expected an IDX file"),
        (b"\0\0\x08\x03\0\0", "the header of 3 axes is cut off at 6 bytes"),
        (idx_bytes(np.arange(6).reshape(2, 3), "u1")[:-1], r"expected 6 bytes for uint8 \[2, 3\], got 5"),
        (idx_bytes(np.arange(6), "u1") + b"x", "expected 6 bytes"),
        (gzip.compress(idx_bytes(np.arange(6), "u1"))[:-6], "broken gzip file"),
        (idx_bytes(np.arange(6), "u1") + gzip.compress(bytes(6)), "expected 6 bytes for uint8 .* got more"),
        (b"\0\0\x0e\xff" + b"\xff" * 1020, r"expected \d+ bytes for >f8 .* got at most 1024"),
        (gzip.compress(b"\0\0\x08\x03" + b"\xff" * 12), r"expected \d+ bytes for uint8 .* got at most"),
        (gzip.compress(idx_bytes(np.arange(6), "u1") + bytes(50_000_000)), "expected 6 bytes .* got more"),
        (b"\0\0\x08\xff" + b"\0\0\0\1" * 255 + b"7", "no array of 255 axes"),
        (b"\0\0\x08\x03" + b"\0\0\0\0" + b"\xff" * 8, "no array of 3 axes"),
        (gzip.compress(idx_bytes(np.arange(6), "u1"))[:-8] + bytes(8), "broken gzip file"),
    ],
    ids=[
        *("empty", "png", "dtype", "header", "short", "long", "cut gzip", "gzip behind", "huge", "huge in gzip"),
        *("bomb", "axes", "huge lengths of nothing", "damaged gzip"),
    ],
)
def test_broken_idx_files_are_named(tmp_path: Path, raw: bytes, message: str) -> None:
    (tmp_path / "train").write_bytes(raw)
    with pytest.raises(ValueError, match=message) as caught:
        load_idx(tmp_path / "train")
    assert "train" in str(caught.value)


def test_missing_and_mixed_mnist_files_are_named(tmp_path: Path) -> None:
    write_mnist(tmp_path, compress=False)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.arange(5), "u1"))
    with pytest.raises(ValueError, match=r"images \[7, 4, 5\] do not go with labels \[5\]"):
        load_mnist(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match=r"train-labels-idx1-ubyte or train-labels-idx1-ubyte.gz"):
        load_mnist(tmp_path)


def test_split_keeps_the_classes_and_loses_nothing() -> None:
    inputs = np.arange(100, dtype=np.float32)[:, None]
    labels = (np.arange(100) % 10 == 0).astype(np.int32)
    train, test = split((inputs, labels), 0.2, key=jax.random.key(1))
    assert sorted([*train[0][:, 0], *test[0][:, 0]]) == list(range(100))
    assert test[1].sum() == 2
    assert len(test[1]) == 20
    np.testing.assert_array_equal(split((inputs, labels), 0.2, key=jax.random.key(1))[1][0], test[0])
    with pytest.raises(TypeError, match=r"split: expected one typed key from jax.random.key, got 1"):
        split((inputs, labels), 0.2, key=1)
    with pytest.raises(ValueError, match="split: expected as many targets as inputs, got 100 inputs, 99 targets"):
        split((inputs, labels[1:]), 0.2, key=jax.random.key(0))
    with pytest.raises(ValueError, match="test_fraction"):
        split((inputs, labels), 1.0, key=jax.random.key(0))


def test_standardize_measures_on_training_data() -> None:
    train = np.random.default_rng(0).normal(3, 2, (50, 4)).astype(np.float32)
    train[:, 2] = 7
    scaled, by = standardize(train)
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(0), [1, 1, 0, 1], rtol=1e-5)
    test = train[:5] + 1
    np.testing.assert_allclose(standardize(test, by)[0], (test - by.mean) / by.deviation, rtol=1e-6)
    assert scaled.dtype == np.float32
    for wrong, error, message in (
        (train.astype(int), TypeError, "floating"),
        (train[:0], ValueError, "at least one example"),
        (
            np.where(train == train[3, 1], np.nan, train),
            ValueError,
            r"expected finite inputs, got nan at \[3, 1\] \(1 in",
        ),
        (np.where(train == train[0, 0], np.inf, train), ValueError, r"expected finite inputs, got inf at \[0, 0\]"),
    ):
        with pytest.raises(error, match=message):
            standardize(wrong)
    with pytest.raises(ValueError, match="expected inputs"):
        standardize(train[:, :2], by)


def test_a_constant_feature_becomes_zero_whatever_its_rounding() -> None:
    assert not np.any(standardize(np.full((1000, 1), 0.1, np.float32))[0])


def test_a_split_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        split((np.ones((9, 1)), np.arange(9)), 0.1, key=jax.random.key(0))


def test_scalars_come_back_and_damaged_files_are_named(tmp_path: Path) -> None:
    pn.files.save_params(tmp_path / "p", {"s": jnp.array(3.0)})
    assert pn.files.load_params(tmp_path / "p", {"s": jnp.array(0.0)})["s"] == 3
    (tmp_path / "p").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="p: no readable safetensors file"):
        pn.files.load_params(tmp_path / "p", {"s": jnp.array(0.0)})


def test_confusion_matrix_has_labels_down() -> None:
    matrix = confusion_matrix(np.array([0, 1, 1, 2]), np.array([0, 1, 0, 2]), 3)
    np.testing.assert_array_equal(matrix, [[1, 1, 0], [0, 1, 0], [0, 0, 1]])
    assert pn.data.accuracy(np.array([0, 1, 1, 2]), np.array([0, 1, 0, 2])) == 0.75


@pytest.mark.parametrize(
    ("predicted", "labels", "error", "message"),
    [
        ([[1], [2]], [1, 2], ValueError, r"of one shape, .* got \[2, 1\] and \[2\]: np.argmax"),
        ([1, 2], [1], ValueError, r"of one shape, .* got \[2\] and \[1\]"),
        ([], [], ValueError, "at least one example"),
        ([0, -1], [0, 1], ValueError, "expected predicted in 0..2, got -1..0"),
        ([0, 1], [0, 3], ValueError, "expected labels in 0..2, got 0..3"),
        ([0.0, 1.0], [0, 1], TypeError, "expected predicted as integers, got float64"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(predicted: Any, labels: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        confusion_matrix(predicted, labels, 3)
    if "example" in message or "shape" in message:
        with pytest.raises(error, match="accuracy: expected predicted and labels .*" + message):
            pn.data.accuracy(predicted, labels)


def test_two_parameters_of_one_path_are_not_written(tmp_path: Path) -> None:
    params = {"a.b": {"kernel": jnp.ones(2)}, "a": {"b": {"kernel": jnp.zeros(2)}}}
    pn.files.save_params(tmp_path / "q", {"a": params["a"]})
    for call in (pn.files.save_params, pn.files.load_params):
        with pytest.raises(ValueError, match=r"got several of \['a.b.kernel'\]: give layers names without dots"):
            call(tmp_path / ("p" if call is pn.files.save_params else "q"), params)
    assert [path.name for path in tmp_path.iterdir()] == ["q"]
    alone = {"a.b": params["a.b"]}
    pn.files.save_params(tmp_path / "p", alone)
    np.testing.assert_array_equal(pn.files.load_params(tmp_path / "p", alone)["a.b"]["kernel"], 1)


def test_what_a_killed_save_left_is_taken_away(tmp_path: Path) -> None:
    for name, age in ((".p.7.tmp", 7200), (".p.8.tmp", 0), (".other.9.tmp", 7200)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age, time.time() - age))
    pn.files.save_params(tmp_path / "p", {"s": jnp.ones(2)})
    assert {path.name for path in tmp_path.iterdir()} == {"p", ".p.8.tmp", ".other.9.tmp"}


def test_a_full_disk_names_the_path(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match=re.escape(f"{tmp_path / 'net'}: could not be written: ")):
            pn.files.save_params(tmp_path / "net", {"kernel": jnp.ones(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_parameters_come_back_bit_for_bit(tmp_path: Path) -> None:
    net = pn.serial(up=pn.dense(5), down=pn.serial(pn.dense(2), pn.tanh()))
    params, _ = net.init(jax.random.key(0), jnp.ones((1, 3)))
    params["up"]["kernel"] = np.asfortranarray(params["up"]["kernel"])
    params["down"][0]["bias"] = params["down"][0]["bias"].astype(jnp.bfloat16)
    pn.files.save_params(tmp_path / "net.safetensors", params)
    read = pn.files.load_params(tmp_path / "net.safetensors", jax.tree.map(jnp.asarray, params))
    assert jax.tree.structure(read) == jax.tree.structure(params)
    for mine, theirs in zip(jax.tree.leaves(read), jax.tree.leaves(params), strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ({"up": {"kernel": jnp.ones((3, 5))}}, r"missing \[\], unknown \['up.bias'\]"),
        ({"up": {"kernel": jnp.ones((3, 5)), "bias": jnp.ones(5), "scale": jnp.ones(1)}}, r"missing \['up.scale'\]"),
        (
            {"up": {"kernel": jnp.ones((5, 3)), "bias": jnp.ones(5)}},
            r"expected up.kernel as float32 \[5, 3\], got float32 \[3, 5\]",
        ),
        ({"up": {"kernel": jnp.ones((3, 5)), "bias": jnp.ones(5, int)}}, "expected up.bias as int32"),
    ],
)
def test_other_parameters_are_named(tmp_path: Path, like: Any, message: str) -> None:
    pn.files.save_params(tmp_path / "p", {"up": {"kernel": jnp.ones((3, 5)), "bias": jnp.ones(5)}})
    with pytest.raises(ValueError, match=message):
        pn.files.load_params(tmp_path / "p", like)


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.safetensors"
    pn.files.save_params(path, {"a": jnp.ones(3)})
    before = path.read_bytes()
    with pytest.raises(TypeError):
        pn.files.save_params(path, {"a": jax.random.key(0)})

    def disk_full(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", disk_full)
    with pytest.raises(OSError, match="no space"):
        pn.files.save_params(path, {"a": jnp.zeros(3)})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
