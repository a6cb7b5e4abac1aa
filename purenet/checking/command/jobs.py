"""What to check: the library's catalogue, or what the caller's `module:name` stand for."""

from __future__ import annotations

import argparse

import jax.numpy as jnp

from ...catalogue import catalogue, input_of
from .forms import Job
from .inputs import with_inputs
from .loading import load
from .shapes import sorted_out
from .usage import UsageError


def jobs_of(options: argparse.Namespace) -> list[Job]:
    """The caller's targets with what the options say about all of them, or the library's."""
    seed = options.seed or 0
    chosen = {} if options.seed is None else {"seed": options.seed}
    chosen |= {} if options.dtype is None else {"dtype": jnp.dtype(options.dtype)}
    shapes, others = sorted_out(options.shape)
    if targets := [*options.targets, *others]:
        jobs = with_inputs([job for target in targets for job in load(target)], shapes, seed)
        return [job._replace(arguments=job.arguments | chosen) for job in jobs]
    if shapes:
        raise UsageError("--shape is for your own targets: purenet's have inputs of their own")
    return [
        Job(row.name, {"target": row.layer, "x": input_of(row, seed), "verbose": False} | chosen) for row in catalogue()
    ]
