"""The main job: the digits example on the real digits, and on MNIST's file format."""

from __future__ import annotations

import gzip
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import purenet as pn

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import digits


@pytest.mark.complete
def test_the_real_digits_are_learned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The README's run: at least 97.5% as the median of five seeds, the saved parameters read back, a picture."""
    picture, saved = tmp_path / "digits.png", tmp_path / "digits.safetensors"
    outcome = digits.main(digits.parse(["--plot", str(picture), "--save", str(saved)]))
    assert len(outcome.seed_accuracies) == 5
    assert np.median(outcome.seed_accuracies) >= 0.975
    assert outcome.accuracy >= 0.97
    assert outcome.confusion.sum() == 359
    assert np.trace(outcome.confusion) == round(outcome.accuracy * 359)
    assert picture.read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "7 PASS of 7 gradient leaves" in printed
    assert "confusion matrix" in printed


@pytest.mark.complete
def test_mnist_files_are_learned(tmp_path: Path) -> None:
    """scikit-learn's digits written as MNIST's files, half of them gzipped."""
    images, labels = pn.data.load_digits()
    for part, chosen in (("train", slice(0, 400)), ("t10k", slice(400, 500))):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", (255 * images[chosen]).reshape(-1, 8, 8))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", labels[chosen])
    arguments = ["--data", str(tmp_path), "--epochs", "4", "--seeds", "1", "--save", str(tmp_path / "p")]
    outcome = digits.main(digits.parse(arguments))
    assert outcome.confusion.sum() == 100
    assert outcome.accuracy > 0.6


def write_idx(path: Path, array: Any) -> None:
    raw = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype("u1").tobytes()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
