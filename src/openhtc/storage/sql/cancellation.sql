-- name: mark_batches
-- From the commit on, no job of these batches is released or leased. Locked in the order in which the counters' trigger
-- locks them.
UPDATE batches SET cancelling_at = $4 WHERE batch_no IN (
    SELECT batch_no FROM batches
    WHERE task_id = $1 AND ($2::text IS NULL OR group_label = $2) AND ($3::text IS NULL OR created_by = $3)
      AND cancelling_at IS NULL AND held + runnable + active > 0
    ORDER BY batch_no FOR NO KEY UPDATE
)

-- name: lock_page
-- One page at a time, so that two servers do not wait for each other's jobs; false while somebody else is at one.
SELECT pg_try_advisory_xact_lock(x'63616e63'::int)

-- name: lock_leased
-- In the order in which reports lock them. Nobody waits for the lock of a job without a lease.
SELECT 1 FROM jobs WHERE batch_no = ANY ($1) AND lease IS NOT NULL ORDER BY batch_no, idx FOR UPDATE

-- name: marked_batches
-- The first batches that are being cancelled: as many as have about $2 jobs together, at least one.
SELECT batch_no FROM (
    SELECT batch_no, sum(size) OVER (ORDER BY batch_no ROWS UNBOUNDED PRECEDING) - size AS jobs_before
    FROM (SELECT batch_no, size FROM batches WHERE cancelling_at IS NOT NULL AND ($1::uuid IS NULL OR task_id = $1)
          ORDER BY task_id, batch_no LIMIT $2) marked
) summed
WHERE jobs_before < $2

-- name: cancel_jobs
-- Jobs that no agent holds end here and now; those that one holds are marked, and the agent is told to stop
-- them. One statement, so that a job which changes hands meanwhile is met in whatever state it is.
UPDATE jobs j SET cancelled_at = b.cancelling_at,
       status = CASE WHEN j.lease IS NULL THEN 6 ELSE j.status END,
       ended_at = CASE WHEN j.lease IS NULL THEN greatest(b.cancelling_at, j.queued_at) END,
       reason = CASE WHEN j.lease IS NULL THEN $2 END,
       rests_until = NULL
FROM batches b
WHERE b.batch_no = ANY ($1) AND j.batch_no = b.batch_no AND b.cancelling_at IS NOT NULL
  AND j.ended_at IS NULL AND j.cancelled_at IS NULL

-- name: unmark_batches
UPDATE batches SET cancelling_at = NULL WHERE batch_no IN (
    SELECT batch_no FROM batches WHERE batch_no = ANY ($1) AND cancelling_at IS NOT NULL
    ORDER BY batch_no FOR NO KEY UPDATE
)
