-- Metrics ------------------------------------------------------------------------------------

-- What became of a project's jobs in a region, one number at each position. A total is the sum over the shards, which
-- only spread lock contention; one shard alone may be negative. What jobs did stays counted when they are removed.
--
--  1 ..  7  jobs in status 0 .. 6
--  8 .. 12  vCPUs of the jobs in status 0 .. 4
-- 13        attempts whose program started
-- 14 .. 15  jobs that succeeded, jobs that were cancelled
-- 16 .. 25  jobs that failed, by code
-- 26 .. 33  attempts that did not end their job, by outcome
-- 34 .. 45  how long attempts waited from queue to node: how many in each interval, then the sum in microseconds
-- 46 .. 57  how long the last attempts of jobs ran, likewise
-- 58 .. 67  memory peaks of the last attempts of jobs: how many in each interval, then the sum in MiB
CREATE TABLE project_metrics (
    project_id uuid NOT NULL REFERENCES projects,
    region text NOT NULL,
    shard smallint NOT NULL,
    counters bigint[] NOT NULL CHECK (cardinality(counters) = 67),
    PRIMARY KEY (project_id, region, shard)
) WITH (fillfactor = 30);

-- The interval that a number of microseconds lies in. Each includes its upper bound; the last one has none.
CREATE FUNCTION time_interval(micros float8) RETURNS int LANGUAGE sql IMMUTABLE AS $$
    SELECT width_bucket(micros - 1, '{1e6,5e6,15e6,60e6,300e6,900e6,3600e6,14400e6,86400e6,604800e6}'::float8[])
$$;

CREATE FUNCTION memory_interval(mib int) RETURNS int LANGUAGE sql IMMUTABLE AS $$
    SELECT width_bucket(mib - 1, '{16,64,256,1024,4096,16384,65536,262144}'::int[])
$$;

CREATE FUNCTION micros_between(earlier timestamptz, later timestamptz) RETURNS float8 LANGUAGE sql IMMUTABLE AS $$
    SELECT round(date_part('epoch', later - earlier) * 1e6)
$$;

