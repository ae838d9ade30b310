-- Identity -----------------------------------------------------------------------------------

CREATE TABLE organizations (
    code text PRIMARY KEY,
    name text NOT NULL
);

CREATE TABLE workspaces (
    id text PRIMARY KEY,
    name text NOT NULL CHECK (name <> '' AND position('/' IN name) = 0),
    organization_code text NOT NULL REFERENCES organizations,
    regions text[] NOT NULL CHECK (cardinality(regions) > 0),
    htc_enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE users (
    id text PRIMARY KEY,
    workspace_id text NOT NULL REFERENCES workspaces,
    email text NOT NULL,
    full_name text NOT NULL,
    is_workspace_admin boolean NOT NULL DEFAULT false,
    is_organization_admin boolean NOT NULL DEFAULT false,
    is_operator boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (workspace_id, email)
);

-- Long-lived secrets, hashed. API keys and refresh tokens belong to a user, agent keys to the installation.
CREATE TABLE credentials (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    kind text NOT NULL CHECK (kind IN ('api_key', 'refresh_token', 'agent_key')),
    user_id text REFERENCES users,
    label text NOT NULL DEFAULT '',
    secret_hash bytea NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz,
    CHECK ((kind = 'agent_key') = (user_id IS NULL))
);
CREATE INDEX credentials_user ON credentials (user_id);

-- Keys that sign bearer tokens; the private half is encrypted with the server's secret_key.
CREATE TABLE signing_keys (
    kid uuid PRIMARY KEY,
    private_pem text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    retired_at timestamptz
);

-- Projects and tasks -------------------------------------------------------------------------

CREATE TABLE projects (
    id uuid PRIMARY KEY,
    seq bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    workspace_id text NOT NULL REFERENCES workspaces,
    name text NOT NULL,
    description text NOT NULL,
    regions text[] NOT NULL CHECK (cardinality(regions) > 0),
    created_by text NOT NULL REFERENCES users,
    created_at timestamptz NOT NULL
);
CREATE INDEX projects_workspace ON projects (workspace_id, seq);

CREATE TABLE repositories (
    project_id uuid NOT NULL REFERENCES projects,
    name text NOT NULL,
    created_by text NOT NULL REFERENCES users,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, name)
);

CREATE TABLE tasks (
    id uuid PRIMARY KEY,
    seq bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    project_id uuid NOT NULL REFERENCES projects,
    name text NOT NULL,
    description text NOT NULL,
    created_by text NOT NULL REFERENCES users,
    created_at timestamptz NOT NULL,
    last_active_at timestamptz NOT NULL,
    archived_at timestamptz,
    deleted_at timestamptz
);
CREATE INDEX tasks_project ON tasks (project_id, seq);

-- Agents -------------------------------------------------------------------------------------

-- One row for each life of an agent. Its leases live exactly as long as expires_at is in the future.
CREATE TABLE agents (
    agent_no int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    region text NOT NULL,
    architecture text NOT NULL,
    runtime text NOT NULL,
    version text NOT NULL,
    vcpus int NOT NULL,
    memory_mib int NOT NULL,
    disk_gib int NOT NULL,
    started_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    ended_at timestamptz
);
CREATE INDEX agents_live ON agents (expires_at) WHERE ended_at IS NULL;

-- Jobs ---------------------------------------------------------------------------------------

-- What all jobs of one element of a submission share. runnable and active are moved by the
-- trigger on jobs; nothing else writes them.
CREATE TABLE batches (
    batch_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id uuid NOT NULL UNIQUE,
    task_id uuid NOT NULL REFERENCES tasks,
    project_id uuid NOT NULL REFERENCES projects,
    group_label text NOT NULL,
    created_by text NOT NULL REFERENCES users,
    created_at timestamptz NOT NULL,
    size int NOT NULL CHECK (size BETWEEN 1 AND 1000),
    request jsonb NOT NULL,
    region text NOT NULL,
    priority smallint NOT NULL,
    repository text NOT NULL,
    digest text NOT NULL,
    vcpus int NOT NULL CHECK (vcpus BETWEEN 1 AND 64),
    memory_mib int NOT NULL CHECK (memory_mib BETWEEN 4 AND 235520),
    disk_gib int NOT NULL CHECK (disk_gib BETWEEN 0 AND 64000),
    exec_timeout_seconds int NOT NULL CHECK (exec_timeout_seconds BETWEEN 60 AND 1209600),
    max_retries smallint NOT NULL CHECK (max_retries BETWEEN 0 AND 10),
    runnable int NOT NULL DEFAULT 0 CHECK (runnable >= 0),
    active int NOT NULL DEFAULT 0 CHECK (active >= 0)
) WITH (fillfactor = 70);
CREATE INDEX batches_task ON batches (task_id, batch_no);
CREATE INDEX batches_queue ON batches (region, project_id, priority, batch_no) WHERE runnable > 0;
CREATE INDEX batches_active ON batches (project_id) WHERE active > 0;

