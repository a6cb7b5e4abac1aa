"""purenet.mutation_test: would the check at this probe have noticed a mistake, had you made one?

Mutation testing of a backward pass. Your own backward is recorded, apart from its forward, as a list of steps; one
step at a time gets a mistake that people make (a term or a factor left out, a sign, a sum over the wrong axis, another
value read), the steps after it run again in NumPy, and the gradients that come out are judged as `purenet.check` judges
them. A mutant that gives the same gradient is one this probe cannot see: a scale of ones, a bias of zeros, a symmetric
kernel and a batch of one hide mistakes.
DeMillo, Lipton & Sayward, *Hints on Test Data Selection* (1978).
"""

from .report import Mutant as Mutant, MutationReport as MutationReport
from .testing import mutation_test as mutation_test
