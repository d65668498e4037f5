"""Data that ships with the package."""

from __future__ import annotations

from importlib.resources import files

from torchlean.data.dataset import Dataset
from torchlean.data.table import csv


def auto_mpg() -> Dataset:
    """Fuel consumption of 398 cars of the model years 1970 to 1982; 392 rows are complete, 6 lack the horsepower.

    x       float32 [392, 7]: cylinders, displacement (cubic inches), horsepower, weight (pounds), acceleration (seconds
            from 0 to 60 mph), model_year (of the century), origin (1 America, 2 Europe, 3 Japan)
    y       float32 [392, 1]: mpg (miles per US gallon, in the city)
    Source  R. Quinlan, Auto MPG, UCI Machine Learning Repository, 1993, https://doi.org/10.24432/C5859H; CC BY 4.0
    """
    features = ("cylinders", "displacement", "horsepower", "weight", "acceleration", "model_year", "origin")
    raw = files("torchlean.data").joinpath("auto_mpg.csv").read_bytes()
    return csv(raw, target="mpg", features=features, missing="?")
