"""Data sets of the Hugging Face library `datasets`, wherever manifests are accepted."""

from .loading import dataset_identity, read_dataset
from .reference import DatasetReference, is_dataset
from .rows import utterances_from

__all__ = ["DatasetReference", "dataset_identity", "is_dataset", "read_dataset", "utterances_from"]
