-- name: lock_admission
-- One admission or change of limits at a time in a workspace, until the transaction ends.
SELECT pg_advisory_xact_lock(x'61646d69'::int, hashtext($1))

-- name: workspaces_with_held
-- Found by jumping along the index from one workspace to the next.
WITH RECURSIVE found AS (
    (SELECT workspace_id FROM batches WHERE held > 0 AND cancelling_at IS NULL ORDER BY workspace_id LIMIT 1)
    UNION ALL
    SELECT (SELECT b.workspace_id FROM batches b WHERE b.held > 0 AND b.cancelling_at IS NULL AND b.workspace_id > f.workspace_id
            ORDER BY b.workspace_id LIMIT 1)
    FROM found f WHERE f.workspace_id IS NOT NULL
)
SELECT workspace_id FROM found WHERE workspace_id IS NOT NULL

-- name: held_batches
-- Of every project with held jobs the first few batches whose jobs are not larger than any limit of theirs.
WITH RECURSIVE found AS (
    (SELECT project_id FROM batches WHERE workspace_id = $1 AND held > 0 AND cancelling_at IS NULL ORDER BY project_id LIMIT 1)
    UNION ALL
    SELECT (SELECT b.project_id FROM batches b
            WHERE b.workspace_id = $1 AND b.held > 0 AND b.cancelling_at IS NULL AND b.project_id > f.project_id
            ORDER BY b.project_id LIMIT 1)
    FROM found f WHERE f.project_id IS NOT NULL
), capped AS MATERIALIZED (
    SELECT f.project_id, coalesce((SELECT min(l.vcpus) FROM limits l WHERE l.workspace_id = $1
                                   AND (l.project_id IS NULL OR l.project_id = f.project_id)), 2147483647) AS cap
    FROM found f WHERE f.project_id IS NOT NULL
)
SELECT b.batch_no, b.project_id, b.priority, b.held, b.vcpus
FROM capped c CROSS JOIN LATERAL (
    SELECT batch_no, project_id, priority, held, vcpus FROM batches
    WHERE workspace_id = $1 AND project_id = c.project_id AND held > 0 AND cancelling_at IS NULL AND vcpus <= c.cap
    ORDER BY priority, batch_no LIMIT $2
) b

-- name: released_vcpus
-- vCPUs of the jobs that were released and have not ended, by project.
SELECT project_id, sum((runnable + active)::bigint * vcpus)::bigint AS vcpus FROM batches
WHERE workspace_id = $1 AND runnable + active > 0 GROUP BY project_id

-- name: smallest_limits
-- The smallest limit of each project that has one; the workspace's own has no project.
SELECT project_id, min(vcpus) AS vcpus FROM limits WHERE workspace_id = $1 GROUP BY project_id

-- name: release_jobs
-- Releases up to n jobs of each batch, the lowest index first. Jobs that another transaction holds are being
-- cancelled and are passed over; so are those of a batch that has been cancelled meanwhile.
WITH picked AS (
    SELECT j.batch_no, j.idx
    FROM unnest($1::bigint[], $2::int[]) AS w (batch_no, n)
    JOIN batches b ON b.batch_no = w.batch_no AND b.cancelling_at IS NULL
    CROSS JOIN LATERAL (
        SELECT batch_no, idx FROM jobs
        WHERE batch_no = w.batch_no AND status = 0
        ORDER BY idx LIMIT w.n FOR UPDATE SKIP LOCKED
    ) j
)
UPDATE jobs SET status = 2, queued_at = $3
FROM picked WHERE jobs.batch_no = picked.batch_no AND jobs.idx = picked.idx
