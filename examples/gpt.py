"""GPT learns Python from the standard library's own source, byte by byte, and writes some.

    python examples/gpt.py                                 on a CPU, within three minutes
    python examples/gpt.py --compare                       and what jax.grad learns in the same time
    python examples/gpt.py --checkpoint run.safetensors    saves as it goes, and goes on from there
    python examples/gpt.py --data FILE                     any other text
    python examples/gpt.py --size 124m --dtype bfloat16 --data FILE --tokenizer vocabulary.json
                                                           GPT-2's smallest model on a GPU

The text is what is installed here; every tenth module is held out. Printed are the bits per character on those, the
tokens a second in training and in writing, and what the trained model makes of the beginning of a function.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

import purenet as pn
from purenet.train import TrainState

PROMPT = "def read_lines(path):\n"
END_OF_LINE = "\r" if sys.stdout.isatty() else "\n"


class Tokens(NamedTuple):
    """How text becomes numbers below `vocabulary`, and back."""

    vocabulary: int
    encode: Callable[[str], list[int]]
    decode: Callable[[Iterable[int]], str]


class Learned(NamedTuple):
    state: TrainState
    seconds: float
    steps: int


class Outcome(NamedTuple):
    bits: float
    tokens_per_second: float
    written_per_second: float
    sample: str
    steps: int
    bits_of_jax: float | None


def bytes_as_tokens() -> Tokens:
    return Tokens(256, lambda text: list(text.encode()), lambda codes: bytes(codes).decode(errors="replace"))


def tokens_of_file(path: Path) -> Tokens:
    """Of a vocabulary of `tokenizers` (.json) or of `tiktoken` (lines of a token in base 64 and its rank)."""
    if path.suffix == ".json":
        from tokenizers import Tokenizer  # pyright: ignore[reportMissingImports]

        found = Tokenizer.from_file(str(path))
        return Tokens(found.get_vocab_size(), lambda text: found.encode(text).ids, lambda codes: found.decode([*codes]))
    import tiktoken  # pyright: ignore[reportMissingImports]
    from tiktoken.load import load_tiktoken_bpe  # pyright: ignore[reportMissingImports]

    words = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
    ranks = load_tiktoken_bpe(str(path))
    coding = tiktoken.Encoding(path.stem, pat_str=words, mergeable_ranks=ranks, special_tokens={})
    return Tokens(coding.max_token_value + 1, coding.encode_ordinary, lambda codes: coding.decode([*codes]))


def read(path: Path | None) -> tuple[str, str]:
    """(text to learn from, text held out): every tenth module of the standard library, or a file's last tenth."""
    if path is not None:
        text = path.read_text(encoding="utf-8")
        return text[: len(text) * 9 // 10], text[len(text) * 9 // 10 :]
    modules = sorted(Path(os.__file__).parent.glob("*.py"))
    texts = [module.read_text(encoding="utf-8") for module in modules]
    return "".join(text for i, text in enumerate(texts) if i % 10), "".join(texts[::10])


def make_training(gradient: Callable[..., Any], optimizer: Any, options: argparse.Namespace) -> Any:
    """`train(state, text, steps) -> (state, losses)`: a scan of steps, each on windows of the text drawn at random."""

    def step(now: TrainState, text: Any) -> tuple[TrainState, Any]:
        key = jax.random.fold_in(now.key, now.step)
        starts = jax.random.randint(key, (options.batch, 1), 0, len(text) - options.time)
        windows = text[starts + jnp.arange(options.time + 1)[None]]  # [batch, time + 1]
        (loss, _), gradients = gradient(now.params, now.state, (windows[:, :-1], windows[:, 1:]))
        updates, opt_state = optimizer.update(gradients, now.opt_state, now.params)
        params = optax.apply_updates(now.params, updates)
        return TrainState(now.step + 1, params, now.state, opt_state, now.key), loss

    def train(now: TrainState, text: Any, steps: int) -> tuple[TrainState, Any]:
        return lax.scan(lambda now, _: step(now, text), now, length=steps)

    return jax.jit(train, static_argnums=2, donate_argnums=0)


def make_optimizer(steps: int, options: argparse.Namespace) -> optax.GradientTransformation:
    rate = optax.warmup_cosine_decay_schedule(0, options.rate, min(100, steps // 10), steps, options.rate / 20)
    adamw = optax.adamw(rate, b1=0.9, b2=0.95, weight_decay=0.1, mask=matrices)
    return optax.chain(optax.clip_by_global_norm(1.0), adamw)


def matrices(params: Any) -> Any:
    """True for what decays: neither biases nor the norms' scales, which are matrices too where blocks are stacked."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key in ("kernel", "embedding"), params)


def learn(gradient: Callable[..., Any], start: TrainState, text: Any, options: argparse.Namespace) -> Learned:
    """Train from `start` to `options.steps` steps; with `options.seconds` to as many as fit into them.

    Compiling is not counted. The state is saved after every chunk of steps, if a file for it is given.
    """
    steps, seconds = options.steps, 0.0
    if options.seconds is not None:
        steps = steps_within(gradient, start, text, options)
    train = make_training(gradient, make_optimizer(steps, options), options).lower(start, text, options.chunk).compile()
    now, done = jax.tree.map(jnp.copy, start), int(start.step)
    for step in range(done + options.chunk, steps + 1, options.chunk):
        begin = time.perf_counter()
        now, losses = train(now, text)
        bits = float(losses.mean()) / np.log(2)
        seconds += time.perf_counter() - begin
        print(f"  step {step} of {steps}: {bits:.2f} bits a token, {seconds:.0f} s", end=END_OF_LINE, flush=True)
        if options.checkpoint is not None:
            save(options.checkpoint, now)
    print()
    return Learned(now, seconds, int(now.step) - done)


def steps_within(gradient: Callable[..., Any], start: TrainState, text: Any, options: argparse.Namespace) -> int:
    """How many steps, in whole chunks, fit into `options.seconds`: the second chunk's time tells."""
    train = make_training(gradient, make_optimizer(options.steps, options), options)
    now, losses = train(jax.tree.map(jnp.copy, start), text, options.chunk)
    losses.block_until_ready()
    begin = time.perf_counter()
    _, losses = train(now, text, options.chunk)
    losses.block_until_ready()
    taken = time.perf_counter() - begin
    return int(start.step) + max(1, int(options.seconds / taken)) * options.chunk


def save(path: Path, now: TrainState) -> None:
    pn.files.save_params(path, {"params": now.params, "opt_state": now.opt_state, "step": now.step})


def resume(path: Path, start: TrainState) -> TrainState:
    """The state in the file; the key is that of the seed, from which each step draws by its number."""
    like = {"params": start.params, "opt_state": start.opt_state, "step": start.step}
    found = pn.files.load_params(path, jax.eval_shape(lambda: like))
    return TrainState(found["step"], found["params"], start.state, found["opt_state"], start.key)


def bits_per_character(
    objective: pn.Layer, params: Any, text: str, tokens: Tokens, options: argparse.Namespace
) -> float:
    """How many bits a character of the text takes, coded by what the model expects, window after window."""
    codes = np.array(tokens.encode(text), np.int32)
    count = (len(codes) - 1) // options.time
    windows = tuple(part[: count * options.time].reshape(count, options.time) for part in (codes[:-1], codes[1:]))
    evaluate = jax.jit(pn.train.make_evaluate(objective, batch_size=options.batch))
    nats = float(evaluate(params, (), jax.tree.map(jnp.asarray, windows))["loss"])
    return nats / np.log(2) * len(codes) / len(text)


def write(config: pn.models.GPTConfig, params: Any, tokens: Tokens, options: argparse.Namespace) -> tuple[str, float]:
    """(what the model makes of the prompt, tokens a second), with its cache of keys and values."""
    prompt = jnp.asarray(tokens.encode(PROMPT), jnp.int32)[None]
    steps = min(options.write, config.context_length - prompt.shape[1])

    def run(params: Any, key: Any) -> Any:
        return pn.models.generate(config, params, prompt, steps, key=key, temperature=options.temperature, top_p=0.95)

    compiled = jax.jit(run).lower(params, jax.random.key(0)).compile()
    begin = time.perf_counter()
    codes = np.asarray(compiled(params, jax.random.key(options.seed)))
    return tokens.decode(codes[0].tolist()), steps / (time.perf_counter() - begin)


def main(options: argparse.Namespace) -> Outcome:
    begin = time.perf_counter()
    tokens = bytes_as_tokens() if options.tokenizer is None else tokens_of_file(options.tokenizer)
    text, held_out = read(options.data)
    held_out = held_out[: options.held_out]
    codes = jnp.asarray(np.array(tokens.encode(text), np.int32))
    config = configuration(options, tokens.vocabulary)
    objective = pn.models.gpt_objective(config, block=options.block, keep=options.keep)
    plain = pn.objective(pn.models.gpt(config), pn.losses.softmax_cross_entropy())
    if options.dtype == "bfloat16":
        objective, plain = (pn.with_dtype(each, jnp.bfloat16) for each in (objective, plain))
    shapes = (jax.ShapeDtypeStruct((options.batch, options.time), jnp.int32),) * 2
    start = pn.train.init_train_state(
        objective, make_optimizer(options.steps, options), jax.random.key(options.seed), shapes
    )
    count = sum(leaf.size for leaf in jax.tree.leaves(start.params))
    print(f"{len(text):,} characters to learn from, {len(held_out):,} held out; {count:,} parameters")
    if options.checkpoint is not None and options.checkpoint.exists():
        start = resume(options.checkpoint, start)
        print(f"going on from step {int(start.step)} of {options.checkpoint}")

    def measure(learned: Learned, name: str) -> tuple[float, float]:
        bits = bits_per_character(objective, learned.state.params, held_out, tokens, options)
        rate = learned.steps * options.batch * options.time / max(learned.seconds, 1e-9)
        print(f"{name}: {learned.steps} steps in {learned.seconds:.0f} s, {rate:,.0f} tokens a second;", end=" ")
        print(f"held out {bits:.2f} bits a character")
        return bits, rate

    learned = learn(pn.value_and_grad(objective), start, codes, options)
    bits, rate = measure(learned, "purenet")
    sample, written = write(config, learned.state.params, tokens, options)
    print(f"\n{PROMPT}{sample}\n\n{written:,.0f} tokens a second written", end="; ")
    print(f"{time.perf_counter() - begin:.0f} s in all on {jax.default_backend()}, compiling included")
    if not options.compare:
        return Outcome(bits, rate, written, sample, learned.steps, None)
    options = argparse.Namespace(**{**vars(options), "seconds": learned.seconds, "checkpoint": None})
    others = learn(by_autodiff(plain), start, codes, options)
    return Outcome(bits, rate, written, sample, learned.steps, measure(others, "jax.grad, in the same time")[0])


def by_autodiff(objective: pn.Layer) -> Callable[..., Any]:
    """The form of `purenet.value_and_grad`, by `jax.value_and_grad` of the same network's plain forward."""

    def gradient(params: Any, state: Any, batch: Any) -> Any:
        value, gradients = jax.value_and_grad(objective.predict)(params, state, batch)
        return (value, state), gradients

    return gradient


def configuration(options: argparse.Namespace, vocabulary: int) -> pn.models.GPTConfig:
    """GPT-2's published size, or a small model with what came after GPT-2, which learns faster."""
    if options.size != "small":
        return pn.models.GPT_SIZES[options.size]._replace(vocab_size=vocabulary, context_length=options.time)
    return pn.models.GPTConfig(
        vocab_size=vocabulary,
        context_length=max(options.time, options.write + len(PROMPT)),
        features=options.features,
        blocks=options.blocks,
        heads=options.features // 32,
        norm="rms_norm",
        positions="rotary",
        qk_norm=True,
        use_bias=False,
        init_std=0.09,
    )


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="small", choices=["small", *pn.models.GPT_SIZES])
    parser.add_argument("--features", type=int, default=128, help="of the small size, 32 a head")
    parser.add_argument("--blocks", type=int, default=4, help="of the small size")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"], help="of the arithmetic")
    parser.add_argument("--data", type=Path, help="a file of text instead of the standard library")
    parser.add_argument("--tokenizer", type=Path, help="a vocabulary of tokenizers (.json) or of tiktoken")
    parser.add_argument("--checkpoint", type=Path, help="save the state there, and go on from it if it is there")
    parser.add_argument("--compare", action="store_true", help="train by jax.grad for the same time as well")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--chunk", type=int, default=100, help="steps a compiled program")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--time", type=int, default=128, help="tokens a window")
    parser.add_argument("--rate", type=float, default=5e-3, help="highest learning rate")
    parser.add_argument("--block", type=int, help="of the attention: tokens a block, by default all at once")
    parser.add_argument("--keep", default="plan", choices=["plan", "inputs", "nested"], help="see purenet.repeat")
    parser.add_argument("--held-out", type=int, help="how many of the held-out characters, by default all")
    parser.add_argument("--write", type=int, default=400, help="how many tokens to write")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--seed", type=int, default=0)
    parser.set_defaults(seconds=None)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(parse())
