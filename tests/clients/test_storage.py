"""P29 to P31: regions and storage, with boto3 on the keys that the client fetched."""

from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.exceptions import ClientError
from rescalehtc import HtcSession, api
from rescalehtc.exceptions import HtcException
from rescalehtc.htcprojects import HtcProject
from rescalehtc.htctasks import HtcTask

REGIONS = ("AWS_US_WEST_2", "GCP_US_CENTRAL_1")


def s3(credentials: dict[str, str], endpoint: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=credentials["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=credentials["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=credentials["AWS_SESSION_TOKEN"],
    )


def split(address: str) -> tuple[str, str]:
    bucket, _, key = address.removeprefix("s3://").partition("/")
    return bucket, key


@pytest.fixture(scope="module")
def two_regions(htc: HtcSession) -> HtcProject:
    body = {"projectName": "everywhere", "projectDescription": "", "regions": list(REGIONS)}
    return HtcProject(api.post_htc_projects(htc, body))


def test_p29_regions_and_their_storage(htc: HtcSession) -> None:
    regions = {region["region"]: region for region in api.get_htc_regions(htc)}
    assert set(REGIONS) <= set(regions)
    for name in REGIONS:
        assert regions[name]["enabled"] is True and regions[name]["supportedArchitectures"]
        assert api.get_htc_regions(htc, name) == regions[name]
    options = {option["region"]: option for option in api.get_htc_storage(htc)}
    assert set(options) == set(REGIONS)
    for name in REGIONS:
        assert api.get_htc_storage_region(htc, name) == options[name]
    for unknown in ("AWS_EU_NORTH_1", "MARS"):
        with pytest.raises(HtcException) as refused:
            api.get_htc_storage_region(htc, unknown)
        assert refused.value.status_code == 404


def test_p30_a_project_s_files_in_every_region(htc: HtcSession, two_regions: HtcProject) -> None:
    project = two_regions.json["projectId"]
    tokens = api.get_htc_projects_storage_tokens(htc, project)
    assert tokens["defaultRegion"] == REGIONS[0]
    stores = {token["region"]: token for token in tokens["regionStores"]}
    assert tuple(stores) == REGIONS
    assert stores[REGIONS[0]]["storageName"] != stores[REGIONS[1]]["storageName"]
    assert api.get_htc_projects_storage_token(htc, project)["region"] == REGIONS[0]
    for name in REGIONS:
        token = api.get_htc_projects_storage_token(htc, project, name)
        bucket, folder = split(token["projectSharedStoragePath"])
        key = f"{folder}{uuid4()}"
        client = s3(stores[name]["credentials"], token["endpoint"])
        client.put_object(Bucket=bucket, Key=key, Body=name.encode())
        again = s3(token["credentials"], token["endpoint"])
        assert again.get_object(Bucket=bucket, Key=key)["Body"].read() == name.encode()
        other = s3(stores[REGIONS[REGIONS[0] == name]]["credentials"], token["endpoint"])
        with pytest.raises(ClientError, match="AccessDenied"):
            other.get_object(Bucket=bucket, Key=key)


def test_p30_a_task_s_files(htc: HtcSession, htc_task: HtcTask) -> None:
    project, task = htc_task.project.json["projectId"], htc_task.json["taskId"]
    token = api.get_htc_projects_tasks_storage_token(htc, project, task)
    (same,) = api.get_htc_projects_tasks_storage_tokens(htc, project, task)["regionStores"]
    regional = api.get_htc_projects_tasks_storage_regional_storage(htc, project, task)
    (store,) = regional["regionalStores"]
    assert regional["rescaleRegion"] == token["region"] == store["region"] == same["region"]
    assert store["taskPath"] == token["storagePath"] == same["storagePath"]
    bucket, folder = split(store["taskPath"])
    s3(store["credentials"], token["endpoint"]).put_object(Bucket=bucket, Key=f"{folder}a/b", Body=b"mine")
    client = s3(token["credentials"], token["endpoint"])
    assert client.get_object(Bucket=bucket, Key=f"{folder}a/b")["Body"].read() == b"mine"
    listed = client.list_objects_v2(Bucket=bucket, Prefix=folder)["Contents"]
    assert [item["Key"] for item in listed] == [f"{folder}a/b"]


def test_p31_the_client_cannot_name_a_file(htc: HtcSession, htc_task: HtcTask) -> None:
    project, task = htc_task.project.json["projectId"], htc_task.json["taskId"]
    for call in (
        lambda: api.get_htc_projects_storage_presigned_url(htc, project),
        lambda: api.get_htc_projects_tasks_storage_presigned_url(htc, project, task),
    ):
        with pytest.raises(HtcException) as refused:
            call()
        assert refused.value.status_code == 400
        assert "filePath" in str(refused.value)
