"""load_gpt, save_gpt: the weights and the configuration of GPT-2 and Llama models in Hugging Face's files.

A folder has config.json and either model.safetensors or, in several files, model.safetensors.index.json, which says
what is where. Nothing is downloaded. The names of the tensors are in families.py; needs the extra `io`.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...annotations import PyTree
from ...files import appear, safetensors_error, safetensors_numpy
from ...layer import Params
from ...validation import leaves_with_paths
from .config import GPTConfig, check_config
from .families import PREFIXES, Leaf, config_of, entries_of, family_of, leaves_of

WEIGHTS, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
# Constants that older versions stored beside the weights: the causal mask and the frequencies of the rotation.
CONSTANTS = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)|(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq")
Tensors = dict[str, Any]


def load_gpt(path: str | Path, *, config: GPTConfig | None = None, dtype: Any = None) -> tuple[GPTConfig, Params]:
    """(config, params) from a folder as `save_pretrained` writes it, or from one .safetensors file.

    - The configuration is that of the config.json in the folder, or given. Its dropout is 0, whatever the file says.
    - Parameters have the file's dtype, or are cast to `dtype`.

    Raises ValueError naming the file and the tensors that are missing, unknown, or of another shape, and the entries of
    a configuration that `gpt` cannot be.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    config = read_config(folder / CONFIG) if config is None else config
    with opened(shards(path)) as tensors:
        return config, read_params(path, config, tensors, dtype)


def save_gpt(path: str | Path, config: GPTConfig, params: Params, **entries: Any) -> None:
    """Write config.json and model.safetensors into the folder `path`, as transformers read them.

    `entries` are more of config.json, such as eos_token_id=50256. Each file appears whole or not at all. Raises
    ValueError if the configuration is neither GPT-2's nor Llama's, or the parameters are another one's.
    """
    path, numpy = Path(path), safetensors_numpy()
    tensors = dict(split_params(config, params))
    dtype = next(iter(tensors.values())).dtype.name
    found = entries_of(config) | {"dtype": dtype, "torch_dtype": dtype} | entries
    path.mkdir(parents=True, exist_ok=True)
    # transformers ask who wrote the file.
    appear(path / WEIGHTS, lambda file: numpy.save_file(tensors, file, metadata={"format": "pt"}))
    appear(path / CONFIG, lambda file: file.write_text(json.dumps(found, indent=2) + "\n"))


# Reading.


