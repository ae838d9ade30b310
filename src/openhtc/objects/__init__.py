"""Files and logs: an S3 bucket with signed URLs and temporary keys."""

from openhtc.objects.connection import ensure_bucket
from openhtc.objects.grants import Grant
from openhtc.objects.store import ObjectStore, StoredObject
from openhtc.objects.temporary import TemporaryKeys

__all__ = ["Grant", "ObjectStore", "StoredObject", "TemporaryKeys", "ensure_bucket"]
