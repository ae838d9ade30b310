-- name: may_press
-- Whether jobs of the first class wait while jobs of another one run. It is asked every second: the places where jobs wait
-- are found by jumping along the index, from one project of a region to the next.
WITH RECURSIVE place AS (
    (SELECT region, project_id FROM batches WHERE runnable > 0 AND cancelling_at IS NULL
     ORDER BY region, project_id LIMIT 1)
    UNION ALL
    SELECT following.* FROM place CROSS JOIN LATERAL (
        SELECT b.region, b.project_id FROM batches b
        WHERE b.runnable > 0 AND b.cancelling_at IS NULL
          AND (b.region, b.project_id) > (place.region, place.project_id)
        ORDER BY b.region, b.project_id LIMIT 1
    ) following
)
SELECT EXISTS (SELECT 1 FROM batches WHERE active > 0 AND priority > 0) AND EXISTS (
    SELECT 1 FROM place WHERE EXISTS (
        SELECT 1 FROM batches b WHERE b.region = place.region AND b.project_id = place.project_id AND b.priority = 0
                                  AND b.runnable > 0 AND b.cancelling_at IS NULL
    )
)

-- name: nodes_with_room_to_make
-- Some live nodes that take work and run jobs of another class than the first: all that were asked to give some back after
-- $2, since their room is coming, and of the others some at each time where there are very many.
SELECT a.agent_no, a.vcpus, a.memory_mib, a.disk_gib, a.regions, a.machine_type, a.architecture, a.hyperthreading
FROM agents a
CROSS JOIN LATERAL (
    SELECT count(*) AS jobs, coalesce(bool_or(j.recalled_at > $2), false) AS gives_back
    FROM jobs j JOIN batches b USING (batch_no)
    WHERE j.agent_no = a.agent_no AND j.lease IS NOT NULL AND b.priority > 0
) economy
WHERE a.ended_at IS NULL AND a.expires_at >= $1 AND NOT a.stopping AND economy.jobs > 0
  AND NOT EXISTS (SELECT 1 FROM credentials c WHERE c.id = a.key_id AND c.revoked_at IS NOT NULL)
ORDER BY economy.gives_back DESC, random() LIMIT $3

-- name: jobs_of_nodes
-- What the nodes' leases take. leaving: it will be free soon, since the job was cancelled or recalled after $2. steady: the
-- job keeps its place, because it is of the first class or has made room $3 times.
SELECT j.agent_no, j.lease, j.started_at, b.vcpus, b.memory_mib, b.disk_gib,
       j.cancelled_at IS NOT NULL OR coalesce(j.recalled_at > $2, false) AS leaving,
       b.priority = 0 OR j.recalled_at IS NOT NULL
           OR (j.attempt > $3 AND (SELECT count(*) FROM attempts a WHERE a.batch_no = j.batch_no AND a.idx = j.idx
                                   AND a.outcome = 'PREEMPTED') >= $3) AS steady
FROM jobs j JOIN batches b USING (batch_no)
WHERE j.agent_no = ANY ($1) AND j.lease IS NOT NULL
ORDER BY j.agent_no, j.lease

-- name: waited_since
-- Of the given batches those with a job that has waited since $2 or longer.
SELECT w.batch_no FROM unnest($1::bigint[]) AS w (batch_no)
WHERE EXISTS (SELECT 1 FROM jobs j WHERE j.batch_no = w.batch_no AND j.status = 2 AND j.rests_until IS NULL AND j.queued_at <= $2)

-- name: recall_jobs
-- Jobs that have ended meanwhile, or changed hands, are left alone.
UPDATE jobs SET recalled_at = $3
WHERE agent_no = ANY ($1) AND lease = ANY ($2) AND recalled_at IS NULL AND cancelled_at IS NULL
