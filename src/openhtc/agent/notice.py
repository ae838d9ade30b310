"""A cloud's notice that it is about to take the node away, asked for at the node's metadata service."""

import threading
from collections.abc import Callable, Mapping
from functools import partial

import httpx
import msgspec
import structlog

from openhtc.lifecycle.stopping import Stop

ASK_SECONDS = 2.0
"""The shortest notice, Google's and Azure's, comes half a minute before the end."""
_TIMEOUT = httpx.Timeout(5.0)
_AZURE_EVENTS, _AZURE_INSTANCE = "2020-07-01", "2021-02-01"
"""Each of the two has versions of its own."""

logger = structlog.get_logger(__name__)

Ask = Callable[[httpx.Client], str | None]
"""What the notice says, or None while there is none. Raises httpx.HTTPError, and ValueError for nonsense."""


class _Event(msgspec.Struct, rename="pascal"):
    event_type: str
    resources: list[str] = []
    not_before: str = ""


class _Events(msgspec.Struct, rename="pascal"):
    events: list[_Event] = []


def _aws(http: httpx.Client) -> str | None:
    """EC2: nothing is there until two minutes before. The session token is asked for each time: it costs nothing."""
    token = http.put("/latest/api/token", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"})
    token.raise_for_status()
    found = http.get(
        "/latest/meta-data/spot/instance-action", headers={"X-aws-ec2-metadata-token": token.text}
    )
    if found.status_code == httpx.codes.NOT_FOUND:
        return None
    return found.raise_for_status().text


def _gcp(http: httpx.Client) -> str | None:
    """Compute Engine: TRUE from half a minute before."""
    found = http.get("/computeMetadata/v1/instance/preempted", headers={"Metadata-Flavor": "Google"})
    return "preempted" if found.raise_for_status().text.strip() == "TRUE" else None


def _azure(http: httpx.Client) -> str | None:
    """Azure: an event of the kind Preempt that names this machine, half a minute before or more."""
    asked = partial(http.get, headers={"Metadata": "true"})
    found = asked("/metadata/scheduledevents", params={"api-version": _AZURE_EVENTS})
    events = msgspec.json.decode(found.raise_for_status().content, type=_Events).events
    if not (ends := [event for event in events if event.event_type == "Preempt"]):
        return None
    version = {"api-version": _AZURE_INSTANCE, "format": "text"}
    name = asked("/metadata/instance/compute/name", params=version).raise_for_status().text.strip()
    return next((f"Preempt {event.not_before}" for event in ends if name in event.resources), None)


CLOUDS: Mapping[str, Ask] = {"aws": _aws, "gcp": _gcp, "azure": _azure}


def watch(cloud: str, url: str, stop: Stop, every_seconds: float = ASK_SECONDS) -> threading.Thread:
    """Begin to ask, until the agent ends or the notice is there; the notice stops the agent for good."""
    thread = threading.Thread(
        target=_watch, args=(CLOUDS[cloud], url, stop, every_seconds), name="notice", daemon=True
    )
    thread.start()
    return thread


def _watch(ask: Ask, url: str, stop: Stop, every_seconds: float) -> None:
    answers = True
    with httpx.Client(base_url=url, timeout=_TIMEOUT, trust_env=False) as http:
        while not stop.at_once:
            try:
                notice = ask(http)
            except (httpx.HTTPError, ValueError) as error:
                if answers:  # said once, not every two seconds
                    logger.warning("no_metadata_service", url=url, error=str(error) or type(error).__name__)
                answers = False
            else:
                answers = True
                if notice is not None:
                    logger.warning("node_is_taken_away", notice=notice[:200])
                    stop.announce()
                    return
            if stop.wait_at_once(every_seconds):
                return
