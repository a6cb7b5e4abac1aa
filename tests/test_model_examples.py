"""The examples of models run as a reader would run them, with settings of a few seconds, and learn what they should."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from programs import load


@pytest.mark.parametrize(("name", "epochs", "least"), [("mlp", 10, 0.95), ("lenet", 4, 0.9), ("vit", 4, 0.7)])
def test_digits_are_learned(name: str, epochs: int, least: float) -> None:
    module = load("digits_models")
    outcomes = module.main(module.parse(["--model", name, "--epochs", str(epochs)]))
    assert list(outcomes) == [name]
    assert outcomes[name].accuracy >= least


def test_text_is_learned() -> None:
    module = load("char_rnn")
    arguments = ["--length", "60000", "--features", "48", "--time", "32", "--epochs", "2", "--write", "20"]
    outcome = module.main(module.parse(arguments))
    assert 4 < outcome.unigram_bits < 5.5
    assert outcome.bits < outcome.unigram_bits - 0.5
    assert len(outcome.sample) == len("    def ") + 20


def test_streams_of_text_go_on() -> None:
    module = load("char_rnn")
    inputs, targets = module.chunks(np.arange(25), streams=3, time=4)
    assert inputs.shape == (2, 3, 4)
    np.testing.assert_array_equal(inputs[:, 1], [[8, 9, 10, 11], [12, 13, 14, 15]])
    np.testing.assert_array_equal(targets, inputs + 1)


def test_a_code_of_eight_numbers_beats_principal_components(tmp_path: Path) -> None:
    module, picture = load("autoencoders"), tmp_path / "digits.png"
    options = module.parse(["--model", "autoencoder", "--epochs", "25", "--plot", str(picture)])
    errors = module.main(options)["autoencoder"]
    assert errors["autoencoder"] < errors["principal components"] < 0.5 * errors["mean image"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_evidence_bound_beats_independent_pixels() -> None:
    module = load("autoencoders")
    nats = module.main(module.parse(["--model", "vae", "--epochs", "25"]))["vae"]
    assert nats["the digit itself"] < nats["vae"] < nats["independent pixels"] - 0.5
