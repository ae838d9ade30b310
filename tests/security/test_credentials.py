"""Forged tokens, credentials in the wrong place, and other people's ids: all of it ends at the door."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator

import botocore.session
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from joserfc import jwt
from joserfc.jwk import RSAKey

from ..stack import IMAGE, Api, Json, Stack, Task, User, batch, ok, shell

BUCKET = "openhtc"


def encoded(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(part: str) -> Json:
    found: Json = json.loads(base64.urlsafe_b64decode(part + "=="))
    return found


def status_with(stack: Stack, bearer: str) -> int:
    headers = {"Authorization": f"Bearer {bearer}"}
    return httpx.get(f"{stack.base_url}/htc/projects", headers=headers, trust_env=False).status_code


@pytest.fixture(scope="module")
def victim(connect_as: Callable[[User], Api], stranger: User) -> Json:
    """A project with a task of another workspace, whose admin is the stranger."""
    api = connect_as(stranger)
    made = api.new_project("of the other workspace")
    task = api.new_task(made["projectId"])
    return {**made, "taskId": task.task_id}


@pytest.fixture(scope="module")
def job_secrets(alice_api: Api, project: Json) -> Iterator[tuple[Task, list[str]]]:
    """The bearer token and the refresh token of a job that runs, and its task."""
    task = alice_api.new_task(project["projectId"], "prying job")
    script = "echo $RESCALE_HTC_BEARER_TOKEN; echo $RESCALE_HTC_REFRESH_TOKEN; echo ready; sleep 300"
    job = task.submit_one(shell(script))
    yield task, task.wait_for_line(job, "ready")[:2]
    task.cancel()


def test_a_token_without_a_signature_is_refused(stack: Stack, alice_api: Api) -> None:
    head, claims, signature = alice_api.bearer.split(".")
    kid = decoded(head)["kid"]
    for algorithm in ("none", "None", "NONE", ""):
        assert status_with(stack, f"{encoded({'alg': algorithm, 'kid': kid})}.{claims}.") == 401
    assert status_with(stack, f"{head}.{claims}.") == 401
    assert status_with(stack, f"{head}.{encoded({**decoded(claims), 'sub': 'another'})}.{signature}") == 401


def test_our_public_key_is_no_shared_secret(stack: Stack, alice_api: Api) -> None:
    head, claims, _ = alice_api.bearer.split(".")
    known = ok(httpx.get(f"{stack.base_url}/.well-known/jwks.json", trust_env=False))["keys"][0]
    pem = RSAKey.import_key(known).as_pem(private=False)
    for secret in (pem, pem.strip(), json.dumps(known).encode(), b""):
        text = f"{encoded({'alg': 'HS256', 'kid': decoded(head)['kid']})}.{claims}"
        seal = hmac.new(secret, text.encode(), hashlib.sha256).digest()
        assert status_with(stack, f"{text}.{encoded(seal)}") == 401


def test_a_token_does_not_bring_its_own_key(stack: Stack, alice_api: Api) -> None:
    head, claims, _ = alice_api.bearer.split(".")
    own = RSAKey.generate_key(2048)
    for more in ({}, {"jwk": own.as_dict(private=False)}, {"jku": "http://127.0.0.1:1/"}):
        forged = jwt.encode({"alg": "RS256", "kid": decoded(head)["kid"], **more}, decoded(claims), own)
        assert status_with(stack, forged) == 401


@pytest.mark.parametrize("kid", ["../../key", "' OR 1=1 --", "\0", None, 5, {"a": 1}, [], "a" * 30_000])
def test_an_odd_key_id_is_only_unknown(stack: Stack, alice_api: Api, kid: object) -> None:
    _, claims, signature = alice_api.bearer.split(".")
    assert status_with(stack, f"{encoded({'alg': 'RS256', 'kid': kid})}.{claims}.{signature}") == 401


def test_each_kind_of_credential_opens_only_its_own_door(
    stack: Stack, alice: User, alice_api: Api, project: Json, job_secrets: tuple[Task, list[str]]
) -> None:
    path = f"/htc/projects/{project['projectId']}/container-registry/token"
    agent_key = (stack.data / "agent/key").read_text().strip()
    bearers = (alice.api_key, alice_api.get(path).text, agent_key, job_secrets[1][1])
    assert [status_with(stack, secret) for secret in bearers] == [401] * len(bearers)

    def answers(url: str, authorization: str) -> int:
        return httpx.get(url, headers={"Authorization": authorization}, trust_env=False).status_code

    for secret in (agent_key, job_secrets[1][0], job_secrets[1][1], alice_api.bearer):
        assert answers(f"{stack.base_url}/auth/token", f"Token {secret}") == 401
    basic = base64.b64encode(f"AWS:{alice_api.bearer}".encode()).decode()
    assert answers(f"{stack.root_url}/registry/token", f"Basic {basic}") == 401
    for operation in ("session", "renew", "lease", "report"):
        for header in (f"Bearer {alice_api.bearer}", f"Token {alice.api_key}", f"Bearer {job_secrets[1][0]}"):
            url = f"{stack.agents_url}/agent/v1/{operation}"
            answer = httpx.post(url, headers={"Authorization": header}, json={}, trust_env=False)
            assert answer.status_code == 401, (operation, header[:10], answer.text)


def test_a_job_only_reads_in_its_task(
    stack: Stack, alice_api: Api, project: Json, job_secrets: tuple[Task, list[str]]
) -> None:
    own, (bearer, _) = job_secrets
    other = alice_api.new_task(project["projectId"], "beside it")
    elsewhere = alice_api.new_task(alice_api.new_project("beside it")["projectId"])
    with Api(stack, bearer) as job:
        assert job.get(own.path).status_code == 200
        for task in (other, elsewhere):
            for path in (task.path, f"{task.path}/jobs", f"{task.path}/storage/token"):
                assert job.get(path).status_code in (403, 404), path
        assert job.post(f"{own.path}/jobs/batch", json=[batch("true")]).status_code == 403
        assert job.post(f"{own.path}/jobs/cancel").status_code == 403
        assert job.get(f"/htc/projects/{own.project_id}/container-registry/token").status_code == 403
        assert job.get(f"/htc/projects/{own.project_id}/storage/presigned-url?filePath=a").status_code == 200
        outside = f"/htc/projects/{elsewhere.project_id}/storage/presigned-url?filePath=a"
        assert job.get(outside).status_code == 403


def test_ids_of_another_workspace_lead_nowhere(alice_api: Api, project: Json, victim: Json) -> None:
    theirs, task = victim["projectId"], victim["taskId"]
    for path in (
        f"/htc/projects/{theirs}",
        f"/htc/projects/{theirs}/tasks/{task}/jobs",
        f"/htc/projects/{theirs}/storage/token",
        f"/htc/projects/{theirs}/tasks/{task}/storage/presigned-url?filePath=a",
        f"/htc/projects/{theirs}/container-registry/token",
        f"/htc/projects/{project['projectId']}/tasks/{task}",
        f"/htc/projects/{project['projectId']}/tasks/{task}/jobs",
        f"/htc/projects/{project['projectId']}/tasks/{task}/storage/token",
    ):
        assert alice_api.get(path).status_code in (403, 404), path


def test_the_registry_gives_nothing_of_another_project(alice_api: Api, project: Json, victim: Json) -> None:
    host = project["containerRegistry"].split("/")[0]
    own, theirs = project["projectId"], victim["projectId"]
    password = alice_api.get(f"/htc/projects/{own}/container-registry/token").text
    basic = base64.b64encode(f"AWS:{password}".encode()).decode()

    def granted(*scopes: str) -> tuple[str, list[Json]]:
        answer = httpx.get(
            f"{str(alice_api.base_url).split('/api/')[0]}/registry/token",
            params={"service": "openhtc-registry", "scope": list(scopes)},
            headers={"Authorization": f"Basic {basic}"},
            trust_env=False,
        )
        token = ok(answer)["token"]
        return token, decoded(token.split(".")[1])["access"]

    for scope in (
        f"repository:aws.com/{theirs}/app:pull",
        f"repository:aws.com/{own}/../{theirs}/app:pull",
        f"repository(plugin):aws.com/{theirs}/app:pull",
        f"repository:{host}/aws.com/{theirs}/app:pull",
        "registry:catalog:*",
        f"repository:aws.com/{own}/:pull",
    ):
        assert granted(scope)[1] == [], scope
    repository = f"aws.com/{own}/bb"
    token, _ = granted(f"repository:{repository}:pull,push", f"repository:aws.com/{theirs}/app:pull")
    with httpx.Client(
        base_url=f"http://{host}/v2", headers={"Authorization": f"Bearer {token}"}, trust_env=False
    ) as registry:
        digest = "sha256:" + "0" * 64
        mount = f"/{repository}/blobs/uploads/?mount={digest}&from=aws.com/{theirs}/app"
        assert registry.post(mount).status_code == 401
        assert registry.get(f"/aws.com/{theirs}/app/manifests/1").status_code == 401
        assert registry.get("/_catalog").status_code == 401


def s3_of(answer: Json, service: str = "s3") -> object:
    keys = answer["credentials"]
    return botocore.session.Session().create_client(
        service,
        endpoint_url=answer["endpoint"],
        region_name="us-east-1",
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=keys["AWS_SESSION_TOKEN"],
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


def test_temporary_keys_end_at_their_prefix(
    alice_api: Api, project: Json, task: Task, connect_as: Callable[[User], Api], stranger: User, victim: Json
) -> None:
    theirs = f"projects/{victim['projectId']}"
    owner = s3_of(ok(connect_as(stranger).get(f"/htc/projects/{victim['projectId']}/storage/token")))
    owner.put_object(Bucket=BUCKET, Key=f"{theirs}/shared/secret", Body=b"secret")  # type: ignore[attr-defined]
    given = ok(alice_api.get(f"{task.path}/storage/token"))
    mine, keys = given["storagePath"].removeprefix(f"s3://{BUCKET}/"), s3_of(given)
    up = f"{mine}../../../{victim['projectId']}/shared/secret"
    source = {"Bucket": BUCKET, "Key": f"{theirs}/shared/secret"}
    for call, arguments in (
        ("get_object", {"Key": f"{theirs}/shared/secret"}),
        ("head_object", {"Key": f"{theirs}/shared/secret"}),
        ("put_object", {"Key": f"{theirs}/shared/planted", "Body": b"x"}),
        ("delete_object", {"Key": f"{theirs}/shared/secret"}),
        ("get_object", {"Key": up}),
        ("put_object", {"Key": up, "Body": b"x"}),
        ("copy_object", {"Key": f"{mine}stolen", "CopySource": source}),
        ("get_object", {"Key": "logs/1/x"}),
        ("list_objects_v2", {}),
        ("list_objects_v2", {"Prefix": "projects/"}),
        ("list_objects_v2", {"Prefix": f"{theirs}/"}),
        ("list_objects_v2", {"Prefix": "logs/"}),
        ("list_object_versions", {"Prefix": f"{theirs}/"}),
        ("list_multipart_uploads", {}),
        ("put_bucket_policy", {"Policy": "{}"}),
        ("delete_bucket", {}),
    ):
        with pytest.raises(ClientError):
            getattr(keys, call)(Bucket=BUCKET, **arguments)
            pytest.fail(f"{call} {arguments} was allowed")
    removed = keys.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": f"{theirs}/shared/secret"}]})  # type: ignore[attr-defined]
    assert removed["Errors"][0]["Code"] == "AccessDenied"
    kept = owner.get_object(Bucket=BUCKET, Key=f"{theirs}/shared/secret")  # type: ignore[attr-defined]
    assert kept["Body"].read() == b"secret"


def test_temporary_keys_do_not_breed(alice_api: Api, task: Task) -> None:
    given = ok(alice_api.get(f"{task.path}/storage/token"))
    tokens, users = s3_of(given, "sts"), s3_of(given, "iam")
    role = "arn:aws:iam::role/openhtc"
    for client, call, arguments in (
        (tokens, "assume_role", {"RoleArn": role, "RoleSessionName": "again"}),
        (tokens, "get_federation_token", {"Name": "again"}),
        (users, "create_user", {"UserName": "mallory"}),
        (users, "create_access_key", {"UserName": "openhtc"}),
        (users, "list_users", {}),
    ):
        with pytest.raises(ClientError):
            getattr(client, call)(**arguments)
            pytest.fail(f"{call} was allowed")


def test_an_image_name_is_nothing_but_a_name(alice_api: Api, task: Task) -> None:
    for name in (
        f"../bb/{IMAGE}",
        f"x/../../{IMAGE}",
        "http://127.0.0.1:1/x:1",
        "bb@sha256:" + "0" * 64,
        "bb:v1?a=b",
    ):
        answer = alice_api.post(f"{task.path}/jobs/batch", json=[batch("true", image=name)])
        assert answer.status_code in (400, 404), (name, answer.text)
