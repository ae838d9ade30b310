-- name: insert_organization
INSERT INTO organizations (code, name) VALUES ($1, $2) ON CONFLICT (code) DO NOTHING

-- name: insert_workspace
INSERT INTO workspaces (id, name, organization_code, regions) VALUES ($1, $2, $3, $4)

-- name: list_workspaces
SELECT id, name, organization_code, regions, htc_enabled, created_at FROM workspaces ORDER BY created_at, id

-- name: insert_user
INSERT INTO users (id, workspace_id, email, full_name, is_workspace_admin, is_organization_admin, is_operator)
VALUES ($1, $2, $3, $4, $5, $6, $7)

-- name: list_users
SELECT id, workspace_id, email, full_name, is_workspace_admin, is_organization_admin, is_operator
FROM users WHERE $1::text IS NULL OR workspace_id = $1 ORDER BY created_at, id

-- name: find_user
-- A user with the workspace and organization that go into tokens and answers.
SELECT u.id, u.email, u.full_name, u.is_workspace_admin, u.is_organization_admin, u.is_operator,
       w.id AS workspace_id, w.name AS workspace_name, w.regions, w.htc_enabled,
       w.organization_code
FROM users u JOIN workspaces w ON w.id = u.workspace_id
WHERE u.id = $1

-- name: insert_credential
INSERT INTO credentials (kind, user_id, label, secret_hash) VALUES ($1, $2, $3, $4) RETURNING id

-- name: find_credential
-- The owner of a live secret of one kind.
SELECT id, user_id, regions FROM credentials
WHERE secret_hash = $1 AND kind = $2 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $3)

-- name: revoke_credential
UPDATE credentials SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL RETURNING id

-- name: revoke_labelled
UPDATE credentials SET revoked_at = now() WHERE label = $1 AND revoked_at IS NULL

-- name: list_credentials
SELECT id, kind, user_id, label, created_at, revoked_at FROM credentials
WHERE $1::text IS NULL OR user_id = $1 ORDER BY created_at, id

-- name: insert_signing_key
INSERT INTO signing_keys (kid, private_pem) VALUES ($1, $2)

-- name: list_signing_keys
-- Newest first; retired ones still verify until their last token has expired.
SELECT kid, private_pem, created_at, retired_at FROM signing_keys
WHERE retired_at IS NULL OR retired_at > now() - interval '1 day' ORDER BY created_at DESC

-- name: lock_signing_keys
LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE
