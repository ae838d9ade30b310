-- name: skip_numbers
-- Moves every number that programs outside remember far beyond those that were given after the moment of the backup: of
-- leases, agents and batches.
SELECT setval('leases', nextval('leases') + 1000000000000),
       setval(agents.name, nextval(agents.name) + 1000000),
       setval(batches.name, nextval(batches.name) + 1000000000)
FROM (SELECT pg_get_serial_sequence('agents', 'agent_no')::regclass AS name) agents,
     (SELECT pg_get_serial_sequence('batches', 'batch_no')::regclass AS name) batches

-- name: free_storage_again
-- Files of tasks that were deleted came back with those of the others.
UPDATE tasks SET storage_due_at = $1 WHERE deleted_at IS NOT NULL

-- name: give_up_agents
-- Their jobs go back to the queue when the keeper looks for lost agents next.
UPDATE agents SET expires_at = $1 WHERE ended_at IS NULL AND expires_at > $1
