"""Everything that can be refused, as one tree.

OpenhtcError
 +-- InvalidRequest      400  the request says something that cannot be
 |    +-- ImageUnavailable  400 at submission, 404 when asked for
 +-- Unauthorized        401
 +-- Forbidden           403
 +-- NotFound            404
 +-- Unavailable         503  a part we depend on does not answer
 +-- SettingsError       --   a program cannot start like this

The code is for programs and stable; the message is for people and names the field, the value and
what was expected.
"""


class OpenhtcError(Exception):
    """A refusal with a stable code."""

    code = "INTERNAL_ERROR"
    status = 500

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class InvalidRequest(OpenhtcError):
    code = "INVALID_REQUEST"
    status = 400


class ImageUnavailable(InvalidRequest):
    """The image does not exist in the project's registry. ``status`` is 404 when it was asked for by name."""

    code = "IMAGE_UNAVAILABLE"

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Unauthorized(OpenhtcError):
    code = "UNAUTHORIZED"
    status = 401


class Forbidden(OpenhtcError):
    code = "FORBIDDEN"
    status = 403


class NotFound(OpenhtcError):
    code = "NOT_FOUND"
    status = 404


class Unavailable(OpenhtcError):
    code = "SERVICE_UNAVAILABLE"
    status = 503


class SettingsError(OpenhtcError):
    """A program cannot start: a setting, a file, a port or another program is not as it must be."""

    code = "SETTINGS"
