-- Each statement finds rows that break an invariant of the service. $1 is a task, or null for all of them; $2 how many
-- rows to return at most. A row says where (place), what is wrong there (problem), and how many such rows there are
-- (total). They all see one snapshot.

-- name: missing_jobs
-- A batch has all of its jobs until the first of them may have been removed, which is $3 at the earliest for a new batch.
SELECT 'batch ' || b.id AS place,
       format('%s of %s jobs are there, the last with index %s', count(j.idx), b.size, coalesce(max(j.idx), -1)) AS problem,
       count(*) OVER () AS total
FROM batches b LEFT JOIN jobs j USING (batch_no)
WHERE ($1::uuid IS NULL OR b.task_id = $1) AND b.created_at > $3::timestamptz
GROUP BY b.batch_no HAVING count(j.idx) <> b.size OR max(j.idx) <> b.size - 1
ORDER BY b.batch_no LIMIT $2

-- name: jobs_without_batch
SELECT 'batch number ' || j.batch_no AS place, format('%s jobs belong to a batch that is not there', count(*)) AS problem,
       count(*) OVER () AS total
FROM jobs j WHERE $1::uuid IS NULL AND NOT EXISTS (SELECT 1 FROM batches b WHERE b.batch_no = j.batch_no)
GROUP BY j.batch_no ORDER BY j.batch_no LIMIT $2

-- name: shared_leases
-- A fencing token belongs to one job.
SELECT 'lease ' || j.lease AS place,
       'held by the jobs ' || string_agg(b.id || ':' || j.idx, ', ' ORDER BY j.batch_no, j.idx) AS problem,
       count(*) OVER () AS total
FROM jobs j JOIN batches b USING (batch_no)
WHERE j.lease IS NOT NULL
GROUP BY j.lease HAVING count(*) > 1 AND ($1::uuid IS NULL OR bool_or(b.task_id = $1))
ORDER BY j.lease LIMIT $2

-- name: leases_of_ended_agents
-- Nobody would ever take such a lease back.
SELECT 'job ' || b.id || ':' || j.idx AS place,
       CASE WHEN a.agent_no IS NULL THEN format('leased to agent %s, which is not known', coalesce(j.agent_no::text, '(none)'))
            ELSE format('leased to agent %s, whose life ended at %s', j.agent_no, a.ended_at) END AS problem,
       count(*) OVER () AS total
FROM jobs j JOIN batches b USING (batch_no) LEFT JOIN agents a USING (agent_no)
WHERE j.lease IS NOT NULL AND (a.agent_no IS NULL OR a.ended_at IS NOT NULL) AND ($1::uuid IS NULL OR b.task_id = $1)
ORDER BY j.batch_no, j.idx LIMIT $2

-- name: overdue_leases
-- Leases that ran out before $3 have been taken back.
SELECT 'agent ' || a.agent_no || ' (' || a.name || ')' AS place,
       format('its %s leases ran out at %s and were not taken back', count(j.idx), a.expires_at) AS problem,
       count(*) OVER () AS total
FROM agents a JOIN jobs j ON j.agent_no = a.agent_no AND j.lease IS NOT NULL JOIN batches b USING (batch_no)
WHERE a.ended_at IS NULL AND a.expires_at < $3::timestamptz AND ($1::uuid IS NULL OR b.task_id = $1)
GROUP BY a.agent_no ORDER BY a.agent_no LIMIT $2

-- name: overdue_cancellations
-- Cancellations that were decided before $3 have been carried out.
SELECT 'batch ' || b.id AS place, 'cancelled at ' || b.cancelling_at || ', and its jobs were not told' AS problem,
       count(*) OVER () AS total
FROM batches b WHERE b.cancelling_at < $3::timestamptz AND ($1::uuid IS NULL OR b.task_id = $1)
ORDER BY b.batch_no LIMIT $2

-- name: overdue_rests
-- Jobs that rested until $3 or before may be leased again.
SELECT 'job ' || b.id || ':' || j.idx AS place, 'it rests since ' || j.queued_at || ' until ' || j.rests_until AS problem,
       count(*) OVER () AS total
