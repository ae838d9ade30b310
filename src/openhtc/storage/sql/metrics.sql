-- name: list_projects
-- Projects of one workspace, or of all, with the smallest limit that holds for each.
SELECT p.id, p.name, p.workspace_id, least(own.vcpus, workspace.vcpus) AS smallest_limit
FROM projects p
LEFT JOIN (SELECT project_id, min(vcpus) AS vcpus FROM limits WHERE project_id IS NOT NULL GROUP BY project_id) own
       ON own.project_id = p.id
LEFT JOIN limits workspace ON workspace.workspace_id = p.workspace_id AND workspace.project_id IS NULL
WHERE $1::text IS NULL OR p.workspace_id = $1
ORDER BY p.seq

-- name: list_limits
SELECT workspace_id, project_id, modifier_role, vcpus FROM limits WHERE $1::text IS NULL OR workspace_id = $1 ORDER BY id

-- name: list_counters
-- Every shard by itself.
SELECT project_id, region, counters FROM project_metrics WHERE project_id = ANY ($1) ORDER BY project_id, region

-- name: waiting_since
-- Since when the jobs of each project and region that wait longest have waited, of those in three batches for each
-- priority: the oldest with a waiting job, the oldest that no job has left, and the newest. Older batches than the second
-- have only jobs that came back. Of a batch, the first and the last waiting job: one that came back, or the one that waits
-- for its first attempt.
SELECT w.project_id, w.region, min(j.queued_at) AS since
FROM unnest($1::uuid[], $2::text[]) AS w (project_id, region)
CROSS JOIN unnest('{0,1}'::smallint[]) AS class (priority)
CROSS JOIN LATERAL (
    (SELECT batch_no FROM batches
     WHERE region = w.region AND project_id = w.project_id AND priority = class.priority AND runnable > 0 AND cancelling_at IS NULL
     ORDER BY batch_no LIMIT 1)
    UNION
    (SELECT batch_no FROM batches
     WHERE region = w.region AND project_id = w.project_id AND priority = class.priority AND runnable > 0 AND cancelling_at IS NULL
       AND runnable + held = size
     ORDER BY batch_no LIMIT 1)
    UNION
    (SELECT batch_no FROM batches
     WHERE region = w.region AND project_id = w.project_id AND priority = class.priority AND runnable > 0 AND cancelling_at IS NULL
     ORDER BY batch_no DESC LIMIT 1)
) b
CROSS JOIN LATERAL (
    (SELECT queued_at FROM jobs WHERE batch_no = b.batch_no AND status = 2 AND rests_until IS NULL ORDER BY idx LIMIT 1)
    UNION ALL
    (SELECT queued_at FROM jobs WHERE batch_no = b.batch_no AND status = 2 AND rests_until IS NULL ORDER BY idx DESC LIMIT 1)
) j
GROUP BY w.project_id, w.region

-- name: held_since
-- When the oldest batch with held jobs was submitted, for each project.
SELECT w.project_id, min(b.created_at) AS since
FROM unnest($1::uuid[], $2::text[]) AS w (project_id, workspace_id)
CROSS JOIN unnest('{0,1}'::smallint[]) AS class (priority)
CROSS JOIN LATERAL (
    SELECT created_at FROM batches
    WHERE workspace_id = w.workspace_id AND project_id = w.project_id AND priority = class.priority AND held > 0 AND cancelling_at IS NULL
    ORDER BY batch_no LIMIT 1
) b
GROUP BY w.project_id

-- name: live_nodes
-- A node of several regions is in each of them.
SELECT provider, region, count(*)::int AS nodes, sum(vcpus)::bigint AS vcpus
FROM agents, unnest(regions) AS region
WHERE ended_at IS NULL AND expires_at >= $1
GROUP BY provider, region ORDER BY provider, region

-- name: installation
-- keeper_since: when the server that leads took the lead; null while none does.
SELECT (SELECT count(*)::int FROM agents WHERE ended_at IS NULL AND expires_at >= $1) AS nodes,
       (SELECT expired FROM agent_totals) AS expired,
       (SELECT max(version) FROM schema_versions) AS schema_version,
       pg_database_size(current_database()) AS database_bytes,
       (SELECT a.backend_start FROM pg_locks l JOIN pg_stat_activity a USING (pid)
        WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND l.classid = 0 AND l.objid = $2::bigint::oid
        LIMIT 1) AS keeper_since
