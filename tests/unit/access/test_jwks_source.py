"""Reading the provider's keys from a real server, which may do anything, and from a file."""

import datetime
import ipaddress
import time
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.x509.oid import NameOID

from streamgauge.access import key_source
from streamgauge.access.key_source import MOST_BYTES, read_source
from streamgauge.errors import ServerError
from tests.unit.access.identity_provider import jwk_set, private_key
from tests.unit.access.provider_server import Handler, endless, serving

KEYS = jwk_set()


def test_keys_are_read_from_an_address() -> None:
    asked: list[str] = []

    def answer(handler: Handler) -> None:
        asked.append(f"{handler.path} {handler.headers['Accept']} {handler.headers['Authorization']}")
        handler.send(200, KEYS)

    with serving(answer) as address:
        assert read_source(address) == KEYS
    assert asked == ["/keys?of=school application/json None"]


def test_keys_are_read_in_pieces_too() -> None:
    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for at in range(0, len(KEYS), 100):
            piece = KEYS[at : at + 100]
            handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        handler.wfile.write(b"0\r\n\r\n")

    with serving(answer) as address:
        assert read_source(address) == KEYS


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    asked: list[str] = []

    def answer(handler: Handler) -> None:
        asked.append(handler.path)
        handler.send(status, KEYS, Location="/elsewhere")

    with (
        serving(answer) as address,
        pytest.raises(ServerError, match=f"{status}; redirects are not followed"),
    ):
        read_source(address)
    assert asked == ["/keys?of=school"]


@pytest.mark.parametrize("status", [204, 206, 304, 400, 401, 404, 429, 500, 503])
def test_an_answer_of_another_status_is_no_answer(status: int) -> None:
    with (
        serving(lambda handler: handler.send(status, KEYS)) as address,
        pytest.raises(ServerError, match=str(status)),
    ):
        read_source(address)


def test_ten_megabytes_are_not_read() -> None:
    with serving(endless) as address, pytest.raises(ServerError, match=f"larger than {MOST_BYTES} bytes"):
        read_source(address)


def test_the_largest_answer_is_read_and_one_byte_more_is_not() -> None:
    with serving(lambda handler: handler.send(200, b" " * MOST_BYTES)) as address:
        assert len(read_source(address)) == MOST_BYTES
    with (
        serving(lambda handler: handler.send(200, b" " * (MOST_BYTES + 1))) as address,
        pytest.raises(ServerError, match="larger than"),
    ):
        read_source(address)


def test_endless_headers_are_not_read() -> None:
    def answer(handler: Handler) -> None:
        with suppress(OSError):
            handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000_000)

    with serving(answer) as address, pytest.raises(ServerError, match="larger than"):
        read_source(address)


def test_an_answer_in_pieces_that_ends_early_is_no_answer() -> None:
    def answer(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n")
        handler.close_connection = True

    with serving(answer) as address, pytest.raises(ServerError, match="IncompleteRead"):
        read_source(address)


def test_an_answer_that_ends_early_is_no_answer() -> None:
    def answer(handler: Handler) -> None:
        handler.send(200, KEYS[:-1], **{"Content-Length": str(len(KEYS))})
        handler.close_connection = True

    with serving(answer) as address, pytest.raises(ServerError, match="1 bytes of the answer are missing"):
        read_source(address)


@pytest.mark.parametrize("text", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 two hundred\r\n\r\n", b"\0" * 100])
def test_what_is_no_web_server_is_an_error_of_ours(text: bytes) -> None:
    def answer(handler: Handler) -> None:
        handler.wfile.write(text)
        handler.close_connection = True

    with serving(answer) as address, pytest.raises(ServerError, match="STREAMGAUGE_JWT_JWKS cannot be read"):
        read_source(address)


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_source, "DEADLINE", 0.2)

    def answer(handler: Handler) -> None:
        handler.server.over.wait(20)

    with serving(answer) as address, pytest.raises(ServerError, match=r"imed out|longer than"):
        read_source(address)


def test_a_server_that_sends_byte_after_byte_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_source, "DEADLINE", 0.3)
    sent = 0

    def answer(handler: Handler) -> None:
        nonlocal sent
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        with suppress(OSError):
            # At most ten seconds, should nobody give it up.
            while sent < 500 and not handler.server.over.wait(0.02):
                handler.wfile.write(b" ")
                sent += 1

    with serving(answer) as address, pytest.raises(ServerError, match=r"imed out|longer than"):
        read_source(address)
    assert sent < 500


def test_nobody_there_is_an_error_of_ours() -> None:
    with serving(endless) as address:
        pass
    with pytest.raises(ServerError, match="ConnectionRefusedError"):
        read_source(address)


def certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 that signed itself, with its key."""
    key = private_key("ec-server")
    assert isinstance(key, EllipticCurvePrivateKey)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "provider")])
    now = datetime.datetime.fromtimestamp(time.time(), datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return path


def test_a_certificate_nobody_vouches_for_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = certificate(tmp_path)
    with serving(lambda handler: handler.send(200, KEYS), made) as address:
        with pytest.raises(ServerError, match="CERTIFICATE_VERIFY_FAILED"):
            read_source(address)
        # With an authority of one's own, as OpenSSL is told about it.
        monkeypatch.setenv("SSL_CERT_FILE", str(made))
        assert read_source(address) == KEYS
        with pytest.raises(ServerError, match="CERTIFICATE_VERIFY_FAILED"):
            read_source(address.replace("127.0.0.1", "localhost"))


def test_keys_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(KEYS)
    assert read_source(str(path)) == KEYS
    path.write_bytes(b" " * (MOST_BYTES + 1))
    with pytest.raises(ServerError, match="larger than"):
        read_source(str(path))
    with pytest.raises(ServerError, match="FileNotFoundError"):
        read_source(str(tmp_path / "nothing"))
    with pytest.raises(ServerError, match="IsADirectoryError"):
        read_source(str(tmp_path))
