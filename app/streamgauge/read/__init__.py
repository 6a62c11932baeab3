"""Reading: a question in, one JSON object out, from summary rows alone.

query  →  plan            →  rows                  →  report
(shape)   (what to read)     (one PG snapshot)        (pure: rows and now in, answer out)
"""
