"""Datasets and their readers: tables, arrays, images, explicit downloads."""

from torchlean.data.arrays import images, load
from torchlean.data.dataset import Dataset
from torchlean.data.fetch import Source, fetch
from torchlean.data.samples import auto_mpg
from torchlean.data.table import csv

__all__ = ["Dataset", "Source", "auto_mpg", "csv", "fetch", "images", "load"]
