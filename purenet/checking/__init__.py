"""Checking hand-written gradients: `purenet.check` says whether they are right, where they are not, and why."""

from .check import assert_gradients as assert_gradients
from .check import check as check
from .diagnose.evidence import Diagnosis as Diagnosis
from .gradient_check import check_gradient as check_gradient
from .report import GradientError as GradientError
from .report import LayerReport as LayerReport
from .report import LeafReport as LeafReport
from .report import Report as Report
from .strength import Mutant as Mutant
from .strength import StrengthReport as StrengthReport
from .strength import check_strength as check_strength
