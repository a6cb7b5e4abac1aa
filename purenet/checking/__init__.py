"""Checking hand-written gradients: `purenet.check` says whether they are right, where they are not, and why."""

from .check import assert_gradients as assert_gradients, check as check
from .gradient_check import check_gradient as check_gradient
from .mutation import Mutant as Mutant, MutationReport as MutationReport, mutation_test as mutation_test
from .report import GradientError as GradientError, LayerReport as LayerReport, Report as Report
from .vocabulary import Diagnosis as Diagnosis, LeafReport as LeafReport
