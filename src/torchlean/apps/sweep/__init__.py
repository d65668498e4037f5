"""Every instance of a VNN-COMP list, each as a whole process under a hard wall clock; a results file that survives."""

from torchlean.apps.sweep.instances import Instance, read_instances
from torchlean.apps.sweep.one import Paths, Row, Settings, run_one
from torchlean.apps.sweep.process import Processes, Stopped
from torchlean.apps.sweep.record import machine, make_record
from torchlean.apps.sweep.results import Results
from torchlean.apps.sweep.summary import Summary, summarise
from torchlean.apps.sweep.sweep import Engine, Local, sweep

__all__ = [
    "Engine",
    "Instance",
    "Local",
    "Paths",
    "Processes",
    "Results",
    "Row",
    "Settings",
    "Stopped",
    "Summary",
    "machine",
    "make_record",
    "read_instances",
    "run_one",
    "summarise",
    "sweep",
]
