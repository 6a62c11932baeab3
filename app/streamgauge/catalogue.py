"""Everything declared: the domains' event types and summaries, and the one rollup that counts every event by its name."""

from importlib import import_module

from streamgauge.domains.coach import declarations as coach
from streamgauge.domains.collaboration import declarations as collaboration
from streamgauge.domains.gamification import declarations as gamification
from streamgauge.domains.learning import declarations as learning
from streamgauge.domains.operations import declarations as operations
from streamgauge.domains.web import declarations as web
from streamgauge.errors import SettingsError
from streamgauge.settings import Settings
from streamgauge.summaries.rollups import ANY, EVENT_NAME, Catalogue, Dimension, Rollup

EVENTS = Rollup(
    "events", ANY, (Dimension(EVENT_NAME),), ((EVENT_NAME,),), value="duration", histogram=True
)  # fmt: skip

_SUMMARISED = (learning, gamification, collaboration, coach)
CATALOGUE = Catalogue(
    event_types=(
        *web.EVENT_TYPES, *operations.EVENT_TYPES, *(each for domain in _SUMMARISED for each in domain.EVENT_TYPES),
    ),
    rollups=(EVENTS, *web.ROLLUPS, *(each for domain in _SUMMARISED for each in domain.ROLLUPS)),
    tallies=tuple(each for domain in _SUMMARISED for each in domain.TALLIES),
    boards=tuple(each for domain in _SUMMARISED for each in domain.BOARDS),
)  # fmt: skip


def load_catalogue(settings: Settings) -> Catalogue:
    """The catalogue that the settings name, `module:name`. Raises SettingsError when there is none."""
    module, _, name = settings.catalogue.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingsError(f"STREAMGAUGE_CATALOGUE is {settings.catalogue!r}: {error}") from error
    if not isinstance(found, Catalogue):
        raise SettingsError(f"STREAMGAUGE_CATALOGUE is {settings.catalogue!r}, which is no Catalogue")
    return found
