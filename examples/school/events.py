"""What the school records beside its requests and beside what Streamgauge's domains declare (`gauge.learning` and its like).

Names, properties, and what each is kept for. A property that is not declared is left out and counted. Who it is about is not one.
"""

from streamgauge import EventType, Property

PAGE_VIEWED = EventType(
    "page.viewed",
    purpose="seeing which pages are looked at; sent by the pages themselves",
    properties={"page": Property(str, "which page, by name and not by address")},
)

EVENT_TYPES = (PAGE_VIEWED,)