def read_config(path: Path) -> GPTConfig:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file: give config, or put it beside the weights")
    try:
        config = config_of(json.loads(path.read_text()))
        check_config("load_gpt", config)
        return config
    except KeyError as error:
        raise ValueError(f"{path}: expected an entry {error}") from None
    except (ValueError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from None


def shards(path: Path) -> list[Path]:
    """The files that hold the tensors."""
    if not path.is_dir():
        found = [path]
    elif (path / WEIGHTS).is_file() or not (path / INDEX).is_file():
        found = [path / WEIGHTS]
    else:
        found = sorted({path / name for name in weight_map(path / INDEX).values()})
    missing = [str(file) for file in found if not file.is_file()]
    if missing:
        raise FileNotFoundError(f"{path}: expected the files {missing}, which are not there")
    return found


def weight_map(path: Path) -> dict[str, str]:
    """Which file holds which tensor, from an index file."""
    try:
        found = json.loads(path.read_text())["weight_map"]
        names = [*found.values()]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: expected JSON with a weight_map from tensors to files: {error!r}") from error
    if not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise ValueError(f"{path}: expected names of files in the same folder, got {sorted(set(map(str, names)))}")
    return found


@contextlib.contextmanager
def opened(files: list[Path]) -> Iterator[Tensors]:
    """The tensors of all files by their names; nothing is read before it is asked for."""
    safetensors_numpy()
    from safetensors import safe_open

    with contextlib.ExitStack() as stack:
        tensors: Tensors = {}
        for file in files:
            try:
                found = stack.enter_context(safe_open(file, "numpy"))
            except safetensors_error() as error:
                raise ValueError(f"{file}: no readable safetensors file: {error}") from error
            tensors |= {name: found.get_slice(name) for name in found.keys()}  # noqa: SIM118
        yield tensors


def read_params(path: Path, config: GPTConfig, tensors: Tensors, dtype: Any = None) -> Params:
    """The parameters made of tensors, which have `get_shape`, `get_dtype` and their numbers at `[:]`."""
    prefix, leaves = PREFIXES[family_of(config)], leaves_of(config)
    full = {name.removeprefix(prefix): name for name in tensors if not CONSTANTS.fullmatch(name.removeprefix(prefix))}
    whole = {name: tensors[full[name]] for name in full}
    check_tied(path, config, whole)
    expected = {name: shape for leaf in leaves for k in range(leaf.blocks or 1) for name, shape in leaf.tensors(k)}
    missing, unknown = sorted(set(expected) - set(whole)), sorted(full[name] for name in set(whole) - set(expected))
    if missing or unknown:
        prefix = prefix if any(name.startswith(prefix) for name in tensors) else ""
        missing = [prefixed(prefix, name) for name in missing]
        raise ValueError(f"{path}: expected other tensors: missing {missing}, unknown {unknown}")
    for name, shape in expected.items():
        if tuple(whole[name].get_shape()) != shape:
            raise ValueError(f"{path}: expected {full[name]} {list(shape)}, got {list(whole[name].get_shape())}")
    check_dtypes(path, {full[name]: tensor.get_dtype() for name, tensor in whole.items()}, dtype)
    return tree_of(config, {leaf.path: joined(path, leaf, whole, dtype) for leaf in leaves})


def check_dtypes(path: Path, dtypes: Mapping[str, str], dtype: Any) -> None:
    """Raise unless all are of one floating dtype, or of several where one is asked for."""
    first = {kind: name for name, kind in dtypes.items()}
    found = ", ".join(f"{kind} ({name})" for kind, name in sorted(first.items()))
    if not set(first) <= {"F64", "F32", "F16", "BF16"}:
        raise ValueError(f"{path}: expected floating tensors, got {found}")
    if len(first) > 1 and dtype is None:
        raise ValueError(f"{path}: expected tensors of one dtype, got {found}: give a dtype")


def check_tied(path: Path, config: GPTConfig, tensors: Tensors) -> None:
    """A head that is the embedding may be in the file as well; it is taken out if it is the same."""
    head = tensors.pop("lm_head.weight", None) if config.tied else None
    table = next((tensors[name] for name in ("wte.weight", "embed_tokens.weight") if name in tensors), None)
    if head is not None and table is not None and not np.array_equal(head[:], table[:]):
        raise ValueError(f"{path}: expected lm_head.weight to be the embedding, since they are tied, got another one")


def joined(path: Path, leaf: Leaf, tensors: Tensors, dtype: Any) -> jax.Array:
    """One of our parameters from theirs: transposed, side by side, the blocks stacked."""

    def block(k: int) -> np.ndarray:
        parts = [tensors[name][:] for name, _ in leaf.tensors(k)]
        return np.concatenate([part.T for part in parts] if leaf.transposed else parts, -1)

    blocks = [block(k) for k in range(leaf.blocks or 1)]
    array = np.stack(blocks) if leaf.blocks else blocks[0]
    array = array if dtype is None else array.astype(dtype)
    if jax.dtypes.canonicalize_dtype(array.dtype) != array.dtype:
        raise ValueError(f"{path}: {leaf.path} is {array.dtype}: enable jax_enable_x64, or give a dtype")
    return jnp.asarray(array)


def tree_of(config: GPTConfig, leaves: Mapping[str, Any]) -> Params:
    """Nested dicts for dotted paths, with what has no parameters as `gpt` has it."""
    from .network import gpt

    shapes = jax.eval_shape(gpt(config).init, jax.random.key(0), jax.ShapeDtypeStruct((1,), jnp.int32))[0]
    return jax.tree.unflatten(jax.tree.structure(shapes), [leaves[path] for path, _ in leaves_with_paths(shapes)])


# Writing.


def split_params(config: GPTConfig, params: PyTree) -> Iterator[tuple[str, np.ndarray]]:
    """Their tensors from our parameters, with the prefix of a whole model."""
    prefix, given = PREFIXES[family_of(config)], dict(leaves_with_paths(params))
    expected = {leaf.path: leaf for leaf in leaves_of(config)}
    missing, unknown = sorted(set(expected) - set(given)), sorted(set(given) - set(expected))
    if missing or unknown:
        raise ValueError(f"save_gpt: expected other parameters: missing {missing}, unknown {unknown}")
    for path, leaf in expected.items():
        array = np.asarray(given[path])
        if array.shape != leaf.shape:
            raise ValueError(f"save_gpt: expected {path} {list(leaf.shape)}, got {list(array.shape)}")
        for k in range(leaf.blocks or 1):
            parts = np.split(array[k] if leaf.blocks else array, np.cumsum(leaf.widths)[:-1], -1)
            for (name, _), part in zip(leaf.tensors(k), parts, strict=True):
                yield prefixed(prefix, name), np.ascontiguousarray(part.T if leaf.transposed else part)


def prefixed(prefix: str, name: str) -> str:
    """The name in a whole model, where the head stands beside the rest."""
    return name if name.startswith("lm_head.") else prefix + name
