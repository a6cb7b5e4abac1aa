"""Checking hand-written gradients: `purenet.check`."""

from .check import check as check
from .report import GradientError as GradientError
from .report import LeafReport as LeafReport
from .report import Report as Report
