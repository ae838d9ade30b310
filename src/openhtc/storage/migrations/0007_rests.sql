-- A job whose attempt failed rests for a while before the next one. It is RUNNABLE all the same and keeps its release, but no
-- node gets it: for its batch it counts as active. rests_until is null for all others, and costs them no byte.
ALTER TABLE jobs ADD COLUMN rests_until timestamptz;

-- Its status to the counters: 7 for a job that rests.
CREATE FUNCTION counted_as(status smallint, rests_until timestamptz) RETURNS smallint LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN status = 2 AND rests_until IS NOT NULL THEN 7::smallint ELSE status END
$$;

CREATE OR REPLACE FUNCTION apply_job_deltas(deltas_batch bigint[], deltas_status smallint[], deltas_n bigint[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    my_shard smallint := pg_backend_pid() % 8;
    notified bigint;
BEGIN
    PERFORM 1 FROM batches WHERE batch_no = ANY (deltas_batch) ORDER BY batch_no FOR NO KEY UPDATE;

    WITH delta AS (
        SELECT batch_no,
               coalesce(sum(n) FILTER (WHERE status = 0), 0) AS held,
               coalesce(sum(n) FILTER (WHERE status = 2), 0) AS runnable,
               coalesce(sum(n) FILTER (WHERE status IN (3, 4, 7)), 0) AS active
        FROM unnest(deltas_batch, deltas_status, deltas_n) AS d (batch_no, status, n)
        GROUP BY batch_no
    ), moved AS (
        UPDATE batches b
        SET held = b.held + d.held, runnable = b.runnable + d.runnable, active = b.active + d.active
        FROM delta d
        WHERE b.batch_no = d.batch_no AND (d.held <> 0 OR d.runnable <> 0 OR d.active <> 0)
        RETURNING b.region, b.workspace_id, d.held, d.runnable, d.active
    ), woken AS (
        SELECT pg_notify('openhtc_runnable', region) FROM moved WHERE runnable > 0 GROUP BY region
    ), roomy AS (
        SELECT workspace_id FROM moved GROUP BY workspace_id
        HAVING sum(runnable + active) < 0 OR sum(held) > 0
    ), told AS (
        SELECT pg_notify('openhtc_admission', r.workspace_id) FROM roomy r
        WHERE EXISTS (SELECT 1 FROM batches h WHERE h.workspace_id = r.workspace_id AND h.held > 0 AND h.cancelling_at IS NULL)
           OR EXISTS (SELECT 1 FROM moved m WHERE m.workspace_id = r.workspace_id AND m.held > 0)
    )
    SELECT (SELECT count(*) FROM woken) + (SELECT count(*) FROM told) INTO notified;

    INSERT INTO job_counts AS c (task_id, group_label, shard, submitted_to_rescale, submitted_to_provider,
                                 runnable, starting, running, succeeded, failed)
    SELECT b.task_id, b.group_label, my_shard,
           coalesce(sum(n) FILTER (WHERE status = 0), 0), coalesce(sum(n) FILTER (WHERE status = 1), 0),
           coalesce(sum(n) FILTER (WHERE status IN (2, 7)), 0), coalesce(sum(n) FILTER (WHERE status = 3), 0),
           coalesce(sum(n) FILTER (WHERE status = 4), 0), coalesce(sum(n) FILTER (WHERE status = 5), 0),
           coalesce(sum(n) FILTER (WHERE status = 6), 0)
    FROM unnest(deltas_batch, deltas_status, deltas_n) AS d (batch_no, status, n)
    JOIN batches b USING (batch_no)
    GROUP BY b.task_id, b.group_label
    HAVING bool_or(status NOT IN (2, 7)) OR sum(n) <> 0
    ORDER BY b.task_id, b.group_label
    ON CONFLICT (task_id, group_label, shard) DO UPDATE SET
        submitted_to_rescale = c.submitted_to_rescale + excluded.submitted_to_rescale,
        submitted_to_provider = c.submitted_to_provider + excluded.submitted_to_provider,
        runnable = c.runnable + excluded.runnable,
        starting = c.starting + excluded.starting,
        running = c.running + excluded.running,
        succeeded = c.succeeded + excluded.succeeded,
        failed = c.failed + excluded.failed;
END $$;

CREATE OR REPLACE FUNCTION jobs_updated() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE b bigint[]; s smallint[]; n bigint[];
BEGIN
    SELECT array_agg(batch_no), array_agg(status), array_agg(total) INTO b, s, n
    FROM (
        SELECT batch_no, status, sum(one) AS total
        FROM (SELECT batch_no, counted_as(status, rests_until) AS status, 1 AS one FROM new_jobs
              UNION ALL SELECT batch_no, counted_as(status, rests_until), -1 FROM old_jobs) moved
        GROUP BY batch_no, status HAVING sum(one) <> 0
    ) d;
    IF b IS NOT NULL THEN PERFORM apply_job_deltas(b, s, n); END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION jobs_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE b bigint[]; s smallint[]; n bigint[];
BEGIN
    SELECT array_agg(batch_no), array_agg(status), array_agg(total) INTO b, s, n
    FROM (SELECT batch_no, counted_as(status, rests_until) AS status, -count(*) AS total FROM old_jobs GROUP BY 1, 2) d;
    IF b IS NOT NULL THEN PERFORM apply_job_deltas(b, s, n); END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION metrics_of_updated() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE b bigint[]; i int[]; a smallint[]; r record;
BEGIN
    FOR r IN
        WITH moved AS (
            SELECT batch_no, status, started_at IS NOT NULL AS started,
                   micros_between(queued_at, leased_at) AS wait, sum(one) AS n
            FROM (SELECT 1 AS one, batch_no, status, queued_at, leased_at, started_at FROM new_jobs
                  UNION ALL SELECT -1, batch_no, status, queued_at, leased_at, started_at FROM old_jobs) j
            GROUP BY batch_no, status, started_at IS NOT NULL, queued_at, leased_at HAVING sum(one) <> 0
        ), ended AS (
            SELECT batch_no, status, failure, time_interval(run) AS run_interval,
                   memory_interval(memory) AS memory_interval, sum(one) AS n, sum(one * run) AS run,
                   sum(one * memory) AS memory
            FROM (SELECT 1 AS one, batch_no, status, failure, micros_between(started_at, ended_at) AS run,
                         nullif(max_memory_mib, 0) AS memory
                  FROM new_jobs WHERE status >= 5
                  UNION ALL
                  SELECT -1, batch_no, status, failure, micros_between(started_at, ended_at), nullif(max_memory_mib, 0)
                  FROM old_jobs WHERE status >= 5) j
            GROUP BY batch_no, status, failure, time_interval(run), memory_interval(memory) HAVING sum(one) <> 0
        ), deltas AS (
            SELECT b.project_id, b.region, e.position, e.amount
            FROM moved m JOIN batches b USING (batch_no) CROSS JOIN LATERAL (VALUES
                (1 + m.status, m.n::float8),
                (CASE WHEN m.status < 5 THEN 8 + m.status END, m.n * b.vcpus),
                (CASE WHEN m.started THEN 13 END, m.n),
                (34 + time_interval(m.wait), m.n),
                (CASE WHEN m.wait IS NOT NULL THEN 45 END, m.n * m.wait)
            ) AS e (position, amount)
            UNION ALL
            SELECT b.project_id, b.region, e.position, e.amount
            FROM ended m JOIN batches b USING (batch_no) CROSS JOIN LATERAL (VALUES
                (CASE WHEN m.status = 5 THEN 14 WHEN m.failure IS NULL THEN 15 ELSE 16 + failure_offset(m.failure) END,
                 m.n::float8),
                (46 + m.run_interval, m.n),
                (CASE WHEN m.run IS NOT NULL THEN 57 END, m.run),
                (58 + m.memory_interval, m.n),
                (CASE WHEN m.memory IS NOT NULL THEN 67 END, m.memory)
            ) AS e (position, amount)
        ), summed AS (
            SELECT project_id, region, position, sum(amount)::bigint AS amount FROM deltas
            WHERE position IS NOT NULL GROUP BY project_id, region, position HAVING sum(amount) <> 0
        )
        SELECT project_id, region, array_agg(position) AS positions, array_agg(amount) AS amounts
        FROM summed GROUP BY project_id, region ORDER BY project_id, region
    LOOP
        PERFORM add_metrics(r.project_id, r.region, r.positions, r.amounts);
    END LOOP;

    -- Only a job that comes back from a node, or has rested after that, waits and has been tried.
    SELECT array_agg(batch_no), array_agg(idx), array_agg(attempt) INTO b, i, a
    FROM new_jobs WHERE status = 2 AND attempt > 0;
    IF b IS NOT NULL THEN
        SELECT array_agg(batch_no), array_agg(idx), array_agg(came.attempt) INTO b, i, a
        FROM unnest(b, i, a) AS came (batch_no, idx, attempt) JOIN old_jobs o USING (batch_no, idx) WHERE o.status <> 2;
    END IF;
    IF b IS NOT NULL THEN PERFORM count_metrics_requeued(b, i, a); END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION page_of_jobs(
    the_task uuid, after_batch bigint, after_idx int, only_group text, only_status smallint,
    only_parents uuid[], only_indexes int[], most bigint
) RETURNS TABLE (found_batch bigint, found_idx int) LANGUAGE plpgsql STABLE ROWS 100 AS $$
DECLARE
    batch record;
    missing bigint := most;
    found bigint;
BEGIN
    FOR batch IN
        SELECT b.batch_no, b.id FROM batches b
        WHERE b.task_id = the_task AND b.batch_no >= after_batch
          AND (only_group IS NULL OR b.group_label = only_group)
          AND (only_parents IS NULL OR b.id = ANY (only_parents))
          AND CASE WHEN only_status = 0 THEN b.held > 0 WHEN only_status = 2 THEN b.runnable > 0 OR (b.active > 0 AND EXISTS (
                       SELECT 1 FROM jobs r WHERE r.batch_no = b.batch_no AND r.rests_until IS NOT NULL))
                   WHEN only_status IN (3, 4) THEN b.active > 0
                   WHEN only_status >= 5 THEN b.held + b.runnable + b.active < b.size ELSE true END
        ORDER BY b.batch_no
    LOOP
        RETURN QUERY
            SELECT j.batch_no, j.idx FROM jobs j
            WHERE j.batch_no = batch.batch_no
              AND j.idx > CASE WHEN batch.batch_no = after_batch THEN after_idx ELSE -1 END
              AND (only_status IS NULL OR j.status = only_status)
              AND (only_parents IS NULL OR j.idx IN (
                  SELECT wanted.idx FROM unnest(only_parents, only_indexes) AS wanted (parent, idx)
                  WHERE wanted.parent = batch.id))
            ORDER BY j.idx LIMIT missing;
        GET DIAGNOSTICS found = ROW_COUNT;
        missing := missing - found;
        EXIT WHEN missing <= 0;
    END LOOP;
END $$;
