"""Where declarations come from."""

import sys
from types import ModuleType

import pytest

from streamgauge.catalogue import CATALOGUE, load_catalogue
from streamgauge.errors import SettingsError
from streamgauge.settings import Settings
from streamgauge.summaries.rollups import Rollup


def test_without_a_setting_the_domains_declarations_are_used() -> None:
    assert load_catalogue(Settings()) is CATALOGUE


def test_a_catalogue_of_ones_own_is_loaded_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("shop_analytics")
    own = CATALOGUE.extended(Rollup("basket.value", "basket.paid", value="cents"))
    module.OURS = own  # type: ignore[attr-defined]  # what a module of the user's would define
    monkeypatch.setitem(sys.modules, "shop_analytics", module)
    settings = Settings.from_environ({"STREAMGAUGE_CATALOGUE": "shop_analytics:OURS"})
    assert load_catalogue(settings) is own


@pytest.mark.parametrize(
    "name", ["", "nowhere:X", "streamgauge.catalogue", "streamgauge.catalogue:NOBODY", "sys:path"]
)
def test_a_name_without_a_catalogue_is_refused_and_named(name: str) -> None:
    with pytest.raises(SettingsError, match="STREAMGAUGE_CATALOGUE is"):
        load_catalogue(Settings(catalogue=name))
