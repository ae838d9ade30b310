"""Storage keys in the hands of the AWS CLI and boto3: everything inside their folder, nothing outside it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from ..stack import Api, Json, Stack, Task, ok, shell

SECOND_BUCKET = "openhtc-gcp-us-central-1"


class Cli:
    """`aws` with the keys of a storage token and nothing else."""

    def __init__(self, token: Json, home: Path) -> None:
        self._env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "AWS_ENDPOINT_URL_S3": token["endpoint"],
            "AWS_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
            **token["credentials"],
        }

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).parent / "aws"), *arguments]
        return subprocess.run(command, env=self._env, capture_output=True, text=True, check=False)


@pytest.fixture
def token(task: Task) -> Json:
    found: Json = ok(task.api.get(f"{task.path}/storage/token"))
    return found


@pytest.fixture
def neighbour(alice_api: Api, project: Json) -> Json:
    """The token of another task of the same project, with one file in its folder."""
    other = alice_api.new_task(project["projectId"], "beside it")
    found: Json = ok(alice_api.get(f"{other.path}/storage/token"))
    bucket, folder = place(found)
    client(found).put_object(Bucket=bucket, Key=f"{folder}secret", Body=b"secret")
    return found


def place(token: Json) -> tuple[str, str]:
    bucket, _, folder = token["storagePath"].removeprefix("s3://").partition("/")
    return bucket, folder


def client(token: Json) -> Any:
    keys = token["credentials"]
    return boto3.client(
        "s3",
        endpoint_url=token["endpoint"],
        region_name="us-east-1",
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=keys["AWS_SESSION_TOKEN"],
    )


def test_the_aws_cli_works_inside_the_folder(token: Json, tmp_path: Path) -> None:
    aws, folder = Cli(token, tmp_path), token["storagePath"]
    (tmp_path / "in").write_text("hello")
    for arguments in (
        ("s3", "cp", str(tmp_path / "in"), f"{folder}a/one"),
        ("s3", "sync", str(tmp_path), f"{folder}synced/", "--exclude", "*", "--include", "in"),
        ("s3", "cp", f"{folder}a/one", f"{folder}a/two"),
        ("s3", "cp", f"{folder}a/two", str(tmp_path / "out")),
        ("s3", "rm", f"{folder}a/one"),
    ):
        done = aws(*arguments)
        assert done.returncode == 0, (arguments, done.stderr)
    assert (tmp_path / "out").read_text() == "hello"
    listed = aws("s3", "ls", "--recursive", folder).stdout
    assert sorted(line.split()[-1].rpartition("/")[2] for line in listed.splitlines()) == ["in", "two"]
    shared = aws("s3", "cp", str(tmp_path / "in"), f"{token['projectSharedStoragePath']}for all")
    assert shared.returncode == 0, shared.stderr


def test_the_aws_cli_does_not_leave_it(token: Json, neighbour: Json, project: Json, tmp_path: Path) -> None:
    aws, mine = Cli(token, tmp_path), token["storagePath"]
    bucket = place(token)[0]
    theirs = neighbour["storagePath"]
    (tmp_path / "x").write_text("x")
    for arguments in (
        ("s3", "ls", f"s3://{bucket}/"),
        ("s3", "ls", theirs),
        ("s3", "cp", f"{theirs}secret", str(tmp_path / "stolen")),
        ("s3", "cp", f"{theirs}secret", f"{mine}stolen"),
        ("s3", "mv", f"{mine}../{theirs.rsplit('/', 2)[1]}/secret", str(tmp_path / "stolen")),
        ("s3", "cp", str(tmp_path / "x"), f"{theirs}planted"),
        ("s3", "rm", f"{theirs}secret"),
        ("s3", "cp", str(tmp_path / "x"), f"s3://{bucket}/projects/{project['projectId']}/beside"),
        ("s3", "ls", f"s3://{SECOND_BUCKET}/"),
        ("s3", "cp", str(tmp_path / "x"), f"s3://{SECOND_BUCKET}/{place(token)[1]}x"),
        ("s3", "mb", "s3://a-bucket-of-my-own"),
        ("s3", "rb", f"s3://{bucket}"),
    ):
        done = aws(*arguments)
        assert done.returncode != 0, f"{' '.join(arguments)} was allowed: {done.stdout}"
    assert aws("s3", "ls").stdout == "", "no bucket shows"
    assert not (tmp_path / "stolen").exists()
    kept = client(neighbour).get_object(Bucket=bucket, Key=f"{place(neighbour)[1]}secret")
    assert kept["Body"].read() == b"secret"


def test_boto3_uploads_in_parts_inside_and_not_outside(token: Json, neighbour: Json, tmp_path: Path) -> None:
    mine, (bucket, folder) = client(token), place(token)
    large = tmp_path / "large"
    large.write_bytes(os.urandom(1024) * 12 * 1024)
    parts = TransferConfig(multipart_threshold=5 * 1024**2, multipart_chunksize=5 * 1024**2)
    mine.upload_file(str(large), bucket, f"{folder}large", Config=parts)
    mine.download_file(bucket, f"{folder}large", str(tmp_path / "back"), Config=parts)
    assert (tmp_path / "back").read_bytes() == large.read_bytes()
    outside = f"{place(neighbour)[1]}large"
    with pytest.raises(ClientError, match="AccessDenied"):
        mine.create_multipart_upload(Bucket=bucket, Key=outside)
    upload = client(neighbour).create_multipart_upload(Bucket=bucket, Key=outside)["UploadId"]
    attempt: dict[str, Any] = {"Bucket": bucket, "Key": outside, "UploadId": upload}
    with pytest.raises(ClientError, match="AccessDenied"):
        mine.upload_part(**attempt, PartNumber=1, Body=b"x")
    with pytest.raises(ClientError, match="AccessDenied"):
        mine.complete_multipart_upload(**attempt)
    begun = mine.create_multipart_upload(Bucket=bucket, Key=f"{folder}copied")["UploadId"]
    source = {"Bucket": bucket, "Key": f"{place(neighbour)[1]}secret"}
    with pytest.raises(ClientError, match="AccessDenied"):
        mine.upload_part_copy(
            Bucket=bucket, Key=f"{folder}copied", UploadId=begun, PartNumber=1, CopySource=source
        )


def test_a_job_finds_its_folders_in_the_store_of_its_region(
    stack: Stack, alice_api: Api, busybox_image: Any
) -> None:
    made = alice_api.new_project("two regions", regions=["AWS_US_WEST_2", "GCP_US_CENTRAL_1"])
    alice_api.push(made, busybox_image, "bb:v1")
    task = alice_api.new_task(made["projectId"])
    buckets = {"AWS_US_WEST_2": "openhtc", "GCP_US_CENTRAL_1": SECOND_BUCKET}
    jobs = {
        region: task.submit_one(
            {**shell("echo $RESCALE_HTC_REGION; echo $TASK_SHARED_FOLDER"), "regions": [region]}
        )
        for region in buckets
    }
    task.wait_for_end()
    for region, bucket in buckets.items():
        folder = f"s3://{bucket}/projects/{task.project_id}/tasks/{task.task_id}"
        assert task.log(jobs[region]) == [region, folder]
