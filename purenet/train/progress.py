"""A bar for a person who watches, nothing for anybody else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(total: int, show: bool | None) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """Gives `advance(steps, numbers)`. Shown when a terminal is attached, or as told; by tqdm where it is installed."""
    if not (sys.stderr.isatty() if show is None else show):
        yield lambda steps, numbers: None
        return
    try:
        from tqdm import tqdm
    except ImportError:
        yield plain_line(total)
        print(file=sys.stderr)
        return
    with tqdm(total=total, unit="step", dynamic_ncols=True) as bar:

        def advance(steps: int, numbers: dict[str, float]) -> None:
            bar.set_postfix({name: f"{number:.4g}" for name, number in numbers.items()}, refresh=False)
            bar.update(steps)

        yield advance


def plain_line(total: int) -> Callable[[int, dict[str, float]], None]:
    done = 0

    def advance(steps: int, numbers: dict[str, float]) -> None:
        nonlocal done
        done += steps
        text = "  ".join(f"{name} {number:.4g}" for name, number in numbers.items())
        print(f"\r{done}/{total} steps  {text}", end="", file=sys.stderr, flush=True)

    return advance
