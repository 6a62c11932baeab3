"""The school's one page."""

import html
import json
from collections.abc import Mapping, Sequence

_STYLE = "body { font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 2rem auto; padding: 0 1rem }"


def page(name: str, courses: Mapping[str, Sequence[str]], notice: str) -> str:
    """The courses, and a script that tells `gauge.router` which page was viewed. It needs no cookie and no library."""
    listed = "".join(
        f"<li>{html.escape(course)}: {html.escape(', '.join(lessons))}" for course, lessons in courses.items()
    )
    viewed = json.dumps({"name": "page.viewed", "properties": {"page": name}})
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Example school</title>
<style>{_STYLE}</style>
<h1>Example school</h1>
<p>A small application measured by Streamgauge. {html.escape(notice)}</p>
<ul>{listed}</ul>
<script>
  fetch("/streamgauge/events", {{
    method: "POST", headers: {{"Content-Type": "application/json"}}, keepalive: true, body: {json.dumps(viewed)},
  }});
</script>
</html>
"""
