#!/bin/sh
# What each job of the batch runs: simulate its own row of the table, print the measures, and put the
# result into the task's storage under results/<index>.json.
set -eu
index=${AWS_BATCH_JOB_ARRAY_INDEX:?is not set: this runs as a job of a batch}
: "${TASK_SHARED_FOLDER:?is not set}" "${AWS_ENDPOINT_URL_S3:?is not set}" "${AWS_SESSION_TOKEN:?is not set}"

cd "$(mktemp -d)"
echo "row $index, attempt ${AWS_BATCH_JOB_ATTEMPT:-?}"
/circuit/simulate.sh "$index" result.json
cat result.json

# The keys go through standard input: a command line can be read by others.
path=${TASK_SHARED_FOLDER#s3://}
target="${AWS_ENDPOINT_URL_S3%/}/${path%/}/results/$index.json"
curl --silent --show-error --fail --retry 4 --retry-connrefused --max-time 60 --config - \
    --aws-sigv4 "aws:amz:${AWS_REGION:-us-east-1}:s3" --upload-file result.json "$target" <<END ||
user = "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY"
header = "x-amz-security-token: $AWS_SESSION_TOKEN"
END
    { echo "job.sh: row $index: the result cannot be written to $target" >&2; exit 5; }
echo "written to $TASK_SHARED_FOLDER/results/$index.json"
