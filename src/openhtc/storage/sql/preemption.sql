-- name: may_press
-- Whether jobs of the first class wait while jobs of another one run. Cheap: it is asked every second.
SELECT EXISTS (SELECT 1 FROM batches WHERE active > 0 AND priority > 0)
   AND EXISTS (SELECT 1 FROM batches WHERE runnable > 0 AND cancelling_at IS NULL AND priority = 0)

-- name: nodes_with_room_to_make
-- Some live nodes that run jobs of another class than the first, others at each time where there are very many.
SELECT a.agent_no, a.vcpus, a.memory_mib, a.disk_gib, a.regions, a.machine_type, a.architecture, a.hyperthreading
FROM agents a
WHERE a.ended_at IS NULL AND a.expires_at >= $1 AND EXISTS (
    SELECT 1 FROM jobs j JOIN batches b USING (batch_no)
    WHERE j.agent_no = a.agent_no AND j.lease IS NOT NULL AND b.priority > 0
)
ORDER BY random() LIMIT $2

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
-- Of the given batches those whose first waiting job has waited since $2 or longer.
SELECT w.batch_no FROM unnest($1::bigint[]) AS w (batch_no)
CROSS JOIN LATERAL (SELECT queued_at FROM jobs WHERE batch_no = w.batch_no AND status = 2 ORDER BY idx LIMIT 1) j
WHERE j.queued_at <= $2

-- name: recall_jobs
-- Jobs that have ended meanwhile, or changed hands, are left alone.
UPDATE jobs SET recalled_at = $3
WHERE agent_no = ANY ($1) AND lease = ANY ($2) AND recalled_at IS NULL AND cancelled_at IS NULL
