"""Whose request it is: nobody chooses an address."""

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.errors import SettingsError
from streamgauge.limits.addresses import NO_ADDRESS, bucket_of, client_address, parse_networks

PROXIES = "10.0.0.0/8, 192.0.2.7, 2001:db8:aaaa::/48"
NETWORKS = parse_networks(PROXIES)
PROXY = st.sampled_from(["10.0.0.1", "10.255.0.3", "192.0.2.7", "2001:db8:aaaa::5", "::ffff:10.1.1.1"])
ADDRESS = st.ip_addresses().filter(lambda found: not any(found in network for network in NETWORKS))
#: What somebody may write in order to be taken for somebody else.
WRITTEN = st.one_of(
    st.text(alphabet=st.characters(max_codepoint=255), max_size=40),
    st.lists(st.one_of(st.ip_addresses().map(str), PROXY, st.sampled_from(["", "unknown", "10.0.0.1:1"])), max_size=5).map(
        ", ".join
    ),
)  # fmt: skip


def scope(peer: str | None, *lines: str, name: bytes = b"x-forwarded-for") -> dict[str, Any]:
    headers = [(b"host", b"school.example"), *((name, line.encode("latin-1")) for line in lines)]
    return {"type": "http", "client": None if peer is None else (peer, 50_000), "headers": headers}


def normal(address: IPv4Address | IPv6Address) -> str:
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ip_address(address.packed))


@given(
    client=ADDRESS.filter(lambda found: normal(found) == str(found)),
    written=st.lists(WRITTEN, max_size=3),
    hops=st.lists(st.tuples(PROXY, st.booleans()), max_size=4),
    peer=PROXY,
)
def test_whatever_a_client_writes_it_is_taken_for_the_address_it_has(
    client: IPv4Address | IPv6Address, written: list[str], hops: list[tuple[str, bool]], peer: str
) -> None:
    # Every proxy adds whom it got the request from, to the last line or in a line of its own.
    lines, before = list(written), str(client)
    for proxy, own_line in [*hops, (peer, False)]:
        if own_line or not lines:
            lines.append(before)
        else:
            lines[-1] += f", {before}"
        before = proxy
    assert client_address(scope(peer, *lines), NETWORKS) == str(client)


@given(ADDRESS, st.lists(WRITTEN, max_size=3))
def test_nobody_is_believed_who_is_no_trusted_proxy(
    client: IPv4Address | IPv6Address, written: list[str]
) -> None:
    asked = scope(str(client), *written)
    assert client_address(asked, NETWORKS) == normal(client)
    assert client_address(asked, ()) == normal(client)


def test_without_trusted_proxies_the_other_end_of_the_connection_is_the_client() -> None:
    assert client_address(scope("127.0.0.1", "203.0.113.5"), parse_networks("")) == "127.0.0.1"


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["203.0.113.5"], "203.0.113.5"),
        (["198.51.100.1, 203.0.113.5"], "203.0.113.5"),
        # All lines are one list, however many there are.
        (["203.0.113.5", "10.0.0.2"], "203.0.113.5"),
        (["203.0.113.5, 10.0.0.3", "10.0.0.2"], "203.0.113.5"),
        # What stands left of something that is no address is not believed.
        (["203.0.113.5, unknown, 10.0.0.2"], "10.0.0.2"),
        (["203.0.113.5, unknown"], "10.0.0.1"),
        (["203.0.113.5,"], "10.0.0.1"),
        (["203.0.113.5, "], "10.0.0.1"),
        ([""], "10.0.0.1"),
        ([], "10.0.0.1"),
        # Somebody inside: the leftmost of the trusted ones.
        (["10.0.0.9, 10.0.0.2"], "10.0.0.9"),
        (["[2001:db8::1]:443"], "2001:db8::1"),
        (["[2001:DB8:0::1]"], "2001:db8::1"),
        (["2001:db8::1"], "2001:db8::1"),
        (["fe80::1%eth0"], "fe80::1"),
        (["[fe80::1%25eth0]:80"], "fe80::1"),
        (["203.0.113.5:8080"], "203.0.113.5"),
        (["::ffff:203.0.113.5"], "203.0.113.5"),
        (["[::ffff:203.0.113.5]:1"], "203.0.113.5"),
        (["203.0.113.5, ::ffff:10.0.0.2"], "203.0.113.5"),
        # Not addresses, though some take them for such.
        (["203.0.113.05"], "10.0.0.1"),
        (["3405803781"], "10.0.0.1"),
        (["203.0.113.5:"], "10.0.0.1"),
        (["203.0.113.5:http"], "10.0.0.1"),
        (["[203.0.113.5"], "10.0.0.1"),
        (["203.0.113.5/32"], "10.0.0.1"),
        (["\u00b2.0.0.1"], "10.0.0.1"),
        (['"203.0.113.5"'], "10.0.0.1"),
    ],
)
def test_the_list_is_read_from_the_right(lines: list[str], found: str) -> None:
    assert client_address(scope("10.0.0.1", *lines), NETWORKS) == found


def test_other_headers_say_nothing() -> None:
    for name in (b"forwarded", b"x-real-ip", b"x-forwarded-host", b"cf-connecting-ip"):
        assert client_address(scope("10.0.0.1", "203.0.113.5", name=name), NETWORKS) == "10.0.0.1"


@pytest.mark.parametrize("peer", [None, "", "testclient", "/run/server.sock"])
def test_who_has_no_address_is_local_and_not_believed(peer: str | None) -> None:
    assert client_address(scope(peer, "203.0.113.5"), NETWORKS) == NO_ADDRESS
    assert bucket_of(NO_ADDRESS) == NO_ADDRESS


def test_an_ipv6_client_counts_as_its_64() -> None:
    one, two = "2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"
    assert bucket_of(one) == bucket_of(two) == "2001:db8:1:2::/64"
    assert bucket_of("2001:db8:1:3::1") != bucket_of(one)
    assert bucket_of("203.0.113.5") == "203.0.113.5"


def test_networks_are_read_as_people_write_them() -> None:
    assert [str(each) for each in parse_networks(" 10.0.0.0/8 ,192.0.2.7,, 2001:db8::/32 , ::ffff:10.1.0.0/112")] == [
        "10.0.0.0/8",
        "192.0.2.7/32",
        "2001:db8::/32",
        "10.1.0.0/16",
    ]  # fmt: skip
    assert parse_networks("") == parse_networks(" , ") == ()


@pytest.mark.parametrize(
    "text", ["proxy.example", "10.0.0.1/8", "10.0.0.0/33", "*", "0.0.0.0/0", "::/0", "::ffff:0:0/96", "10.0.0.0-10.0.0.9"]
)  # fmt: skip
def test_what_is_no_network_or_everybody_is_refused_by_name(text: str) -> None:
    with pytest.raises(SettingsError, match="STREAMGAUGE_TRUSTED_PROXIES holds") as refused:
        parse_networks(f"192.0.2.7, {text}")
    assert repr(text) in str(refused.value)
