-- additive
-- What tenants declare of their courses: see streamgauge.domains.learning.courses. NULL is what is not declared.

CREATE TABLE courses (
    tenant_id   int NOT NULL REFERENCES tenants ON DELETE CASCADE,
    course_id   text NOT NULL CHECK (length(course_id) BETWEEN 1 AND 200),
    name        text CHECK (length(name) <= 200),
    subject     text CHECK (length(subject) <= 200),
    lessons     text[] CHECK (cardinality(lessons) <= 1000),
    -- [{"id": text, "due_at": microseconds since 1970 or null}]
    assignments jsonb CHECK (jsonb_typeof(assignments) = 'array'),
    -- Lessons and assignments: what a tenant may declare of them in all is bounded.
    parts       int NOT NULL CHECK (parts >= 0),
    PRIMARY KEY (tenant_id, course_id)
);

ALTER TABLE courses ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY all_tenants ON courses TO CURRENT_USER, streamgauge_platform USING (true) WITH CHECK (true);
CREATE POLICY one_tenant ON courses TO streamgauge_api
    USING (tenant_id = (SELECT nullif(current_setting('streamgauge.tenant_id', true), '')::int))
    WITH CHECK (tenant_id = (SELECT nullif(current_setting('streamgauge.tenant_id', true), '')::int));
GRANT SELECT, INSERT, UPDATE ON courses TO streamgauge_api;
