"""Strict JAX for every test: no silent broadcasting, no silent promotion, typed keys used once, warnings are errors.

A first run, `pytest`, takes the first case of each test, and all cases of the TABLES; the others are in the complete
set, and so is a test marked `complete`. Tests that share compiled programs run in one process: those of one row of
the catalogue, else those of one file.
"""

import os
from collections import Counter
from pathlib import Path
from typing import Any

from compile_flags import FLAGS

os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *FLAGS])

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_legacy_prng_key", "error")
jax.config.update("jax_debug_key_reuse", True)

# Compiled programs are kept, so that a second run takes half the time: in pytest's cache, `--cache-clear` empties it.
# A folder for each process, since JAX writes its files without a lock.
PROGRAMS = Path(__file__).parent.parent / ".pytest_cache/d/programs" / os.environ.get("PYTEST_XDIST_WORKER", "main")
jax.config.update("jax_compilation_cache_dir", str(PROGRAMS))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


TABLES = ("properties", "errors", "activations", "summary", "guide", "docs", "diagnosis")


def shared(nodeid: str) -> str:
    """What a test's compiled programs are shared within: a row of test_properties.py, else a file."""
    path, _, test = nodeid.partition("::")
    if not path.endswith("test_properties.py"):
        return path
    return test.partition("[")[2].removesuffix("]").split("-")[-1]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Whole files and rows to a process. (xdist 3.8 forgets its own groups under pytest 9.2.)"""
    from xdist.scheduler import LoadScopeScheduling

    class Sharing(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return shared(nodeid)

    return Sharing(config, log)


@pytest.hookimpl(tryfirst=True)  # before `-m` looks at the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files first and the many short rows last, so that all processes end together."""
    before: Counter[str] = Counter()
    for item in items:
        test = item.nodeid.partition("[")[0]
        if before[test] and item.path.stem.removeprefix("test_") not in TABLES:
            item.add_marker("complete")
        before[test] += 1
    items.sort(key=lambda item: item.path.name == "test_properties.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bytes", action="store_true", help="print the table of bytes that test_properties.py compares")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if not config.getoption("--bytes"):
        return
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    rows = {report.nodeid: dict(report.user_properties)["bytes"] for report in reports if report.user_properties}
    write = terminalreporter.write_line
    write(f"{'bytes: temporary, by hand and by jax.vjp; kept between forward and backward':>76}")
    for name, numbers in sorted(rows.items()):
        write(f"{name.split('[')[1][:-1]:34}" + "".join(f"{number:14,}" for number in numbers))
