"""Datasets and their readers: tables, arrays, images, explicit downloads."""

from torchlean.data.arrays import images, load, npy
from torchlean.data.dataset import Dataset
from torchlean.data.fetch import Source, fetch
from torchlean.data.samples import auto_mpg
from torchlean.data.sources import MNIST
from torchlean.data.table import csv

__all__ = ["MNIST", "Dataset", "Source", "auto_mpg", "csv", "fetch", "images", "load", "npy"]
