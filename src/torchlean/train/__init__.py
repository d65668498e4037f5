"""Training: the trainer, losses, metrics, checkpoints and logs."""

from torchlean.train import losses, metrics
from torchlean.train.baseline import LinearBaseline, linear_baseline
from torchlean.train.checkpoint import Checkpoint, load_checkpoint
from torchlean.train.log import read_log
from torchlean.train.metrics import Metrics
from torchlean.train.predict import predict
from torchlean.train.run import History, Probe, Run, evaluate
from torchlean.train.trainer import Trainer

__all__ = [
    "Checkpoint", "History", "LinearBaseline", "Metrics", "Probe", "Run", "Trainer", "evaluate", "linear_baseline",
    "load_checkpoint", "losses", "metrics", "predict", "read_log",
]  # fmt: skip
