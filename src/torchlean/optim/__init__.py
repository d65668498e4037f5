"""Optimizers and learning-rate schedules. An optimizer adds the nodes of its update to a graph."""

from torchlean.optim.adam import Adam, AdamW
from torchlean.optim.optimizer import Optimizer
from torchlean.optim.schedules import Constant, Cosine, Schedule, Step, Warmup
from torchlean.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Constant", "Cosine", "Optimizer", "Schedule", "Step", "Warmup"]
