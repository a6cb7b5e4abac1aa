"""Training as one program: `fit` on the host, or its pure parts under your own jit, scan and vmap."""

from .evaluate import make_evaluate as make_evaluate
from .fit import FitResult as FitResult, fit as fit
from .fused_step import make_fused_step as make_fused_step
from .history import History as History, NonFiniteError as NonFiniteError
from .run import make_run as make_run, train as train
from .state import TrainState as TrainState, init_train_state as init_train_state
from .step import make_step as make_step
