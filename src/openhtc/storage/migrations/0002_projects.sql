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

-- storage_due_at: when the files of a deleted task are next to be removed; null once that is done for good.
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
    deleted_at timestamptz,
    storage_freed_at timestamptz,
    storage_due_at timestamptz,
    CHECK (deleted_at IS NOT NULL OR (storage_freed_at IS NULL AND storage_due_at IS NULL))
);
CREATE INDEX tasks_project ON tasks (project_id, seq);

CREATE INDEX tasks_active ON tasks (project_id, last_active_at) WHERE archived_at IS NULL AND deleted_at IS NULL;
CREATE INDEX tasks_archived ON tasks (project_id, archived_at) WHERE archived_at IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX tasks_to_free ON tasks (storage_due_at) WHERE storage_due_at IS NOT NULL;

-- What workspaces and projects are held to. A row without a project is the workspace's own. ---------

-- At most one limit for each role of a project, and one for the workspace, which has no role.
CREATE TABLE limits (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    workspace_id text NOT NULL REFERENCES workspaces,
    project_id uuid REFERENCES projects,
    modifier_role text CHECK (modifier_role IN ('WORKSPACE_ADMIN', 'PROJECT_ADMIN')),
    vcpus int NOT NULL CHECK (vcpus BETWEEN 0 AND 999999),
    created_by text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_by text NOT NULL,
    updated_at timestamptz NOT NULL,
    CHECK ((project_id IS NULL) = (modifier_role IS NULL)),
    UNIQUE NULLS NOT DISTINCT (workspace_id, project_id, modifier_role)
);
CREATE INDEX limits_project ON limits (project_id);

-- Hours; 0 switches the feature off.
CREATE TABLE retention_policies (
    workspace_id text NOT NULL REFERENCES workspaces,
    project_id uuid REFERENCES projects,
    archive_after int NOT NULL CHECK (archive_after >= 0),
    delete_after int NOT NULL CHECK (delete_after >= 0),
    created_at timestamptz NOT NULL,
    UNIQUE NULLS NOT DISTINCT (workspace_id, project_id)
);

-- Environments that jobs may run in: a job fits when one row fits in everything that the row names. No row: no restriction.
CREATE TABLE dimensions (
    workspace_id text NOT NULL REFERENCES workspaces,
    project_id uuid REFERENCES projects,
    position smallint NOT NULL,
    machine_type text,
    priority smallint,
    region text,
    scaling_policy text,
    hyperthreading boolean,
    UNIQUE NULLS NOT DISTINCT (workspace_id, project_id, position)
);
CREATE INDEX dimensions_project ON dimensions (project_id);
