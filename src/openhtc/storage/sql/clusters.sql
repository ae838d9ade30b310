-- name: list_pools
-- Live nodes of some regions by provider, region and machine type. A node of several regions is in each of them.
SELECT provider, region, machine_type, array_agg(DISTINCT version ORDER BY version) AS versions, count(*)::int AS nodes
FROM agents, unnest(regions) AS region
WHERE ended_at IS NULL AND expires_at >= $1 AND region = ANY ($2)
GROUP BY provider, region, machine_type ORDER BY provider, region, machine_type

-- name: node_kinds
-- The different live nodes of a project's regions, with the priority classes that its dimensions let go to each.
WITH kinds AS MATERIALIZED (
    SELECT DISTINCT region, machine_type, hyperthreading, architecture, vcpus, memory_mib, disk_gib
    FROM agents, unnest(regions) AS region
    WHERE ended_at IS NULL AND expires_at >= $2
), open AS MATERIALIZED (
    SELECT k.region, k.machine_type, k.hyperthreading,
           ARRAY(SELECT priority FROM open_priorities(p.workspace_id, p.id, k.region, k.machine_type, k.hyperthreading))
           AS priorities
    FROM projects p, (SELECT DISTINCT region, machine_type, hyperthreading FROM kinds) k
    WHERE p.id = $1 AND k.region = ANY (p.regions)
)
SELECT DISTINCT region, architecture, vcpus, memory_mib, disk_gib, priorities
FROM kinds JOIN open USING (region, machine_type, hyperthreading)
