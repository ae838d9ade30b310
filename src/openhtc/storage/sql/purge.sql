-- name: lock_due_batches
-- Batches that it is worth looking at, longest due first: as many as have about $2 jobs together, at least one. Those
-- that another server holds are for the next time.
SELECT batch_no FROM batches WHERE purge_at <= $1 AND batch_no IN (
    SELECT batch_no FROM (
        SELECT batch_no, sum(size) OVER (ORDER BY purge_at, batch_no ROWS UNBOUNDED PRECEDING) - size AS jobs_before
        FROM (SELECT batch_no, purge_at, size FROM batches WHERE purge_at > '-infinity' AND purge_at <= $1
              ORDER BY purge_at, batch_no LIMIT $2) due
    ) summed
    WHERE jobs_before < $2
)
ORDER BY batch_no FOR NO KEY UPDATE SKIP LOCKED

-- name: drop_chunks
-- Up to $3 log slices of the batches' jobs that ended by $2, counted by object.
WITH gone AS (
    DELETE FROM log_chunks WHERE ctid = ANY (ARRAY(
        SELECT c.ctid FROM jobs j JOIN log_chunks c USING (batch_no, idx)
        WHERE j.batch_no = ANY ($1) AND c.batch_no = ANY ($1) AND j.ended_at <= $2 LIMIT $3
    )) RETURNING object_no
)
SELECT object_no, count(*)::int AS slices FROM gone GROUP BY object_no

-- name: release_slices
-- Rows are locked in the order in which reports lock them.
WITH held AS (
    SELECT o.object_no, gone.slices FROM unnest($1::bigint[], $2::int[]) AS gone (object_no, slices)
    JOIN log_objects o USING (object_no) ORDER BY o.key FOR NO KEY UPDATE OF o
)
UPDATE log_objects o SET slices = o.slices - held.slices,
       unused_since = CASE WHEN o.slices = held.slices THEN $3::timestamptz END
FROM held WHERE o.object_no = held.object_no

-- name: drop_attempts
DELETE FROM attempts a USING jobs j
WHERE j.batch_no = ANY ($1) AND a.batch_no = ANY ($1) AND j.ended_at <= $2 AND a.batch_no = j.batch_no AND a.idx = j.idx

-- name: drop_jobs
DELETE FROM jobs WHERE batch_no = ANY ($1) AND ended_at <= $2

-- name: schedule_purge
-- The next time to look: when the next job is old enough, but not within the hour, so that a batch whose jobs ended one
-- by one is not looked at for each of them; after a day when no job has ended; never when no job is left.
UPDATE batches b SET purge_at = CASE
    WHEN rest.jobs = 0 THEN '-infinity'
    WHEN rest.first_end IS NULL THEN $2::timestamptz + make_interval(hours => 24)
    ELSE greatest(rest.first_end + make_interval(secs => $3), $2::timestamptz + make_interval(hours => 1)) END
FROM (
    SELECT n.batch_no, count(j.idx) AS jobs, min(j.ended_at) AS first_end
    FROM unnest($1::bigint[]) AS n (batch_no) LEFT JOIN jobs j USING (batch_no) GROUP BY n.batch_no
) rest
WHERE b.batch_no = rest.batch_no

-- name: emptied_task
-- A task with batches that have lost their last job.
SELECT task_id FROM batches WHERE purge_at = '-infinity' LIMIT 1

-- name: drop_emptied
DELETE FROM batches WHERE batch_no IN (
    SELECT batch_no FROM batches WHERE task_id = $1 AND purge_at = '-infinity' LIMIT $2
) RETURNING group_label

-- name: drop_counts
-- The counters of groups without any job. The caller holds the task, so that no job comes meanwhile.
DELETE FROM job_counts WHERE task_id = $1 AND group_label IN (
    SELECT group_label FROM job_counts WHERE task_id = $1 AND group_label = ANY ($2)
    GROUP BY group_label
    HAVING sum(submitted_to_rescale + submitted_to_provider + runnable + starting + running + succeeded + failed) = 0
)

-- name: unused_objects
-- Log objects without slices that no report can name any more. Only the agent that wrote an object may name it, and
-- only under a lease that it held when it wrote: not while it has one from before the object's last slice went.
SELECT o.object_no, o.key FROM log_objects o
WHERE o.slices = 0 AND NOT EXISTS (
    SELECT 1 FROM jobs j
    WHERE j.agent_no = split_part(o.key, '/', 2)::int AND j.lease IS NOT NULL AND j.leased_at <= o.unused_since
)
ORDER BY o.object_no LIMIT $1

-- name: drop_objects
DELETE FROM log_objects WHERE object_no = ANY ($1) AND slices = 0

-- name: forgotten_agents
-- Agents whose life ended by $1 and that nothing remembers: neither a former attempt nor a log object. $1 is long
-- enough ago that every job they ended is past its time, so that none is left once no batch is due at $2.
SELECT a.agent_no FROM agents a
WHERE a.ended_at <= $1
  AND NOT EXISTS (SELECT 1 FROM batches WHERE purge_at > '-infinity' AND purge_at <= $2)
  AND NOT EXISTS (SELECT 1 FROM attempts WHERE agent_no = a.agent_no)
  AND NOT EXISTS (SELECT 1 FROM log_objects o
                  WHERE o.key >= 'logs/' || a.agent_no || '/' AND o.key < 'logs/' || a.agent_no || '0')
ORDER BY a.agent_no LIMIT $3

-- name: drop_agents
DELETE FROM agents WHERE agent_no = ANY ($1)
