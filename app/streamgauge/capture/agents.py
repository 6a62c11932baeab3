"""What a request's `User-Agent` says: a known bot or not, and the kind of device.

Only what announces itself is a bot here: crawlers, link previews, monitors. HTTP libraries are not: an application's own clients
use them. Recent iPads call themselves Macintosh, and so count as desktops.
"""

import re
from functools import lru_cache
from typing import Final, Literal, NamedTuple

Device = Literal["desktop", "mobile", "tablet", "bot"]

#: Of a user agent. The caller cuts it: what is asked with is kept.
MOST_BYTES: Final = 300
_AGENTS_KEPT = 2_048

_BOTS: Final = re.compile(
    # What most crawlers call themselves: "Googlebot/2.1", "Foo_bot_", "BarSpider"; but there are phones called Cubot.
    r"(?<!cu)bot(?:\b|_)|crawler|spider(?:\b|_)|slurp|archiver"
    # Crawlers of other names: search, advertisements, language models.
    r"|\bgoogle-|googleother|mediapartners|apis-google|feedfetcher|bingpreview|yandeximages|ia_archiver|archive\.org"
    r"|chatgpt-user|claude-web|claude-user|anthropic-ai|perplexity-user|cohere-ai|meta-external"
    r"|ahrefs|semrush|screaming frog|scrapy|heritrix|nutch"
    # Link previews.
    r"|facebookexternalhit|facebookcatalog|whatsapp/|slack-imgproxy|skypeuripreview|embedly|iframely|flipboardproxy|vkshare"
    # Monitors and measurements.
    r"|uptime-kuma|pingdom|statuscake|site24x7|newrelicpinger|datadogsynthetics|catchpoint|checkly|better ?uptime|betterstack"
    r"|hetrixtools|freshping|gtmetrix|lighthouse|pagespeed|headlesschrome|phantomjs|uptimerobot|w3c_validator|w3c-checklink"
    # Health checks of platforms and proxies.
    r"|kube-probe|googlehc|elb-healthchecker|amazon-route53-health-check|consul health check|cloudflare-healthchecks"
    r"|cloudflare-alwaysonline"
    # Scanners.
    r"|censysinspect|expanse, a palo alto|zgrab|masscan|nmap scripting|internetmeasurement|netcraft",
    re.IGNORECASE,
)
_SCREEN: Final = re.compile(r"smart-?tv|\btv\b|hbbtv|googletv|appletv|crkey|playstation|xbox", re.IGNORECASE)
_TABLET: Final = re.compile(
    r"ipad|tablet(?! pc)|kindle|silk/|playbook|nexus (?:7|9|10)\b|sm-t\d", re.IGNORECASE
)
_MOBILE: Final = re.compile(
    r"iphone|ipod|mobi|windows phone|blackberry|bb10|opera mini|webos|symbian|fennec", re.IGNORECASE
)
_DESKTOP: Final = re.compile(r"windows nt|macintosh|x11|linux x86_64|cros ", re.IGNORECASE)


class Agent(NamedTuple):
    """A user agent, and what it says."""

    text: str
    bot: bool
    device: Device | None  #: None: it does not say


@lru_cache(_AGENTS_KEPT)
def agent(header: bytes) -> Agent:
    """Read the first `MOST_BYTES` of a `User-Agent`; empty where there is none. Never raises, whatever the bytes."""
    text = header.decode("latin-1")
    bot = _BOTS.search(text) is not None
    return Agent(text, bot, "bot" if bot else _device(text))


def _device(text: str) -> Device | None:
    if _SCREEN.search(text):
        return None
    if _TABLET.search(text):
        return "tablet"
    if _MOBILE.search(text):
        return "mobile"
    # Google's advice to makers: Android without "Mobile" is a large screen.
    if "Android" in text:
        return "tablet"
    return "desktop" if _DESKTOP.search(text) else None
