-- outside a transaction: the table may be large, and is read and written meanwhile
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_resting ON jobs (rests_until) WHERE rests_until IS NOT NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_resting_of_batch ON jobs (batch_no) WHERE rests_until IS NOT NULL;