-- 0 for the first of the codes, which is also for those that are not known here.
CREATE FUNCTION failure_offset(code text) RETURNS int LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(array_position('{
        ErrorUnknownFailure, ErrorTimeout, ErrorNotEnoughMemory, ErrorNonZeroContainerExitCode, ErrorCostExceeded,
        ErrorInfrastructureFault, ErrorInstanceTermination, ErrorStartingContainer, ErrorProviderDown,
        ErrorProviderRegionDown}'::text[], code), 1) - 1
$$;

CREATE FUNCTION added_at(counters bigint[], positions int[], amounts bigint[])
RETURNS bigint[] LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    FOR i IN 1 .. cardinality(positions) LOOP
        counters[positions[i]] := counters[positions[i]] + amounts[i];
    END LOOP;
    RETURN counters;
END $$;

CREATE FUNCTION add_metrics(of_project uuid, in_region text, positions int[], amounts bigint[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE my_shard smallint := pg_backend_pid() % 8;
BEGIN
    UPDATE project_metrics SET counters = added_at(counters, positions, amounts)
    WHERE project_id = of_project AND region = in_region AND shard = my_shard;
    IF NOT FOUND THEN
        INSERT INTO project_metrics AS m
        VALUES (of_project, in_region, my_shard, added_at(array_fill(0::bigint, '{67}'), positions, amounts))
        ON CONFLICT (project_id, region, shard) DO UPDATE SET counters = added_at(m.counters, positions, amounts);
    END IF;
END $$;

-- Jobs that came, or were removed where the number is negative, by batch and status.
CREATE FUNCTION count_metrics(of_batch bigint[], in_status smallint[], jobs bigint[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE r record;
BEGIN
    FOR r IN
        SELECT project_id, region, array_agg(position) AS positions, array_agg(amount) AS amounts
        FROM (
            SELECT b.project_id, b.region, e.position, sum(e.amount)::bigint AS amount
            FROM unnest(of_batch, in_status, jobs) AS d (batch_no, status, n)
            JOIN batches b USING (batch_no)
            CROSS JOIN LATERAL (VALUES (1 + d.status, d.n), (8 + d.status, d.n * b.vcpus)) AS e (position, amount)
            WHERE e.position <= 12
            GROUP BY b.project_id, b.region, e.position
        ) summed
        GROUP BY project_id, region ORDER BY project_id, region
    LOOP
        PERFORM add_metrics(r.project_id, r.region, r.positions, r.amounts);
    END LOOP;
END $$;

CREATE FUNCTION metrics_of_inserted() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE b bigint[]; s smallint[]; n bigint[];
BEGIN
    SELECT array_agg(batch_no), array_agg(status), array_agg(total) INTO b, s, n
    FROM (SELECT batch_no, status, count(*) AS total FROM new_jobs GROUP BY batch_no, status) d;
    IF b IS NOT NULL THEN PERFORM count_metrics(b, s, n); END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION metrics_of_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE b bigint[]; s smallint[]; n bigint[];
BEGIN
    SELECT array_agg(batch_no), array_agg(status), array_agg(total) INTO b, s, n
    FROM (SELECT batch_no, status, -count(*) AS total FROM old_jobs GROUP BY batch_no, status) d;
    IF b IS NOT NULL THEN PERFORM count_metrics(b, s, n); END IF;
    RETURN NULL;
END $$;

-- Attempts that went back to the queue have left their job's row; what was counted of them there is counted again from
-- the history. Its rows are there before their jobs move.
CREATE FUNCTION count_metrics_requeued(of_batch bigint[], of_idx int[], of_attempt smallint[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE r record;
BEGIN
    FOR r IN
        SELECT project_id, region, array_agg(position) AS positions, array_agg(amount) AS amounts
        FROM (
            SELECT b.project_id, b.region, e.position, sum(e.amount)::bigint AS amount
            FROM unnest(of_batch, of_idx, of_attempt) AS d (batch_no, idx, attempt)
            JOIN attempts a USING (batch_no, idx, attempt)
            JOIN batches b USING (batch_no)
            CROSS JOIN LATERAL (VALUES
                (CASE WHEN a.started_at IS NOT NULL THEN 13 END, 1::float8),
                (25 + array_position('{EXITED,OUT_OF_MEMORY,DISK_FULL,CANNOT_START,HANDED_BACK,NODE_LOST,NODE_FAULT,PREEMPTED}',
                                     a.outcome), 1),
                (34 + time_interval(micros_between(a.queued_at, a.leased_at)), 1),
                (45, micros_between(a.queued_at, a.leased_at))
            ) AS e (position, amount)
            WHERE e.position IS NOT NULL
            GROUP BY b.project_id, b.region, e.position
        ) summed
        GROUP BY project_id, region ORDER BY project_id, region
    LOOP
        PERFORM add_metrics(r.project_id, r.region, r.positions, r.amounts);
    END LOOP;
END $$;

-- Everything that is counted of a job follows from its row, so what the new rows say less what the old ones said is
-- what has happened. Rows that say the same are put together first: a lease or a start moves a bundle of jobs alike.
CREATE FUNCTION metrics_of_updated() RETURNS trigger LANGUAGE plpgsql AS $$
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
            WHERE position IS NOT NULL GROUP BY project_id, region, position
        )
        SELECT project_id, region, array_agg(position) AS positions, array_agg(amount) AS amounts
        FROM summed GROUP BY project_id, region ORDER BY project_id, region
    LOOP
        PERFORM add_metrics(r.project_id, r.region, r.positions, r.amounts);
    END LOOP;

    -- Only a job that comes back from a node waits and has been tried.
    SELECT array_agg(batch_no), array_agg(idx), array_agg(attempt) INTO b, i, a
    FROM new_jobs WHERE status = 2 AND attempt > 0;
    IF b IS NOT NULL THEN PERFORM count_metrics_requeued(b, i, a); END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER metrics_inserted AFTER INSERT ON jobs
    REFERENCING NEW TABLE AS new_jobs FOR EACH STATEMENT EXECUTE FUNCTION metrics_of_inserted();
CREATE TRIGGER metrics_updated AFTER UPDATE ON jobs
    REFERENCING OLD TABLE AS old_jobs NEW TABLE AS new_jobs FOR EACH STATEMENT EXECUTE FUNCTION metrics_of_updated();
CREATE TRIGGER metrics_deleted AFTER DELETE ON jobs
    REFERENCING OLD TABLE AS old_jobs FOR EACH STATEMENT EXECUTE FUNCTION metrics_of_deleted();

-- Agents that were given up. Their rows are removed after some time; this number stays.
CREATE TABLE agent_totals (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    expired bigint NOT NULL DEFAULT 0
);
INSERT INTO agent_totals DEFAULT VALUES;

CREATE FUNCTION count_expired() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE agent_totals SET expired = expired + 1;
    RETURN NULL;
END $$;

CREATE TRIGGER agent_expired AFTER UPDATE OF ended_at ON agents
    FOR EACH ROW WHEN (OLD.ended_at IS NULL AND NEW.ended_at IS NOT NULL) EXECUTE FUNCTION count_expired();