FROM jobs j JOIN batches b USING (batch_no)
WHERE j.rests_until < $3::timestamptz AND ($1::uuid IS NULL OR b.task_id = $1)
ORDER BY j.batch_no, j.idx LIMIT $2

-- name: contradictory_jobs
-- What no column's constraint says: how status, times, end and cancellation of one job go together.
SELECT 'job ' || b.id || ':' || j.idx AS place, w.problem, count(*) OVER () AS total
FROM jobs j JOIN batches b USING (batch_no) CROSS JOIN LATERAL (VALUES (CASE
    WHEN j.idx < 0 OR j.idx >= b.size THEN format('its index is not one of a batch of %s', b.size)
    WHEN j.status = 0 AND j.queued_at IS NOT NULL THEN 'it is held and has been released'
    WHEN j.status IN (2, 3, 4) AND j.queued_at IS NULL THEN 'it was never released and is not held'
    WHEN j.status = 2 AND j.rests_until IS NOT NULL AND j.attempt < 1 THEN 'it rests and was never tried'
    WHEN j.status IN (0, 2) AND j.cancelled_at IS NOT NULL THEN 'it was cancelled and waits all the same'
    WHEN j.status IN (0, 2) AND (j.leased_at IS NOT NULL OR j.agent_no IS NOT NULL) THEN 'it waits and is on a node'
    WHEN j.status IN (3, 4) AND (j.leased_at IS NULL OR j.attempt < 1) THEN 'it is on a node and in no attempt'
    WHEN j.status = 5 AND j.exit_code IS DISTINCT FROM 0
        THEN format('it succeeded with exit code %s', coalesce(j.exit_code::text, '(none)'))
    WHEN j.status = 6 AND j.failure IS NULL AND j.cancelled_at IS NULL AND j.reason IS NULL
        THEN 'it failed, was not cancelled and nothing says why'
    WHEN j.leased_at < j.queued_at OR j.started_at < j.leased_at OR j.ended_at < j.started_at OR j.ended_at < j.leased_at
        THEN format('its times run backwards: queued %s, leased %s, started %s, ended %s', j.queued_at, j.leased_at,
                    j.started_at, j.ended_at)
END)) AS w (problem)
WHERE w.problem IS NOT NULL AND ($1::uuid IS NULL OR b.task_id = $1)
ORDER BY j.batch_no, j.idx LIMIT $2

-- name: untold_attempts
-- The history holds every attempt before the one that the job's row tells of, and none that succeeded.
WITH kept AS (
    SELECT batch_no, idx, count(*) AS attempts, max(attempt) AS last,
           count(*) FILTER (WHERE outcome = 'EXITED' AND exit_code = 0) AS succeeded
    FROM attempts a
    WHERE $1::uuid IS NULL OR EXISTS (SELECT 1 FROM batches b WHERE b.batch_no = a.batch_no AND b.task_id = $1)
    GROUP BY batch_no, idx
)
SELECT 'job ' || b.id || ':' || j.idx AS place,
       CASE WHEN k.succeeded > 0 THEN 'it was tried again after it had succeeded'
            ELSE format('%s former attempts are told, the last is %s, expected %s', coalesce(k.attempts, 0),
                        coalesce(k.last, 0), j.attempt - (j.leased_at IS NOT NULL)::int) END AS problem,
       count(*) OVER () AS total
FROM jobs j JOIN batches b USING (batch_no) LEFT JOIN kept k USING (batch_no, idx)
WHERE (coalesce(k.attempts, 0) <> j.attempt - (j.leased_at IS NOT NULL)::int
       OR coalesce(k.last, 0) <> coalesce(k.attempts, 0) OR k.succeeded > 0)
  AND ($1::uuid IS NULL OR b.task_id = $1)
ORDER BY j.batch_no, j.idx LIMIT $2

