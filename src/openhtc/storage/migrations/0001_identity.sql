-- Identity -----------------------------------------------------------------------------------

CREATE TABLE organizations (
    code text PRIMARY KEY,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Regions that the operator has mapped to a provider. Those without a row are unknown to this installation.
CREATE TABLE regions (
    name text PRIMARY KEY,
    seq int GENERATED ALWAYS AS IDENTITY,
    provider text NOT NULL,
    enabled boolean NOT NULL DEFAULT true,
    weight double precision NOT NULL DEFAULT 1 CHECK (weight >= 0),
    architectures text[] NOT NULL,
    updated_by text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
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
    disabled_at timestamptz,
    UNIQUE (workspace_id, email)
);

-- Long-lived secrets, hashed. API keys and refresh tokens belong to a user, the others to the installation.
-- regions narrows an agent key to the regions that its agents may serve.
CREATE TABLE credentials (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    kind text NOT NULL CHECK (kind IN ('api_key', 'refresh_token', 'agent_key', 'metrics_key')),
    user_id text REFERENCES users,
    label text NOT NULL DEFAULT '',
    secret_hash bytea NOT NULL UNIQUE,
    regions text[],
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    CHECK ((kind IN ('agent_key', 'metrics_key')) = (user_id IS NULL)),
    CHECK (regions IS NULL OR kind = 'agent_key')
);
CREATE INDEX credentials_user ON credentials (user_id);

-- Keys that sign bearer tokens, an RSA one and a P-256 one for those of jobs; the private halves are encrypted with the
-- server's secret_key.
CREATE TABLE signing_keys (
    kid uuid PRIMARY KEY,
    private_pem text NOT NULL,
    job_private_pem text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    retired_at timestamptz
);

-- Who changed what that decides over others: users, keys, roles, limits, dimensions, policies, regions.
-- actor is a user's id, or operator:<login name> for the command line. Written with the change, in its transaction.
CREATE TABLE audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    details jsonb NOT NULL
);
