"""Checking hand-written gradients: `purenet.check` says whether they are right, where they are not, and why."""

from .check import assert_gradients as assert_gradients, check as check
from .diagnose.evidence import Diagnosis as Diagnosis
from .gradient_check import check_gradient as check_gradient
from .report import (
    GradientError as GradientError,
    LayerReport as LayerReport,
    LeafReport as LeafReport,
    Report as Report,
)
from .strength import Mutant as Mutant, MutationReport as MutationReport, mutation_test as mutation_test
