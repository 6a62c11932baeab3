-- The catalogue of courses. Due dates are microseconds since 1970.

-- courses: a tenant's courses by id; $2: this one alone, null: all, after $3
SELECT course_id, name, subject, lessons, assignments::text FROM courses
WHERE tenant_id = $1 AND ($2::text IS NULL OR course_id = $2) AND ($3::text IS NULL OR course_id COLLATE "C" > $3)
ORDER BY course_id COLLATE "C" LIMIT $4

-- courses_beside: how many others there are, and how many lessons and assignments they declare
SELECT count(*) AS courses, coalesce(sum(parts), 0)::bigint AS parts FROM courses WHERE tenant_id = $1 AND course_id <> $2

-- course_put: a course as it is to be; returns nothing when it was so already
INSERT INTO courses AS c (tenant_id, course_id, name, subject, lessons, assignments, parts) VALUES ($1, $2, $3, $4, $5, $6::jsonb, $7)
ON CONFLICT (tenant_id, course_id) DO UPDATE
SET name = excluded.name, subject = excluded.subject, lessons = excluded.lessons, assignments = excluded.assignments, parts = excluded.parts
WHERE (c.name, c.subject, c.lessons, c.assignments)
    IS DISTINCT FROM (excluded.name, excluded.subject, excluded.lessons, excluded.assignments)
RETURNING course_id
