"""The few S3 requests that starting and checking SeaweedFS needs, signed by botocore."""

import httpx
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

TIMEOUT_SECONDS = 5.0


class SignedRequests:
    """Requests to one endpoint under one long-lived key."""

    def __init__(self, endpoint: str, access_key: str, secret_key: str, region: str) -> None:
        self._endpoint = endpoint
        self._signer = S3SigV4Auth(Credentials(access_key, secret_key), "s3", region)

    async def send(self, method: str, path: str, body: bytes = b"") -> tuple[int, str]:
        """The answer's status and text; status 0 and the reason when there was no answer."""
        url = f"{self._endpoint}/{path}"
        request = AWSRequest(method=method, url=url, data=body)
        self._signer.add_auth(request)
        headers = {name: str(value) for name, value in request.headers.items()}
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_SECONDS) as client:
                answer = await client.request(method, url, content=body, headers=headers)
        except httpx.HTTPError as error:
            return 0, f"{type(error).__name__}: {error}"
        return answer.status_code, answer.text
