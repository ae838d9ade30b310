-- outside a transaction: the table may be large, and is read and written meanwhile. What an interrupted attempt left goes first.
DROP INDEX CONCURRENTLY IF EXISTS jobs_resting;
CREATE INDEX CONCURRENTLY jobs_resting ON jobs (rests_until) WHERE rests_until IS NOT NULL;
DROP INDEX CONCURRENTLY IF EXISTS jobs_resting_of_batch;
CREATE INDEX CONCURRENTLY jobs_resting_of_batch ON jobs (batch_no) WHERE rests_until IS NOT NULL;