-- name: wrong_charges
-- Retries are used up by what the program did, and by nothing else; losses are those of nodes. The attempt that ended
-- the job is not in the history; its failure code tells which of both it was. $3 is how many losses a job may have.
WITH kept AS (
    SELECT batch_no, idx, count(*) FILTER (WHERE outcome IN ('NODE_LOST', 'NODE_FAULT')) AS losses,
           count(*) FILTER (WHERE outcome NOT IN ('NODE_LOST', 'NODE_FAULT', 'HANDED_BACK', 'PREEMPTED')) AS failures
    FROM attempts a
    WHERE $1::uuid IS NULL OR EXISTS (SELECT 1 FROM batches b WHERE b.batch_no = a.batch_no AND b.task_id = $1)
    GROUP BY batch_no, idx
), expected AS (
    SELECT j.batch_no, j.idx,
           coalesce(k.failures, 0) + (j.failure IS NOT NULL AND NOT of_node)::int AS failures,
           coalesce(k.losses, 0) + (j.failure IS NOT NULL AND of_node)::int AS losses
    FROM jobs j LEFT JOIN kept k USING (batch_no, idx)
    CROSS JOIN LATERAL (
        SELECT coalesce(j.failure IN ('ErrorInstanceTermination', 'ErrorInfrastructureFault'), false) AS of_node
    ) o
)
SELECT 'job ' || b.id || ':' || j.idx AS place,
       format('%s failures and %s losses of %s retries, its attempts tell of %s and %s', j.failures, j.losses,
              b.max_retries, e.failures, e.losses) AS problem,
       count(*) OVER () AS total
FROM jobs j JOIN batches b USING (batch_no) JOIN expected e USING (batch_no, idx)
WHERE (j.failures <> e.failures OR j.losses <> e.losses OR j.failures > b.max_retries + (j.status = 6)::int
       OR j.losses > $3::int - (j.status <> 6)::int)
  AND ($1::uuid IS NULL OR b.task_id = $1)
ORDER BY j.batch_no, j.idx LIMIT $2

-- name: counters_of_tasks
WITH counted AS (
    SELECT task_id, group_label, c.status, c.jobs
    FROM (
        SELECT task_id, group_label, array[sum(submitted_to_rescale), sum(submitted_to_provider), sum(runnable),
               sum(starting), sum(running), sum(succeeded), sum(failed)]::bigint[] AS jobs
        FROM job_counts WHERE $1::uuid IS NULL OR task_id = $1 GROUP BY task_id, group_label
    ) summed CROSS JOIN LATERAL (SELECT n - 1 AS status, jobs FROM unnest(summed.jobs) WITH ORDINALITY u (jobs, n)) c
), recounted AS (
    SELECT b.task_id, b.group_label, j.status::bigint AS status, count(*) AS jobs
    FROM jobs j JOIN batches b USING (batch_no) WHERE $1::uuid IS NULL OR b.task_id = $1
    GROUP BY b.task_id, b.group_label, j.status
)
SELECT 'task ' || task_id || CASE WHEN group_label = '' THEN '' ELSE ', group ' || group_label END AS place,
       format('%s jobs counted in status %s, %s there', coalesce(c.jobs, 0), status, coalesce(r.jobs, 0)) AS problem,
       count(*) OVER () AS total
FROM counted c FULL JOIN recounted r USING (task_id, group_label, status)
WHERE coalesce(c.jobs, 0) <> coalesce(r.jobs, 0)
ORDER BY task_id, group_label, status LIMIT $2

-- name: counters_of_batches
SELECT 'batch ' || id AS place,
       format('held, runnable and active jobs are counted as %s, %s, %s, and there are %s, %s, %s',
              held, runnable, active, held_jobs, runnable_jobs, active_jobs) AS problem,
       count(*) OVER () AS total
FROM (
    SELECT b.batch_no, b.id, b.held, b.runnable, b.active, count(*) FILTER (WHERE j.status = 0) AS held_jobs,
           count(*) FILTER (WHERE j.status = 2 AND j.rests_until IS NULL) AS runnable_jobs,
           count(*) FILTER (WHERE j.status IN (3, 4) OR j.status = 2 AND j.rests_until IS NOT NULL) AS active_jobs
    FROM batches b LEFT JOIN jobs j USING (batch_no) WHERE $1::uuid IS NULL OR b.task_id = $1 GROUP BY b.batch_no
) c
WHERE (held, runnable, active) <> (held_jobs, runnable_jobs, active_jobs)
ORDER BY batch_no LIMIT $2

