-- name: insert_agent
INSERT INTO agents (name, regions, architecture, runtime, version, provider, machine_type, hyperthreading, key_id,
                    vcpus, memory_mib, disk_gib, started_at, seen_at, expires_at, first_no)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13, $14,
        (SELECT coalesce(first_no, agent_no) FROM agents WHERE agent_no = $15::int)) RETURNING agent_no

-- name: note_machine_type
INSERT INTO machine_types AS m (name, architecture, hyperthreading, vcpus, memory_mib, seen_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (name) DO UPDATE SET architecture = $2, hyperthreading = $3, vcpus = $4, memory_mib = $5, seen_at = $6

-- name: renew_agent
-- Moves the end of all of an agent's leases; no row when the agent is already given up.
UPDATE agents SET seen_at = $2, expires_at = $3, stopping = $4 WHERE agent_no = $1 AND ended_at IS NULL RETURNING regions

-- name: lives_of_agent
-- The numbers of all lives of the agent that this is a life of.
SELECT other.agent_no FROM agents one
JOIN agents other ON coalesce(other.first_no, other.agent_no) = coalesce(one.first_no, one.agent_no)
WHERE one.agent_no = $1

-- name: hold_agent
-- One row while the agent lives and the key that it joined with is good. It cannot be given up before the transaction ends: expiry waits for this lock.
SELECT vcpus, memory_mib, disk_gib, regions, machine_type, architecture, hyperthreading FROM agents
WHERE agent_no = $1 AND ended_at IS NULL AND expires_at >= $2
  AND NOT EXISTS (SELECT 1 FROM credentials c WHERE c.id = agents.key_id AND c.revoked_at IS NOT NULL)
FOR KEY SHARE

-- name: expired_agents
SELECT agent_no FROM agents WHERE ended_at IS NULL AND expires_at < $1
ORDER BY agent_no LIMIT $2 FOR UPDATE SKIP LOCKED

-- name: end_agent
UPDATE agents SET ended_at = $2 WHERE agent_no = $1

-- name: waiting_batches
-- Batches with work that a node may run and that fit a free capacity: of every project that waits in one of the node's
-- regions, the first few, fewer the more projects there are. The projects are found by jumping along the index, so that
-- one with very many batches hides no other. Most projects have no dimensions: only for the others is the function asked.
-- The classes that are open to a project make a range, 0 to 0, 1 to 1 or 0 to 1, so that the index skips those that are not.
-- $7 are those "region architecture" pairs whose jobs have nodes of their own; with $8 no job goes to a node of another
-- architecture.
WITH RECURSIVE waiting AS (
    SELECT served.region, (SELECT b.project_id FROM batches b WHERE b.region = served.region AND b.runnable > 0 AND b.cancelling_at IS NULL
                           ORDER BY b.project_id LIMIT 1) AS project_id
    FROM unnest($1::text[]) AS served (region)
    UNION ALL
    SELECT w.region, (SELECT b.project_id FROM batches b
                      WHERE b.region = w.region AND b.runnable > 0 AND b.cancelling_at IS NULL AND b.project_id > w.project_id
                      ORDER BY b.project_id LIMIT 1)
    FROM waiting w WHERE w.project_id IS NOT NULL
), allowed AS MATERIALIZED (
    SELECT w.region, w.project_id,
           CASE WHEN EXISTS (SELECT 1 FROM dimensions d WHERE d.project_id = p.id)
                  OR EXISTS (SELECT 1 FROM dimensions d WHERE d.workspace_id = p.workspace_id AND d.project_id IS NULL)
                THEN ARRAY(SELECT priority FROM open_priorities(p.workspace_id, p.id, w.region, $5, $9) ORDER BY priority)
                ELSE '{0,1}' END AS priorities
    FROM waiting w JOIN projects p ON p.id = w.project_id
)
SELECT b.batch_no, b.project_id, b.priority, b.runnable, b.vcpus, b.memory_mib, b.disk_gib
FROM allowed a CROSS JOIN LATERAL (
    SELECT * FROM batches
    WHERE region = a.region AND project_id = a.project_id AND runnable > 0 AND cancelling_at IS NULL
      AND priority BETWEEN a.priorities[1] AND a.priorities[cardinality(a.priorities)]
      AND vcpus <= $2 AND memory_mib <= $3 AND disk_gib <= $4
      AND (architecture IS NULL OR architecture = $6
           OR (NOT $8::boolean AND (a.region || ' ' || architecture) <> ALL ($7::text[])))
    ORDER BY priority, batch_no
    LIMIT (SELECT least(20, greatest(3, 1000 / greatest(1, count(*)))) FROM allowed)
) b

-- name: native_architectures
SELECT DISTINCT region || ' ' || architecture FROM agents, unnest(regions) AS region
WHERE ended_at IS NULL AND expires_at >= $1

-- name: active_vcpus
-- What each of the given projects holds at the moment, all regions together.
SELECT project_id, sum(active * vcpus)::bigint AS vcpus FROM batches
WHERE active > 0 AND project_id = ANY ($1) GROUP BY project_id

-- name: lease_jobs
-- Gives an agent up to n jobs of each batch, the lowest index first; jobs that another transaction holds are passed over,
-- and so are those of a batch that has been cancelled meanwhile.
WITH picked AS (
    SELECT j.batch_no, j.idx
    FROM unnest($1::bigint[], $2::int[]) AS w (batch_no, n)
    JOIN batches b ON b.batch_no = w.batch_no AND b.cancelling_at IS NULL
    CROSS JOIN LATERAL (
        SELECT batch_no, idx FROM jobs
        WHERE batch_no = w.batch_no AND status = 2 AND rests_until IS NULL
        ORDER BY idx LIMIT w.n FOR UPDATE SKIP LOCKED
    ) j
)
UPDATE jobs SET status = 3, attempt = jobs.attempt + 1, lease = nextval('leases'), agent_no = $3,
       leased_at = greatest($4, jobs.queued_at), started_at = NULL
FROM picked
WHERE jobs.batch_no = picked.batch_no AND jobs.idx = picked.idx
RETURNING jobs.batch_no, jobs.idx, jobs.attempt, jobs.lease,
    CASE WHEN jobs.attempt > 1 THEN
        coalesce((SELECT c.last_ns FROM log_chunks c WHERE c.batch_no = jobs.batch_no AND c.idx = jobs.idx
                  ORDER BY c.first_line DESC LIMIT 1), 0)
    ELSE 0 END AS log_floor_ns

-- name: batches_for_work
SELECT b.batch_no, b.id, b.task_id, b.project_id, b.created_by, b.request, b.region, b.repository, b.digest,
       b.vcpus, b.memory_mib, b.disk_gib, b.exec_timeout_seconds
FROM batches b WHERE b.batch_no = ANY ($1)

-- name: lock_leases
-- The jobs behind live leases, locked in one order, with what decides their next state. A lease that is
-- not the job's live one finds nothing: that is the fence.
SELECT j.batch_no, j.idx, j.lease, j.agent_no, j.attempt, j.failures, j.losses, j.status, j.queued_at, j.leased_at, j.started_at,
       j.cancelled_at, b.max_retries, b.task_id
FROM jobs j JOIN batches b USING (batch_no)
WHERE (j.batch_no, j.idx, j.lease) IN (SELECT * FROM unnest($1::bigint[], $2::int[], $3::bigint[]))
ORDER BY j.batch_no, j.idx FOR UPDATE OF j

-- name: lock_agent_leases
-- Every live lease of one agent, locked.
SELECT j.batch_no, j.idx, j.lease, j.agent_no, j.attempt, j.failures, j.losses, j.status, j.queued_at, j.leased_at, j.started_at,
       j.cancelled_at, b.max_retries, b.task_id
FROM jobs j JOIN batches b USING (batch_no)
WHERE j.agent_no = $1 AND j.lease IS NOT NULL
ORDER BY j.batch_no, j.idx LIMIT $2 FOR UPDATE OF j

-- name: marked_leases
-- Those of an agent's leases that it is to be told of.
SELECT batch_no, idx, lease, leased_at, cancelled_at, recalled_at FROM jobs
WHERE agent_no = $1 AND lease IS NOT NULL AND (cancelled_at IS NOT NULL OR recalled_at IS NOT NULL)

-- name: agent_leases
SELECT batch_no, idx, lease, leased_at, cancelled_at, recalled_at FROM jobs WHERE agent_no = $1 AND lease IS NOT NULL

-- name: keep_attempts
-- Moves the current attempt of jobs that go back to the queue into the history.
INSERT INTO attempts (batch_no, idx, attempt, agent_no, queued_at, leased_at, started_at, ended_at, outcome,
                      exit_code, reason)
SELECT j.batch_no, j.idx, j.attempt, j.agent_no, j.queued_at, j.leased_at, r.started_at, r.ended_at, r.outcome,
       r.exit_code, r.reason
FROM unnest($1::bigint[], $2::int[], $3::timestamptz[], $4::timestamptz[], $5::text[], $6::int[], $7::text[])
     AS r (batch_no, idx, started_at, ended_at, outcome, exit_code, reason)
JOIN jobs j ON j.batch_no = r.batch_no AND j.idx = r.idx

-- name: move_jobs
-- Every change of a bundle in one statement, so that the counters' trigger runs once and locks its rows in one order.
-- status 4: the attempt runs. 2: the attempt is over and the job goes back to the queue, where it may have to rest first.
-- 5 and 6: the job is over.
UPDATE jobs j SET
    status = r.status,
    lease = CASE WHEN r.status = 4 THEN j.lease END,
    recalled_at = CASE WHEN r.status = 4 THEN j.recalled_at END,
    agent_no = CASE WHEN r.status <> 2 THEN j.agent_no END,
    queued_at = CASE WHEN r.status = 2 THEN r.ended_at ELSE j.queued_at END,
    leased_at = CASE WHEN r.status <> 2 THEN j.leased_at END,
    started_at = CASE WHEN r.status <> 2 THEN r.started_at END,
    ended_at = CASE WHEN r.status >= 5 THEN r.ended_at END,
    exit_code = CASE WHEN r.status >= 5 THEN r.exit_code END,
    reason = CASE WHEN r.status >= 5 THEN r.reason END,
    failure = r.failure,
    cpu_ms = r.cpu_ms,
    max_memory_mib = r.max_memory_mib,
    failures = r.failures,
    losses = r.losses,
    rests_until = r.rests_until
FROM unnest($1::bigint[], $2::int[], $3::smallint[], $4::timestamptz[], $5::timestamptz[], $6::int[], $7::text[],
            $8::text[], $9::bigint[], $10::int[], $11::smallint[], $12::smallint[], $13::timestamptz[])
     AS r (batch_no, idx, status, started_at, ended_at, exit_code, failure, reason, cpu_ms, max_memory_mib,
           failures, losses, rests_until)
WHERE j.batch_no = r.batch_no AND j.idx = r.idx

-- name: end_rests
-- Jobs whose rest is over at $1; one that is to last beyond $2 was begun before the clock went back. From now on they wait.
-- Both are found by the index of those that rest, and moved where they lie, whatever the planner believes of their number.
-- Nobody waits for a lock here, so their order does not matter. (Rows of other states are left by servers of a release
-- that knows no rests.)
WITH due AS MATERIALIZED (
    SELECT ctid FROM jobs WHERE rests_until <= $1 ORDER BY rests_until LIMIT $3 FOR UPDATE SKIP LOCKED
), early AS MATERIALIZED (
    SELECT ctid FROM jobs WHERE rests_until > $2 ORDER BY rests_until LIMIT $3 FOR UPDATE SKIP LOCKED
)
UPDATE jobs SET rests_until = NULL,
    queued_at = CASE WHEN status = 2 THEN greatest(queued_at, least(rests_until, $1)) ELSE queued_at END
WHERE ctid = ANY (ARRAY(SELECT ctid FROM due UNION ALL SELECT ctid FROM early))
RETURNING 1

-- name: touch_tasks
-- Tasks whose row is held by somebody are passed over: whoever holds it is just about to move the time, or submits jobs
-- whose ends will.
UPDATE tasks t SET last_active_at = $2::timestamptz
FROM (SELECT id FROM tasks WHERE id = ANY ($1) AND deleted_at IS NULL AND last_active_at < $2::timestamptz - interval '1 second'
      ORDER BY id FOR NO KEY UPDATE SKIP LOCKED) stale
WHERE t.id = stale.id

-- name: log_ends
-- How many lines are known of each of the given jobs, and the time of the last; nothing of a job without lines.
SELECT j.batch_no, j.idx, last.lines, last.last_ns
FROM unnest($1::bigint[], $2::int[]) AS j (batch_no, idx)
CROSS JOIN LATERAL (
    SELECT c.first_line + c.lines AS lines, c.last_ns FROM log_chunks c
    WHERE c.batch_no = j.batch_no AND c.idx = j.idx ORDER BY c.first_line DESC LIMIT 1
) last

-- name: add_slices
-- Counts the slices of objects that are named for the first time or again; returns their numbers.
INSERT INTO log_objects AS o (key, slices) SELECT * FROM unnest($1::text[], $2::int[]) AS n (key, slices) ORDER BY key
ON CONFLICT (key) DO UPDATE SET slices = o.slices + excluded.slices
RETURNING key, object_no

-- name: insert_chunks
INSERT INTO log_chunks (batch_no, idx, first_line, lines, object_no, object_offset, length, last_ns)
SELECT * FROM unnest($1::bigint[], $2::int[], $3::bigint[], $4::int[], $5::bigint[], $6::int[], $7::int[],
                     $8::bigint[])

-- name: chunks_forwards
-- The first $5 chunks of a job that hold lines of [$3, $4), in order.
SELECT c.first_line, c.lines, o.key AS object_key, c.object_offset, c.length
FROM log_chunks c JOIN log_objects o USING (object_no)
WHERE c.batch_no = $1 AND c.idx = $2 AND c.first_line < $4 AND c.first_line >= (
    SELECT max(first_line) FROM log_chunks WHERE batch_no = $1 AND idx = $2 AND first_line <= $3
)
ORDER BY c.first_line LIMIT $5

-- name: chunks_backwards
-- The last $5 chunks of a job that hold lines of [$3, $4), the last one first.
SELECT c.first_line, c.lines, o.key AS object_key, c.object_offset, c.length
FROM log_chunks c JOIN log_objects o USING (object_no)
WHERE c.batch_no = $1 AND c.idx = $2 AND c.first_line < $4 AND c.first_line >= (
    SELECT max(first_line) FROM log_chunks WHERE batch_no = $1 AND idx = $2 AND first_line <= $3
)
ORDER BY c.first_line DESC LIMIT $5

-- name: count_lines
SELECT first_line + lines FROM log_chunks WHERE batch_no = $1 AND idx = $2 ORDER BY first_line DESC LIMIT 1
