"""Writes log objects with the session's temporary keys."""

import threading
import time
from datetime import timedelta

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from openhtc.agent.session import Session
from openhtc.domain.errors import OpenhtcError
from openhtc.domain.work import ObjectStoreAccess

REQUEST_TIMEOUT = timedelta(seconds=15)
CONNECT_TIMEOUT = timedelta(seconds=3)


class StoreAway(OpenhtcError):
    """The object was not written; trying again is safe, the key is never used twice."""

    code = "STORE_AWAY"


class LogStore:
    """Thread-safe."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._access: ObjectStoreAccess | None = None
        self._store: S3Store | None = None
        self._number = 0

    def put(self, data: bytes) -> str:
        """Write one object; its key, which sorts by time. Raises StoreAway."""
        store, access, number = self._current()
        key = f"{access.prefix}{time.time_ns():020d}-{number:06d}"
        try:
            obstore.put(store, key, data)
        except (PermissionDeniedError, UnauthenticatedError) as error:
            self._session.renew_soon()
            raise StoreAway(f"{access.endpoint}: {error}") from error
        except BaseError as error:
            raise StoreAway(f"{access.endpoint}: {error}") from error
        return key

    def _current(self) -> tuple[S3Store, ObjectStoreAccess, int]:
        access = self._session.current.logs
        with self._lock:
            if self._store is None or access != self._access:
                self._store, self._access = _open(access), access
            self._number += 1
            return self._store, access, self._number


def _open(access: ObjectStoreAccess) -> S3Store:
    return S3Store(
        access.bucket,
        endpoint=access.endpoint,
        region=access.region,
        access_key_id=access.access_key_id,
        secret_access_key=access.secret_access_key,
        session_token=access.session_token,
        virtual_hosted_style_request=False,
        client_options={
            "allow_http": True,
            "timeout": REQUEST_TIMEOUT,
            "connect_timeout": CONNECT_TIMEOUT,
        },
        retry_config={"max_retries": 0},
    )