CREATE SEQUENCE leases AS bigint;

-- status: 0 SUBMITTED_TO_RESCALE, 1 SUBMITTED_TO_PROVIDER, 2 RUNNABLE, 3 STARTING, 4 RUNNING,
-- 5 SUCCEEDED, 6 FAILED. The times are those of the current attempt; former attempts have rows
-- in attempts. lease is the fencing token of the live lease. No foreign key to batches: rows are only
-- ever made together with their batch, and the check of every row would slow large submissions.
CREATE TABLE jobs (
    batch_no bigint NOT NULL,
    idx int NOT NULL,
    status smallint NOT NULL CHECK (status BETWEEN 0 AND 6),
    attempt smallint NOT NULL DEFAULT 0,
    failures smallint NOT NULL DEFAULT 0,
    losses smallint NOT NULL DEFAULT 0,
    agent_no int,
    exit_code int,
    lease bigint,
    queued_at timestamptz,
    leased_at timestamptz,
    started_at timestamptz,
    ended_at timestamptz,
    cancelled_at timestamptz,
    cpu_ms bigint,
    max_memory_mib int,
    failure text,
    reason text,
    PRIMARY KEY (batch_no, idx),
    CHECK ((ended_at IS NOT NULL) = (status >= 5)),
    CHECK ((lease IS NOT NULL) = (status IN (3, 4))),
    CHECK (failure IS NULL OR status = 6),
    CHECK (status <> 4 OR started_at IS NOT NULL)
) WITH (fillfactor = 85);
CREATE INDEX jobs_runnable ON jobs (batch_no, idx) WHERE status = 2;
CREATE INDEX jobs_leased ON jobs (agent_no) WHERE lease IS NOT NULL;

-- Attempts that did not end their job: retried after a failure or lost with their node.
CREATE TABLE attempts (
    batch_no bigint NOT NULL,
    idx int NOT NULL,
    attempt smallint NOT NULL,
    agent_no int NOT NULL,
    queued_at timestamptz NOT NULL,
    leased_at timestamptz NOT NULL,
    started_at timestamptz,
    ended_at timestamptz NOT NULL,
    outcome text NOT NULL,
    exit_code int,
    reason text,
    PRIMARY KEY (batch_no, idx, attempt),
    FOREIGN KEY (batch_no, idx) REFERENCES jobs
);

-- Where the log lines of a job lie: slices of objects that hold the lines of many jobs.
CREATE TABLE log_chunks (
    batch_no bigint NOT NULL,
    idx int NOT NULL,
    first_line bigint NOT NULL,
    lines int NOT NULL CHECK (lines > 0),
    object_key text NOT NULL,
    object_offset bigint NOT NULL,
    length int NOT NULL,
    last_ns bigint NOT NULL,
    PRIMARY KEY (batch_no, idx, first_line),
    FOREIGN KEY (batch_no, idx) REFERENCES jobs
);

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

-- Applies the status changes of one statement to batches and job_counts, and wakes servers that wait
-- for work in a region. Rows are locked in one order so that concurrent statements do not deadlock.
CREATE FUNCTION apply_job_deltas(deltas_batch bigint[], deltas_status smallint[], deltas_n bigint[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    my_shard smallint := pg_backend_pid() % 8;
    notified bigint;
BEGIN
    PERFORM 1 FROM batches WHERE batch_no = ANY (deltas_batch) ORDER BY batch_no FOR NO KEY UPDATE;

    WITH delta AS (
        SELECT batch_no,
               coalesce(sum(n) FILTER (WHERE status = 2), 0) AS runnable,
               coalesce(sum(n) FILTER (WHERE status IN (3, 4)), 0) AS active
        FROM unnest(deltas_batch, deltas_status, deltas_n) AS d (batch_no, status, n)
        GROUP BY batch_no
    ), moved AS (
        UPDATE batches b SET runnable = b.runnable + d.runnable, active = b.active + d.active
        FROM delta d
        WHERE b.batch_no = d.batch_no AND (d.runnable <> 0 OR d.active <> 0)
        RETURNING b.region, d.runnable
    )
    SELECT count(pg_notify('openhtc_runnable', region)) INTO notified
    FROM (SELECT DISTINCT region FROM moved WHERE runnable > 0) woken;

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
