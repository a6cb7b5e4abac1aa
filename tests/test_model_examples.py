"""The examples of models run as a reader would run them, with settings of a few seconds, and learn what they should."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from load_example import load

pytestmark = pytest.mark.complete

SMALL_GPT = ["--features", "32", "--blocks", "2", "--time", "32", "--held-out", "2000", "--write", "12"]


@pytest.fixture
def optax_rules() -> Iterator[None]:
    """The example updates by optax itself, whose schedules mix dtypes."""
    with jax.numpy_dtype_promotion("standard"):
        yield


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


@pytest.mark.usefixtures("optax_rules")
def test_gpt_learns_and_writes_and_jax_learns_beside_it() -> None:
    module = load("gpt")
    outcome = module.main(module.parse([*SMALL_GPT, "--steps", "40", "--rate", "0.01", "--chunk", "20", "--compare"]))
    assert outcome.steps == 40
    assert 3 < outcome.bits < 6  # 8 before the first step
    assert outcome.bits_of_jax is not None
    assert 3 < outcome.bits_of_jax < 7
    assert 0 < len(outcome.sample) <= 12


@pytest.mark.usefixtures("optax_rules")
def test_gpt_goes_on_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was interrupted after its first chunk and run again ends where the whole run ends, to the last bit."""
    module, saved = load("gpt"), []
    save = module.save

    def interrupted(path: Path, now: Any) -> None:
        save(path, now)
        saved.append(now.step)
        if len(saved) == 1:
            raise KeyboardInterrupt

    whole, halves = ([*SMALL_GPT, "--steps", "4", "--chunk", "2", "--checkpoint", str(tmp_path / n)] for n in "ab")
    module.main(module.parse(whole))
    monkeypatch.setattr(module, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        module.main(module.parse(halves))
    assert module.main(module.parse(halves)).steps == 2
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


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
