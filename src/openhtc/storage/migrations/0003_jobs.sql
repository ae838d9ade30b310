-- Agents -------------------------------------------------------------------------------------

-- One row for each life of an agent. Its leases live exactly as long as expires_at is in the future. first_no is its first
-- life, when this is a later one that has proved that it is the same agent: then it may still report what it did before.
CREATE TABLE agents (
    agent_no int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    first_no int,
    name text NOT NULL,
    regions text[] NOT NULL CHECK (cardinality(regions) > 0),
    provider text NOT NULL,
    machine_type text NOT NULL,
    architecture text NOT NULL,
    hyperthreading boolean NOT NULL,
    runtime text NOT NULL,
    version text NOT NULL,
    key_id uuid REFERENCES credentials,
    vcpus int NOT NULL,
    memory_mib int NOT NULL,
    disk_gib int NOT NULL,
    started_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    stopping boolean NOT NULL DEFAULT false,
    ended_at timestamptz
);
CREATE INDEX agents_lives ON agents ((coalesce(first_no, agent_no)));
CREATE INDEX agents_live ON agents (expires_at) WHERE ended_at IS NULL;

-- What kinds of nodes there are or were, as their last agent described them.
CREATE TABLE machine_types (
    name text PRIMARY KEY,
    architecture text NOT NULL,
    hyperthreading boolean NOT NULL,
    vcpus int NOT NULL,
    memory_mib int NOT NULL,
    seen_at timestamptz NOT NULL
);

-- Jobs ---------------------------------------------------------------------------------------

-- What all jobs of one element of a submission share. held, runnable and active (jobs in those states) are moved by
-- the trigger on jobs; nothing else writes them. purge_at is when it is next worth looking for jobs that are old
-- enough to be removed, at most an hour after the first of them is; -infinity when all jobs are gone. cancelling_at is
-- when the batch was cancelled, as long as it has jobs that were not told; none of them is released or leased meanwhile.
CREATE TABLE batches (
    batch_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id uuid NOT NULL UNIQUE,
    task_id uuid NOT NULL REFERENCES tasks,
    project_id uuid NOT NULL REFERENCES projects,
    workspace_id text NOT NULL REFERENCES workspaces,
    group_label text NOT NULL,
    created_by text NOT NULL REFERENCES users,
    created_at timestamptz NOT NULL,
    size int NOT NULL CHECK (size BETWEEN 1 AND 1000),
    request jsonb NOT NULL,
    region text NOT NULL,
    priority smallint NOT NULL,
    architecture text,
    repository text NOT NULL,
    digest text NOT NULL,
    vcpus int NOT NULL CHECK (vcpus BETWEEN 1 AND 64),
    memory_mib int NOT NULL CHECK (memory_mib BETWEEN 4 AND 235520),
    disk_gib int NOT NULL CHECK (disk_gib BETWEEN 0 AND 64000),
    exec_timeout_seconds int NOT NULL CHECK (exec_timeout_seconds BETWEEN 60 AND 1209600),
    max_retries smallint NOT NULL CHECK (max_retries BETWEEN 0 AND 10),
    held int NOT NULL DEFAULT 0 CHECK (held >= 0),
    runnable int NOT NULL DEFAULT 0 CHECK (runnable >= 0),
    active int NOT NULL DEFAULT 0 CHECK (active >= 0),
    purge_at timestamptz NOT NULL,
    cancelling_at timestamptz
) WITH (fillfactor = 70);
CREATE INDEX batches_task ON batches (task_id, batch_no);
CREATE INDEX batches_queue ON batches (region, project_id, priority, batch_no) WHERE runnable > 0 AND cancelling_at IS NULL;
CREATE INDEX batches_active ON batches (project_id) WHERE active > 0;
CREATE INDEX batches_held ON batches (workspace_id, project_id, priority, batch_no) WHERE held > 0 AND cancelling_at IS NULL;
CREATE INDEX batches_released ON batches (workspace_id) WHERE runnable + active > 0;
CREATE INDEX batches_cancelling ON batches (task_id, batch_no) WHERE cancelling_at IS NOT NULL;
CREATE INDEX batches_purge ON batches (purge_at);

CREATE SEQUENCE leases AS bigint;

-- status: 0 SUBMITTED_TO_RESCALE, 1 SUBMITTED_TO_PROVIDER, 2 RUNNABLE, 3 STARTING, 4 RUNNING,
-- 5 SUCCEEDED, 6 FAILED. The times are those of the current attempt; former attempts have rows
-- in attempts. lease is the fencing token of the live lease; recalled_at is when its agent was asked to give the job
-- back for one of a higher priority. No foreign key to batches: rows are only
-- ever made together with their batch, and the check of every row would slow large submissions.
-- The columns stand so that none needs room to be aligned. Nearly every statement finds jobs by their batch, which has
-- 1,000 at most: an index of the waiting ones would be larger than what it saves.
CREATE TABLE jobs (
    batch_no bigint NOT NULL,
    idx int NOT NULL,
    status smallint NOT NULL CHECK (status BETWEEN 0 AND 6),
    attempt smallint NOT NULL DEFAULT 0,
    failures smallint NOT NULL DEFAULT 0,
    losses smallint NOT NULL DEFAULT 0,
    agent_no int,
    queued_at timestamptz,
    leased_at timestamptz,
    started_at timestamptz,
    ended_at timestamptz,
    cancelled_at timestamptz,
    recalled_at timestamptz,
    lease bigint,
    cpu_ms bigint,
    max_memory_mib int,
    exit_code int,
    failure text,
    reason text,
    PRIMARY KEY (batch_no, idx) WITH (fillfactor = 100),
    CHECK ((ended_at IS NOT NULL) = (status >= 5)),
    CHECK ((lease IS NOT NULL) = (status IN (3, 4))),
    CHECK (recalled_at IS NULL OR lease IS NOT NULL),
    CHECK (failure IS NULL OR status = 6),
    CHECK (status <> 4 OR started_at IS NOT NULL)
) WITH (fillfactor = 100);
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
CREATE INDEX attempts_agent ON attempts (agent_no);

-- Objects with log lines; one without slices is not needed any more, since the time unused_since. The collation lets
-- the index find the objects of one agent by the beginning of their keys.
CREATE TABLE log_objects (
    object_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key text COLLATE "C" NOT NULL UNIQUE,
    slices int NOT NULL CHECK (slices >= 0),
    unused_since timestamptz,
    CHECK (slices > 0 OR unused_since IS NOT NULL)
);
CREATE INDEX log_objects_unused ON log_objects (object_no) WHERE slices = 0;

-- Where the log lines of a job lie: slices of objects that hold the lines of many jobs.
CREATE TABLE log_chunks (
    batch_no bigint NOT NULL,
    first_line bigint NOT NULL,
    object_no bigint NOT NULL,
    last_ns bigint NOT NULL,
    idx int NOT NULL,
    lines int NOT NULL CHECK (lines > 0),
    object_offset int NOT NULL,
    length int NOT NULL,
    PRIMARY KEY (batch_no, idx, first_line),
    FOREIGN KEY (batch_no, idx) REFERENCES jobs
);
