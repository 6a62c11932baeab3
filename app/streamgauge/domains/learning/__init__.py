"""Learning: sessions, materials, lessons, quizzes and assignments of courses. Verbs follow those of ADL's xAPI."""
