"""SQL kept as SQL: files of named queries, each headed by a line `-- name: what it is for`."""

import re
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType

_HEADER = re.compile(r"^-- (?P<name>[a-z_]+): (?P<description>.+)$", re.MULTILINE)


def named_queries(package: str, file: str = "queries.sql") -> Mapping[str, str]:
    """The queries of a package's file by name. Raises ValueError for a name used twice."""
    text = files(package).joinpath(file).read_text("utf-8")
    heads = list(_HEADER.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    queries = {head["name"]: text[head.end() : end].strip() for head, end in zip(heads, ends, strict=True)}
    if len(queries) != len(heads):
        raise ValueError(f"{package}/{file} names a query twice")
    return MappingProxyType(queries)
