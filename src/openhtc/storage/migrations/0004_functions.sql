-- Counters -----------------------------------------------------------------------------------

-- Jobs by task, group and status. A total is the sum over the shards, which only spread lock contention;
-- one shard alone may be negative.
CREATE TABLE job_counts (
    task_id uuid NOT NULL REFERENCES tasks,
    group_label text NOT NULL,
    shard smallint NOT NULL,
    submitted_to_rescale bigint NOT NULL DEFAULT 0,
    submitted_to_provider bigint NOT NULL DEFAULT 0,
    runnable bigint NOT NULL DEFAULT 0,
    starting bigint NOT NULL DEFAULT 0,
    running bigint NOT NULL DEFAULT 0,
    succeeded bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (task_id, group_label, shard)
) WITH (fillfactor = 50);

-- Applies the status changes of one statement to batches and job_counts, wakes servers that wait for work in a
-- region, and tells the keeper of workspaces where room may have come for held jobs. Rows are locked in one order
-- so that concurrent statements do not deadlock.
CREATE FUNCTION apply_job_deltas(deltas_batch bigint[], deltas_status smallint[], deltas_n bigint[])
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
               coalesce(sum(n) FILTER (WHERE status IN (3, 4)), 0) AS active
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
           coalesce(sum(n) FILTER (WHERE status = 2), 0), coalesce(sum(n) FILTER (WHERE status = 3), 0),
           coalesce(sum(n) FILTER (WHERE status = 4), 0), coalesce(sum(n) FILTER (WHERE status = 5), 0),
           coalesce(sum(n) FILTER (WHERE status = 6), 0)
    FROM unnest(deltas_batch, deltas_status, deltas_n) AS d (batch_no, status, n)
    JOIN batches b USING (batch_no)
    GROUP BY b.task_id, b.group_label
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

CREATE FUNCTION jobs_inserted() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE b bigint[]; s smallint[]; n bigint[];
BEGIN
    SELECT array_agg(batch_no), array_agg(status), array_agg(total) INTO b, s, n
    FROM (SELECT batch_no, status, count(*) AS total FROM new_jobs GROUP BY batch_no, status) d;
    IF b IS NOT NULL THEN PERFORM apply_job_deltas(b, s, n); END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION jobs_updated() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE b bigint[]; s smallint[]; n bigint[];
BEGIN
    SELECT array_agg(batch_no), array_agg(status), array_agg(total) INTO b, s, n
    FROM (
        SELECT batch_no, status, sum(one) AS total
        FROM (SELECT batch_no, status, 1 AS one FROM new_jobs
              UNION ALL SELECT batch_no, status, -1 FROM old_jobs) moved
        GROUP BY batch_no, status HAVING sum(one) <> 0
    ) d;
    IF b IS NOT NULL THEN PERFORM apply_job_deltas(b, s, n); END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION jobs_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE b bigint[]; s smallint[]; n bigint[];
BEGIN
    SELECT array_agg(batch_no), array_agg(status), array_agg(total) INTO b, s, n
    FROM (SELECT batch_no, status, -count(*) AS total FROM old_jobs GROUP BY batch_no, status) d;
    IF b IS NOT NULL THEN PERFORM apply_job_deltas(b, s, n); END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER count_inserted AFTER INSERT ON jobs
    REFERENCING NEW TABLE AS new_jobs FOR EACH STATEMENT EXECUTE FUNCTION jobs_inserted();
CREATE TRIGGER count_updated AFTER UPDATE ON jobs
    REFERENCING OLD TABLE AS old_jobs NEW TABLE AS new_jobs FOR EACH STATEMENT EXECUTE FUNCTION jobs_updated();
CREATE TRIGGER count_deleted AFTER DELETE ON jobs
    REFERENCING OLD TABLE AS old_jobs FOR EACH STATEMENT EXECUTE FUNCTION jobs_deleted();

-- Placement ----------------------------------------------------------------------------------

-- The priority classes whose jobs of a project may go to a kind of node: all of them, unless the project's or the
-- workspace's dimensions leave some out. Both lists are asked, and one fitting entry of each is enough. Bit 1 is class 0,
-- bit 2 is class 1: so one look at a list tells of both. Written so that the planner can put it into the statement
-- that asks.
CREATE FUNCTION open_priorities(of_workspace text, of_project uuid, in_region text, on_machine text,
                                with_hyperthreading boolean)
RETURNS TABLE (priority smallint) LANGUAGE sql STABLE AS $$
    SELECT class.priority
    FROM (
        SELECT coalesce(bit_and(list.classes), 3) AS classes
        FROM (
            SELECT coalesce(bit_or(CASE d.priority WHEN 0 THEN 1 WHEN 1 THEN 2 ELSE 3 END)
                            FILTER (WHERE (d.region IS NULL OR d.region = in_region)
                                      AND (d.machine_type IS NULL OR d.machine_type = on_machine)
                                      AND (d.hyperthreading IS NULL OR d.hyperthreading = with_hyperthreading)),
                            0) AS classes
            FROM dimensions d
            WHERE d.project_id = of_project OR (d.project_id IS NULL AND d.workspace_id = of_workspace)
            GROUP BY d.project_id
        ) list
    ) open
    JOIN unnest('{0,1}'::smallint[]) AS class (priority) ON open.classes & (1 << class.priority) <> 0
$$;
