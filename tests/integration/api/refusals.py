"""What every refusal looks like."""

import httpx

MEMBERS = {"error", "errorType", "errorDescription", "message"}


def refused(answer: httpx.Response, status: int, code: str = "") -> str:
    """The text of an answer that must be a refusal with this status."""
    assert answer.status_code == status, (
        f"{answer.request.method} {answer.url}: {answer.status_code} {answer.text}"
    )
    assert answer.headers["content-type"].startswith("application/json")
    body = answer.json()
    assert set(body) == MEMBERS
    assert all(isinstance(value, str) and value for value in body.values()), body
    assert body["error"] == body["errorType"]
    assert body["errorDescription"] == body["message"]
    if code:
        assert body["error"] == code
    if status == 401:
        assert "www-authenticate" in answer.headers
    return str(body["message"])
