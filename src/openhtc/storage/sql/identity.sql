-- name: insert_organization
INSERT INTO organizations (code, name) VALUES ($1, $2) ON CONFLICT (code) DO NOTHING RETURNING code

-- name: list_organizations
SELECT code, name, created_at FROM organizations ORDER BY created_at, code

-- name: insert_workspace
INSERT INTO workspaces (id, name, organization_code, regions) VALUES ($1, $2, $3, $4)

-- name: list_workspaces
SELECT id, name, organization_code, regions, htc_enabled, created_at FROM workspaces ORDER BY created_at, id

-- name: describe_workspace
SELECT w.id, w.name, w.organization_code, w.regions, w.htc_enabled, w.created_at,
       (SELECT vcpus FROM limits l WHERE l.workspace_id = w.id AND l.project_id IS NULL) AS limit_vcpus,
       (SELECT count(*)::int FROM dimensions d WHERE d.workspace_id = w.id AND d.project_id IS NULL) AS dimensions,
       (SELECT count(*)::int FROM users u WHERE u.workspace_id = w.id) AS users,
       (SELECT count(*)::int FROM projects p WHERE p.workspace_id = w.id) AS projects
FROM workspaces w WHERE w.id = $1

-- name: set_htc
UPDATE workspaces SET htc_enabled = $2 WHERE id = $1 RETURNING id

-- name: insert_user
INSERT INTO users (id, workspace_id, email, full_name, is_workspace_admin, is_organization_admin, is_operator)
VALUES ($1, $2, $3, $4, $5, $6, $7)

-- name: list_users
SELECT id, workspace_id, email, full_name, is_workspace_admin, is_organization_admin, is_operator,
       disabled_at IS NOT NULL AS disabled
FROM users WHERE $1::text IS NULL OR workspace_id = $1 ORDER BY created_at, id

-- name: set_roles
-- Gives or takes the named roles; the others stay.
UPDATE users SET
    is_workspace_admin = CASE WHEN 'workspace_admin' = ANY ($2::text[]) THEN $3 ELSE is_workspace_admin END,
    is_organization_admin = CASE WHEN 'organization_admin' = ANY ($2::text[]) THEN $3 ELSE is_organization_admin END,
    is_operator = CASE WHEN 'operator' = ANY ($2::text[]) THEN $3 ELSE is_operator END
WHERE id = $1 RETURNING id

-- name: set_disabled
UPDATE users SET disabled_at = coalesce(disabled_at, $2::timestamptz) WHERE id = $1 RETURNING id

-- name: set_enabled
UPDATE users SET disabled_at = NULL WHERE id = $1 RETURNING id

-- name: find_user
-- A user with the workspace and organization that go into tokens and answers; no row when $2 is a key that was revoked.
SELECT u.id, u.email, u.full_name, u.is_workspace_admin, u.is_organization_admin, u.is_operator,
       w.id AS workspace_id, w.name AS workspace_name, w.htc_enabled,
       ARRAY(SELECT r.name FROM unnest(w.regions) WITH ORDINALITY AS o (name, n) JOIN regions r USING (name)
             WHERE r.enabled ORDER BY o.n) AS regions,
       w.organization_code, u.disabled_at IS NOT NULL AS disabled
FROM users u JOIN workspaces w ON w.id = u.workspace_id
WHERE u.id = $1 AND NOT EXISTS (SELECT 1 FROM credentials c WHERE c.id = $2::uuid AND c.revoked_at IS NOT NULL)

-- name: insert_credential
INSERT INTO credentials (kind, user_id, label, secret_hash, created_at, expires_at, regions)
VALUES ($1, $2, $3, $4, coalesce($5, now()), $6, $7) RETURNING id

-- name: find_credential
-- The owner of a live secret of one kind.
SELECT id, user_id, regions FROM credentials
WHERE secret_hash = $1 AND kind = $2 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $3)

-- name: revoke_credential
UPDATE credentials SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL RETURNING kind

-- name: revoke_labelled
UPDATE credentials SET revoked_at = $2 WHERE label = $1 AND revoked_at IS NULL

-- name: list_credentials
SELECT id, kind, user_id, label, regions, created_at, expires_at, revoked_at FROM credentials
WHERE ($1::text IS NULL OR user_id = $1) AND ($2::text IS NULL OR kind = $2) ORDER BY created_at, id

-- name: is_shut_out
-- Whether the key that an agent joined with was revoked. One that has only expired keeps nobody out who is in.
SELECT EXISTS (SELECT 1 FROM agents a JOIN credentials c ON c.id = a.key_id
               WHERE a.agent_no = $1 AND c.revoked_at IS NOT NULL)

-- name: retire_signing_keys
UPDATE signing_keys SET retired_at = now() WHERE retired_at IS NULL

-- name: insert_signing_key
INSERT INTO signing_keys (kid, private_pem, job_private_pem) VALUES ($1, $2, $3)

-- name: list_signing_keys
-- Newest first; retired ones still verify until their last token has expired: that of a job of two weeks. A key is ready
-- to sign when every server, and whoever else keeps our public keys for a while, has had the time to see it.
SELECT kid, private_pem, job_private_pem, created_at <= now() - interval '1 minute' AS ready FROM signing_keys
WHERE retired_at IS NULL OR retired_at > now() - interval '15 days' ORDER BY created_at DESC

-- name: lock_signing_keys
LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE
