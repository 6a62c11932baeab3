"""The orders that the commands give for learning records: OULAD's, statements' and tables'."""

import re
from collections import Counter
from collections.abc import Sequence
from datetime import date
from hashlib import blake2b
from pathlib import Path

from streamgauge.capture.pseudonyms import Keyring, TenantKeys
from streamgauge.settings import Settings
from streamgauge_imports.accounting import Result
from streamgauge_imports.batches import Source, batch_size
from streamgauge_imports.csv_file import CsvFile
from streamgauge_imports.csv_mapping import ColumnMapping
from streamgauge_imports.importing import Order
from streamgauge_imports.log_frames import SHOWN
from streamgauge_imports.oulad import Oulad, OuladSubmissions, OuladViews
from streamgauge_imports.oulad_folder import ASSESSMENTS, SUBMISSIONS, VIEWS, Folder
from streamgauge_imports.tenants import Tenant
from streamgauge_imports.text_files import TextFile
from streamgauge_imports.xapi_file import XapiFile


def oulad_orders(
    folder: Folder, settings: Settings, *, tenant: str, start: date, time_zone: str | None = None
) -> list[Order]:
    """Import a folder that was found: one order for each file of events.

    Each file is an import of its own, so that a file that is put into the folder later is imported without the others.

    Args:
        settings: its data directory has a folder `logs`, where the lists of rejected rows go when they are many.
        tenant, time_zone: see `Order`.
        start: the date of the day 0.
    """
    orders = []
    for name, made in ((VIEWS, OuladViews), (SUBMISSIONS, OuladSubmissions)):
        file = folder.files.get(name)
        if file is None or (name == SUBMISSIONS and ASSESSMENTS not in folder.files):
            continue
        rejects, digest = _rejects(settings, file), _digest(b"oulad " + name.encode(), file)

        def source(found: Tenant, made: type[Oulad] = made, rejects: Path = rejects) -> Source:
            keys, size = _keys(settings, found), batch_size(settings.shards)
            return made(folder, start, found.zones, keys, settings.shards, size, rejects)

        orders.append(Order(tenant, time_zone, "oulad", digest, file.lines, source))
    return orders


def xapi_order(file: TextFile, settings: Settings, *, tenant: str, time_zone: str | None = None) -> Order:
    """Import a file of statements that was examined; see `oulad_orders`."""
    rejects = _rejects(settings, file)
    return Order(
        tenant, time_zone, "xapi", _digest(b"xapi", file), file.lines,
        lambda found: XapiFile(file, _keys(settings, found), settings.shards, batch_size(settings.shards), rejects),
    )  # fmt: skip


def csv_order(
    file: TextFile, mapping: ColumnMapping, settings: Settings, *, tenant: str, time_zone: str | None = None
) -> Order:
    """Import a table that was examined; see `oulad_orders`. With another mapping it is another import."""
    rejects = _rejects(settings, file)
    return Order(
        tenant, time_zone, "csv", _digest(b"csv " + mapping.digest, file), file.lines,
        lambda found: CsvFile(
            file, mapping, found.zones, _keys(settings, found), settings.shards, batch_size(settings.shards), rejects
        ),
    )  # fmt: skip


def together(results: Sequence[Result]) -> Result:
    """One account of several."""
    rejected, dead_lettered = Counter[str](), Counter[str]()
    for each in results:
        rejected.update(each.rejected)
        dead_lettered.update(each.dead_lettered)
    finished = [each.finished_before for each in results]
    return Result(
        sum(each.read for each in results),
        sum(each.applied for each in results),
        sum(each.duplicate for each in results),
        dict(rejected),
        [line for each in results for line in each.rejected_lines][:SHOWN],
        next((each.rejected_file for each in results if each.rejected_file), None),
        dict(dead_lettered),
        sum(each.redelivered for each in results),
        sum(each.seconds for each in results),
        max(each for each in finished if each) if all(finished) else None,
    )


def _digest(kind: bytes, file: TextFile) -> bytes:
    """The identity of a file read in one way: read in another, the same file is another import."""
    return blake2b(kind + b"\n" + file.digest, digest_size=32).digest()


def _keys(settings: Settings, tenant: Tenant) -> TenantKeys:
    return Keyring(settings.keyring).tenant(tenant.name)


def _rejects(settings: Settings, file: TextFile) -> Path:
    name = re.sub(r"[^\w.-]", "_", file.path.name)[:100]
    return settings.data_dir.absolute() / "logs" / f"rejected-{name}-{file.digest.hex()[:8]}.tsv"
