"""Quantization: quantizers, their calibration, quantized programs, and how far these are from the float32 ones."""

from torchlean.quant.calibrate import METHODS, calibrate
from torchlean.quant.difference import Difference, Step, difference
from torchlean.quant.program import ACTIVATIONS, WEIGHTS, quantize_program
from torchlean.quant.quantizer import Quantizer
from torchlean.quant.size import Stored, stored

__all__ = [
    "ACTIVATIONS",
    "METHODS",
    "WEIGHTS",
    "Difference",
    "Quantizer",
    "Step",
    "Stored",
    "calibrate",
    "difference",
    "quantize_program",
    "stored",
]