-- name: counters_of_projects
-- Jobs and vCPUs by status of the metrics; with a task, those of its project.
WITH wanted AS (
    SELECT id FROM projects WHERE $1::uuid IS NULL OR id = (SELECT project_id FROM tasks WHERE tasks.id = $1)
), counted AS (
    SELECT project_id, region, position, sum(amount)::bigint AS amount
    FROM project_metrics CROSS JOIN LATERAL unnest(counters) WITH ORDINALITY u (amount, position)
    WHERE project_id IN (SELECT id FROM wanted) AND position <= 12 GROUP BY project_id, region, position
), by_status AS (
    SELECT b.project_id, b.region, j.status, count(*) AS jobs, sum(b.vcpus)::bigint AS vcpus
    FROM jobs j JOIN batches b USING (batch_no) WHERE b.project_id IN (SELECT id FROM wanted)
    GROUP BY b.project_id, b.region, j.status
), recounted AS (
    SELECT project_id, region, e.position::bigint AS position, e.amount
    FROM by_status CROSS JOIN LATERAL (VALUES (1 + status, jobs), (8 + status, vcpus)) AS e (position, amount)
    WHERE e.position <= 7 AND e.amount = jobs OR e.position BETWEEN 8 AND 12 AND status < 5
)
SELECT 'project ' || project_id || ' in ' || region AS place,
       format('%s %s counted in status %s, %s there', coalesce(c.amount, 0),
              CASE WHEN position <= 7 THEN 'jobs' ELSE 'vCPUs' END,
              position - CASE WHEN position <= 7 THEN 1 ELSE 8 END, coalesce(r.amount, 0)) AS problem,
       count(*) OVER () AS total
FROM counted c FULL JOIN recounted r USING (project_id, region, position)
WHERE coalesce(c.amount, 0) <> coalesce(r.amount, 0)
ORDER BY project_id, region, position LIMIT $2

-- name: exceeded_limits
-- A limit that was lowered ends nothing; but while more is released than it allows, nothing more may be. A job that was
-- tried before was released when its first attempt was. The clocks of two servers may differ by some seconds.
WITH used AS (
    SELECT workspace_id, project_id, sum((runnable + active)::bigint * vcpus)::bigint AS vcpus
    FROM batches WHERE runnable + active > 0 GROUP BY GROUPING SETS ((workspace_id), (workspace_id, project_id))
), exceeded AS (
    SELECT l.workspace_id, l.project_id, l.vcpus AS allowed, l.updated_at, u.vcpus
    FROM limits l JOIN used u ON u.workspace_id = l.workspace_id AND u.project_id IS NOT DISTINCT FROM l.project_id
    WHERE u.vcpus > l.vcpus
      AND ($1::uuid IS NULL OR l.project_id IS NULL
           OR l.project_id = (SELECT project_id FROM tasks WHERE tasks.id = $1))
)
SELECT coalesce('project ' || e.project_id, 'workspace ' || e.workspace_id) AS place,
       format('%s vCPUs are released, %s are allowed since %s', e.vcpus, e.allowed, e.updated_at) AS problem,
       count(*) OVER () AS total
FROM exceeded e
WHERE EXISTS (
    SELECT 1 FROM batches b JOIN jobs j USING (batch_no)
    LEFT JOIN attempts a ON a.batch_no = j.batch_no AND a.idx = j.idx AND a.attempt = 1
    WHERE b.workspace_id = e.workspace_id AND (e.project_id IS NULL OR b.project_id = e.project_id)
      AND b.runnable + b.active > 0 AND j.status IN (2, 3, 4)
      AND coalesce(a.queued_at, j.queued_at) > e.updated_at + interval '5 seconds'
)
ORDER BY place LIMIT $2

