"""What the object store's refusals mean to our callers."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from openhtc.domain.errors import InvalidRequest, NotFound, OpenhtcError, Unavailable


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn what the store's libraries raise into our errors; ``doing`` names the attempt and its object."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"The object store has no such object ({doing}).") from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise Unavailable(f"The object store refused our keys ({doing}): {first_line(error)}") from error
    except (BaseError, OSError) as error:
        raise Unavailable(f"The object store does not answer ({doing}): {first_line(error)}") from error
    except (BotoCoreError, ClientError) as error:
        raise Unavailable(f"The object store refused ({doing}): {first_line(error)}") from error


def bad_key(key: str) -> OpenhtcError:
    return InvalidRequest(
        f"{key!r} cannot be the key of an object: no part between slashes may be empty, '.' or '..', "
        "and control characters are not allowed"
    )


def first_line(error: BaseException) -> str:
    """The beginning of an error's text: the rest of it repeats the request in many lines."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
