"""OpenSSL's reason for a fault of TLS as a sentence: what happened, and what to do."""

import ssl

import pytest

from wsnova_statsd.dial.tls import tls_fault
from wsnova_statsd.errors import ConnectionFailed

_LOAD = "load one that it accepts into the context of ssl= (load_cert_chain)"
_VERSIONS = "client and server share no TLS version; check minimum_version of the context of ssl="
_NO_TLS = "the server does not speak TLS on this port; check the port, or use ws://"
_CHECK = "check the port, and the context of ssl="
_LEFT = "the server ended the connection; check that the port speaks TLS, and look into the server's log"


def _reported(error: OSError | ValueError) -> str:
    fault = tls_fault("feed.example", error)
    assert isinstance(fault, ConnectionFailed)
    assert fault.cause == "tls"
    return str(fault).removeprefix("TLS with feed.example failed: ")


def _reason(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] {reason.lower().replace('_', ' ')} (_ssl.c:2580)")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (
            "TLSV13_ALERT_CERTIFICATE_REQUIRED",
            f"the server asks for a client certificate: certificate required; {_LOAD}",
        ),
        ("TLSV1_ALERT_UNKNOWN_CA", f"the server does not trust the issuer of the client certificate; {_LOAD}"),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", f"the server refused the client certificate as expired; {_LOAD}"),
        ("SSLV3_ALERT_CERTIFICATE_REVOKED", f"the server refused the client certificate as revoked; {_LOAD}"),
        ("SSLV3_ALERT_BAD_CERTIFICATE", f"the server refused the client certificate; {_LOAD}"),
        ("SSLV3_ALERT_CERTIFICATE_UNKNOWN", f"the server refused the client certificate; {_LOAD}"),
        ("SSLV3_ALERT_UNSUPPORTED_CERTIFICATE", f"the server refused the client certificate; {_LOAD}"),
        ("TLSV1_ALERT_ACCESS_DENIED", f"the server refused the client certificate; {_LOAD}"),
        ("TLSV1_UNRECOGNIZED_NAME", "the server does not know this host name; check the host of the URL"),
        ("TLSV1_ALERT_PROTOCOL_VERSION", _VERSIONS),
        ("UNSUPPORTED_PROTOCOL", _VERSIONS),
        (
            "SSLV3_ALERT_HANDSHAKE_FAILURE",
            "client and server share no cipher, or the server asks for a client certificate; check the context of ssl=",
        ),
        ("WRONG_VERSION_NUMBER", _NO_TLS),
        ("RECORD_LAYER_FAILURE", _NO_TLS),
        ("HTTP_REQUEST", _NO_TLS),
        ("TLSV1_ALERT_INTERNAL_ERROR", f"tlsv1 alert internal error; {_CHECK}"),
    ],
)
def test_each_reason_is_named_with_its_own_remedy(reason: str, text: str) -> None:
    """Alerts of the server and faults of this side; a reason without its own sentence keeps OpenSSL's words."""
    assert _reported(_reason(reason)) == text


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (9, "check this machine's clock, and have the certificate renewed"),
        (10, "check this machine's clock, and have the certificate renewed"),
        (18, "if you trust its issuer, pass ssl=ssl.create_default_context(cafile=...)"),
        (19, "if you trust its issuer, pass ssl=ssl.create_default_context(cafile=...)"),
        (20, "if you trust its issuer, pass ssl=ssl.create_default_context(cafile=...)"),
        (62, "use a host name that the certificate has"),
        (64, "use a host name that the certificate has"),
        (23, "check the server's certificate"),
    ],
)
def test_a_certificate_that_is_not_verified_is_named_with_the_reason(code: int, remedy: str) -> None:
    """By OpenSSL's number for it; its sentence adds no full stop within ours."""
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")
    error.reason, error.verify_code, error.verify_message = "CERTIFICATE_VERIFY_FAILED", code, "it is not fine."
    assert _reported(error) == f"certificate verify failed: it is not fine; {remedy}"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), _LEFT),
        (ssl.SSLZeroReturnError(6, "TLS/SSL connection has been closed"), _LEFT),
        (ConnectionResetError(104, "Connection reset by peer"), _LEFT),
        (
            OSError(12, "Cannot allocate memory"),
            f"[Errno 12] Cannot allocate memory; {_CHECK}",
        ),
        (
            ValueError("check_hostname requires it"),
            f"check_hostname requires it; {_CHECK}",
        ),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_fault_without_a_reason_has_a_sentence(error: OSError | ValueError, text: str) -> None:
    """A server that disconnected, and any other error of Python."""
    assert _reported(error) == text