-- name: gaps_in_logs
-- The slices of a job's log follow each other, in lines and in time. Those of jobs that ended before $3 are being removed.
SELECT 'job ' || b.id || ':' || c.idx AS place,
       format('a slice of its log begins with line %s, after %s lines; its last line is %s ns after the one before',
              c.first_line, c.lines_before, c.last_ns - c.ns_before) AS problem,
       count(*) OVER () AS total
FROM (
    SELECT batch_no, idx, first_line, last_ns, coalesce(lag(first_line + lines) OVER same_job, 0) AS lines_before,
           coalesce(lag(last_ns) OVER same_job, -1) AS ns_before
    FROM log_chunks lc
    WHERE $1::uuid IS NULL OR EXISTS (SELECT 1 FROM batches b WHERE b.batch_no = lc.batch_no AND b.task_id = $1)
    WINDOW same_job AS (PARTITION BY batch_no, idx ORDER BY first_line)
) c JOIN batches b USING (batch_no)
JOIN jobs j ON j.batch_no = c.batch_no AND j.idx = c.idx
WHERE (c.first_line <> c.lines_before OR c.last_ns <= c.ns_before) AND (j.ended_at IS NULL OR j.ended_at > $3::timestamptz)
ORDER BY c.batch_no, c.idx, c.first_line LIMIT $2

-- name: counters_of_logs
-- An object that no slice counts is removed.
SELECT 'log object ' || coalesce(o.key, 'number ' || object_no) AS place,
       format('%s slices counted, %s there', coalesce(o.slices, 0), coalesce(c.slices, 0)) AS problem,
       count(*) OVER () AS total
FROM log_objects o FULL JOIN (SELECT object_no, count(*) AS slices FROM log_chunks GROUP BY object_no) c USING (object_no)
WHERE $1::uuid IS NULL AND coalesce(o.slices, 0) <> coalesce(c.slices, 0)
ORDER BY object_no LIMIT $2

-- name: strange_logs
-- What a job's log is read from was written by an agent that had the job, in this life or another one.
SELECT 'job ' || b.id || ':' || c.idx AS place,
       format('its log is read from %s, whose agent never had it', o.key) AS problem, count(*) OVER () AS total
FROM log_chunks c JOIN log_objects o USING (object_no) JOIN batches b USING (batch_no) JOIN jobs j USING (batch_no, idx)
WHERE split_part(o.key, '/', 2) IS DISTINCT FROM j.agent_no::text
  AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.batch_no = c.batch_no AND a.idx = c.idx
                  AND a.agent_no::text = split_part(o.key, '/', 2))
  AND NOT EXISTS (
      SELECT 1 FROM agents writer JOIN agents holder
          ON coalesce(holder.first_no, holder.agent_no) = coalesce(writer.first_no, writer.agent_no)
      WHERE writer.agent_no::text = split_part(o.key, '/', 2)
        AND (holder.agent_no = j.agent_no
             OR holder.agent_no IN (SELECT a.agent_no FROM attempts a WHERE a.batch_no = c.batch_no AND a.idx = c.idx))
  )
  AND ($1::uuid IS NULL OR b.task_id = $1)
ORDER BY c.batch_no, c.idx, c.first_line LIMIT $2

-- name: strange_batches
-- Task, project, workspace and submitter of a batch belong together.
SELECT 'batch ' || b.id AS place,
       format('it is in workspace %s and project %s, its task in %s and %s, its submitter in %s', b.workspace_id,
              b.project_id, p.workspace_id, t.project_id, u.workspace_id) AS problem,
       count(*) OVER () AS total
FROM batches b JOIN tasks t ON t.id = b.task_id JOIN projects p ON p.id = t.project_id JOIN users u ON u.id = b.created_by
WHERE (b.project_id <> t.project_id OR b.workspace_id <> p.workspace_id OR u.workspace_id <> b.workspace_id)
  AND ($1::uuid IS NULL OR b.task_id = $1)
ORDER BY b.batch_no LIMIT $2
