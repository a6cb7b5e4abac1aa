"""A language model of Python: a stateful LSTM learns the standard library's source, character by character.

    python examples/char_rnn.py

The text is what is installed here. Long streams of it run through the network chunk after chunk, the state going on
and the gradient stopping at each chunk's start. Printed are the bits per character on modules that it has not seen,
what the best model without any context could reach on them, and some lines that it writes.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

import purenet as pn

TRAINING = ("argparse", "ast", "codecs", "configparser", "dataclasses", "datetime", "difflib", "enum", "functools")
TRAINING += ("inspect", "locale", "optparse", "os", "pathlib", "pickle", "random", "shutil", "statistics", "tarfile")
HELD_OUT = ("csv", "heapq", "textwrap", "queue")


class Outcome(NamedTuple):
    bits: float
    unigram_bits: float
    seconds: float
    sample: str


def read(modules: Any, length: int) -> str:
    """The source of these modules of the standard library one after the other, cut to a length."""
    folder = Path(os.__file__).parent
    text = ""
    for name in modules:
        file = folder / f"{name}.py"
        text += file.read_text(encoding="utf-8") if file.is_file() else ""
    return text[:length]


def encode(text: str, alphabet: str) -> np.ndarray:
    """Numbers from 1 on; 0 stands for what the alphabet has not."""
    return np.array([alphabet.find(letter) + 1 for letter in text], np.int32)


def chunks(codes: np.ndarray, streams: int, time: int) -> tuple[np.ndarray, np.ndarray]:
    """(inputs, targets), both [steps, streams, time]: stream i of a step goes on where it ended in the one before."""
    steps = (len(codes) - 1) // (streams * time)

    def cut(codes: np.ndarray) -> np.ndarray:
        return codes[: steps * streams * time].reshape(streams, steps, time).swapaxes(0, 1)

    return cut(codes), cut(codes[1:])


def bits_per_character(objective: pn.Layer, params: Any, state: Any, data: Any) -> Any:
    """Over whole streams from the state of zeros, which `forward` takes on from chunk to chunk."""

    def chunk(state: Any, each: Any) -> tuple[Any, Any]:
        loss, state, _ = objective.forward(params, state, each, None)
        return state, loss

    return jnp.mean(lax.scan(chunk, jax.tree.map(jnp.zeros_like, state), data)[1]) / np.log(2)


def write(net: pn.Layer, params: Any, key: Any, start: Any, length: int, temperature: float) -> Any:
    """Characters drawn one after the other, each from what the network expects behind `start` and those before it."""
    _, shapes = jax.eval_shape(net.init, key, start[:1, None])
    state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def step(carry: Any, given: Any) -> tuple[Any, Any]:
        state, drawn = carry
        code, key = given
        logits, state, _ = net.forward(params, state, jnp.where(code >= 0, code, drawn)[None, None], None)
        drawn = jax.random.categorical(key, logits[0, 0] / temperature).astype(jnp.int32)
        return (state, drawn), drawn

    codes = jnp.concatenate([start, jnp.full(length - 1, -1, jnp.int32)])
    keys = jax.random.split(key, len(codes))
    return lax.scan(step, (state, jnp.zeros((), jnp.int32)), (codes, keys))[1][len(start) - 1 :]


def main(options: argparse.Namespace) -> Outcome:
    start = time.perf_counter()
    text, held_out = read(TRAINING, options.length), read(HELD_OUT, options.length)
    alphabet = "".join(sorted(set(text)))
    data, test = (chunks(encode(part, alphabet), options.streams, options.time) for part in (text, held_out))
    net = pn.models.char_rnn(len(alphabet) + 1, features=options.features, layers=options.layers)
    objective = pn.objective(net, pn.losses.softmax_cross_entropy())

    counts = np.bincount(test[1].reshape(-1))
    frequencies = counts[counts > 0] / counts.sum()
    unigram_bits = float(-np.sum(frequencies * np.log2(frequencies)))

    # In order: a batch is one step of every stream. Where an epoch ends, the streams start from where they ended.
    rows = jax.tree.map(lambda part: part.reshape(-1, options.time), data)
    steps = options.epochs * len(data[0])
    rate = optax.cosine_decay_schedule(options.rate, steps)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))
    state, history = pn.train.fit(
        objective,
        optimizer,
        rows,
        key=jax.random.key(options.seed),
        epochs=options.epochs,
        batch_size=options.streams,
        shuffle=False,
    )
    bits = float(jax.jit(lambda *given: bits_per_character(objective, *given))(state.params, state.state, test))
    print(f"{len(text):,} characters, {len(alphabet)} different, {steps} steps", end=": ")
    print(f"{history.epoch_loss[-1] / np.log(2):.2f} bits per character in training")
    print(f"held out: {bits:.2f} bits per character; without context at best {unigram_bits:.2f}")

    prompt = jnp.asarray(encode("\n    def ", alphabet))
    written = jax.jit(lambda params, key: write(net, params, key, prompt, options.write, 0.6))
    codes = np.asarray(written(state.params, jax.random.key(options.seed + 1)))
    sample = "    def " + "".join(("?" + alphabet)[code] for code in codes)
    print(f"\n{sample}\n")
    seconds = time.perf_counter() - start
    print(f"{seconds:.1f} seconds on {jax.default_backend()}, compiling included")
    return Outcome(bits, unigram_bits, seconds, sample)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=400_000, help="how many characters to learn from at most")
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--time", type=int, default=64, help="characters a chunk")
    parser.add_argument("--features", type=int, default=128)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rate", type=float, default=1e-2, help="initial learning rate")
    parser.add_argument("--write", type=int, default=300, help="how many characters to write")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(parse())
