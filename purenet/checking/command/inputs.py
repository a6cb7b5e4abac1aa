"""Inputs for targets that bring none: what `--shape` says, by the names of their arguments where it names them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...layer import Layer
from .forms import Job, is_pair, is_rest, names, parameters
from .shapes import Shape, draw
from .usage import UsageError


def with_inputs(jobs: list[Job], shapes: Mapping[str, Shape], seed: int) -> list[Job]:
    """The jobs, with what is drawn for those without an input of their own."""
    known = dict.fromkeys(name for job in jobs if is_bare(job) for name in open_names(job, shapes))
    for name in shapes:
        if name and name not in known:
            raise UsageError(unknown_name(name, list(known)))
    return [with_input(job, shapes, seed) if is_bare(job) else job for job in jobs]


def is_bare(job: Job) -> bool:
    """Whether a target brings no input of its own."""
    return job.arguments.get("x") is None


def with_input(job: Job, shapes: Mapping[str, Shape], seed: int) -> Job:
    """A job with its input drawn; without a shape for it `purenet.check` draws one, for a single argument."""
    random = np.random.default_rng(seed)
    if "" in shapes:
        require_one_argument(job)
        return job._replace(arguments=job.arguments | {"x": draw(shapes[""], random)})
    given = [name for name in open_names(job, shapes) if name in shapes]
    if not given:
        require_one_argument(job)
        return job
    needed = needed_names(job)
    missing = [name for name in needed if name not in given]
    if missing:
        raise UsageError(f"--shape: {job.name} needs {', '.join(missing)}, too: add {missing[0]}=4,8, or its lengths")
    drawn = {name: draw(shapes[name], random) for name in given}
    return job._replace(arguments=job.arguments | arranged(job, drawn, needed))


def arranged(job: Job, drawn: dict[str, Any], needed: list[str]) -> dict[str, Any]:
    """The drawn values as `purenet.check` takes them: x alone, params and x, or x a dict or tuple of all arguments."""
    if not by_name(job):
        params = {"params": drawn[needed[0]]} if len(needed) == 2 else {}
        return {"x": drawn[needed[-1]]} | params
    nameless = any(p.kind in (p.VAR_POSITIONAL, p.POSITIONAL_ONLY) for p in parameters(job.arguments["target"]))
    return {"x": tuple(drawn.values()) if nameless else drawn}


def by_name(job: Job) -> bool:
    """Whether the target is called f(**x)."""
    target = job.arguments["target"]
    return not isinstance(target, Layer) and not is_pair(target) and job.arguments.get("params") is None


def needed_names(job: Job) -> list[str]:
    """Names of the arguments that have to be drawn."""
    target: Any = job.arguments["target"]
    if by_name(job):
        return [p.name for p in parameters(target) if p.default is p.empty and not is_rest(p)]
    if isinstance(target, Layer):
        return ["x"]
    found = names(target[0]) if is_pair(target) else names(target)
    return found[-1:] if job.arguments.get("params") is not None else found[:2]


def open_names(job: Job, shapes: Mapping[str, Shape]) -> list[str]:
    """Names that --shape may give: also those with a default, and any where the function takes any."""
    if not by_name(job):
        return needed_names(job)
    found = parameters(job.arguments["target"])
    own = [p.name for p in found if not is_rest(p)]
    return own + [name for name in shapes if name and name not in own and any(map(is_rest, found))]


def require_one_argument(job: Job) -> None:
    """Raise where a single array cannot be the input."""
    needed = needed_names(job)
    if by_name(job) and len(needed) > 1:
        example = " ".join(f"{name}=4,8" for name in needed)
        raise UsageError(
            f"{job.name} takes {', '.join(needed)}: give a shape for each, such as --shape {example}, or bring the "
            "input as (function, x) with x a tuple or dict of all arguments"
        )


def unknown_name(name: str, known: list[str]) -> str:
    if not known:
        return f"--shape names {name}, but every target brings an input of its own: leave it out"
    close = difflib.get_close_matches(name, known, 1)
    hint = f": did you mean {close[0]}?" if close else ""
    return f"--shape names {name}, which no target takes: expected {', '.join(known)}{hint}"
