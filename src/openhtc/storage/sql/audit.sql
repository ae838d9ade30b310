-- name: insert_entry
INSERT INTO audit (at, actor, action, subject, details) VALUES ($1, $2, $3, $4, $5)

-- name: list_entries
-- The newest entries first, before a position; one actor's or about one subject when asked.
SELECT id, at, actor, action, subject, details FROM audit
WHERE id < $1 AND ($2::text IS NULL OR actor = $2) AND ($3::text IS NULL OR subject = $3)
ORDER BY id DESC LIMIT $4
