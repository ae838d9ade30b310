"""Which store holds the files of which region."""

from collections.abc import Mapping, Sequence

from openhtc.objects.store import ObjectStore


class RegionStores:
    """Regions without a store of their own share the default one, which also holds the logs of all regions."""

    def __init__(self, default: ObjectStore, own: Mapping[str, ObjectStore]) -> None:
        self.default = default
        self._own = dict(own)

    def of(self, region: str) -> ObjectStore:
        return self._own.get(region, self.default)

    def all(self) -> Sequence[ObjectStore]:
        """Every store once."""
        return [self.default, *self._own.values()]
