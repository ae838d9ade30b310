-- Where the jobs of one page are: those of a task after a position, by batch and index; group, status and job ids narrow
-- them. Goes through the task's batches in order and stops when the page is full; of a status only through those that
-- have such jobs by their own counters. A loop, because as one statement it depended on estimates whether the planner
-- saw that it may stop: a plan that did not sorted all jobs of the task for each page.
CREATE FUNCTION page_of_jobs(
    the_task uuid, after_batch bigint, after_idx int, only_group text, only_status smallint,
    only_parents uuid[], only_indexes int[], most bigint
) RETURNS TABLE (found_batch bigint, found_idx int) LANGUAGE plpgsql STABLE ROWS 100 AS $$
DECLARE
    batch record;
    missing bigint := most;
    found bigint;
BEGIN
    FOR batch IN
        SELECT b.batch_no, b.id FROM batches b
        WHERE b.task_id = the_task AND b.batch_no >= after_batch
          AND (only_group IS NULL OR b.group_label = only_group)
          AND (only_parents IS NULL OR b.id = ANY (only_parents))
          AND CASE WHEN only_status = 0 THEN b.held > 0 WHEN only_status = 2 THEN b.runnable > 0
                   WHEN only_status IN (3, 4) THEN b.active > 0
                   WHEN only_status >= 5 THEN b.held + b.runnable + b.active < b.size ELSE true END
        ORDER BY b.batch_no
    LOOP
        RETURN QUERY
            SELECT j.batch_no, j.idx FROM jobs j
            WHERE j.batch_no = batch.batch_no
              AND j.idx > CASE WHEN batch.batch_no = after_batch THEN after_idx ELSE -1 END
              AND (only_status IS NULL OR j.status = only_status)
              AND (only_parents IS NULL OR j.idx IN (
                  SELECT wanted.idx FROM unnest(only_parents, only_indexes) AS wanted (parent, idx)
                  WHERE wanted.parent = batch.id))
            ORDER BY j.idx LIMIT missing;
        GET DIAGNOSTICS found = ROW_COUNT;
        missing := missing - found;
        EXIT WHEN missing <= 0;
    END LOOP;
END $$;
