"""TLS: contexts and sockets, also under gevent and eventlet, and the meaning of OpenSSL's errors as a sentence with a
remedy. Waits for nothing."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

from ..errors import ConnectionFailed

_CLIENT_CERTIFICATE: Final = "load one that it accepts into the context of ssl= (load_cert_chain)"
# By a part of OpenSSL's reason, the first match: the meaning, and the remedy.
_MEANINGS: Final = (
    ("CERTIFICATE_REQUIRED", "the server asks for a client certificate: certificate required", _CLIENT_CERTIFICATE),
    ("ALERT_UNKNOWN_CA", "the server does not trust the issuer of the client certificate", _CLIENT_CERTIFICATE),
    ("CERTIFICATE_EXPIRED", "the server refused the client certificate as expired", _CLIENT_CERTIFICATE),
    ("CERTIFICATE_REVOKED", "the server refused the client certificate as revoked", _CLIENT_CERTIFICATE),
    ("BAD_CERTIFICATE", "the server refused the client certificate", _CLIENT_CERTIFICATE),
    ("CERTIFICATE_UNKNOWN", "the server refused the client certificate", _CLIENT_CERTIFICATE),
    ("UNSUPPORTED_CERTIFICATE", "the server refused the client certificate", _CLIENT_CERTIFICATE),
    ("ALERT_ACCESS_DENIED", "the server refused the client certificate", _CLIENT_CERTIFICATE),
    ("UNRECOGNIZED_NAME", "the server does not know this host name", "check the host of the URL"),
    ("PROTOCOL_VERSION", "client and server share no TLS version", "check minimum_version of the context of ssl="),
    ("UNSUPPORTED_PROTOCOL", "client and server share no TLS version", "check minimum_version of the context of ssl="),
    (
        "HANDSHAKE_FAILURE",
        "client and server share no cipher, or the server asks for a client certificate",
        "check the context of ssl=",
    ),
    ("WRONG_VERSION_NUMBER", "the server does not speak TLS on this port", "check the port, or use ws://"),
    ("RECORD_LAYER_FAILURE", "the server does not speak TLS on this port", "check the port, or use ws://"),
    ("HTTP_REQUEST", "the server does not speak TLS on this port", "check the port, or use ws://"),
)
_EXPIRED: Final = 10  # OpenSSL's X509_V_ERR_...
_NOT_YET_VALID: Final = 9
_OTHER_NAMES: Final = (62, 63, 64)
_UNKNOWN_SIGNER: Final = (2, 18, 19, 20, 21, 27)

# The last class that knows TLS; its base is a plain socket. Eventlet's class derives from the standard library's.
_LOWEST: Final = [kind for kind in ssl.SSLSocket.__mro__ if kind.__name__.endswith("SSLSocket")][-1]


def is_context(value: Any) -> bool:
    """True if it is an SSLContext. gevent and eventlet replace that class by a subclass: a context made before the
    replacement is of the base class."""
    return isinstance(value, ssl.SSLContext.__mro__[:-1])


def wrap(context: ssl.SSLContext, sock: socket.socket, host: str) -> ssl.SSLSocket:
    """The socket under TLS, before the handshake. A context made before gevent or eventlet patched ssl would create a
    socket that blocks all greenlets while it waits: the patched class creates a suitable one."""
    if isinstance(context, ssl.SSLContext):
        return context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    before, context.sslsocket_class = context.sslsocket_class, ssl.SSLSocket
    try:
        return ssl.SSLContext.wrap_socket(context, sock, server_hostname=host, do_handshake_on_connect=False)
    finally:
        context.sslsocket_class = before


def below_tls(sock: socket.socket | ssl.SSLSocket, name: str) -> Callable[..., Any]:
    """A method of the plain socket under TLS; the TLS socket's own method may lose received data. Under eventlet a
    socket is not a socket.socket, so that its own class is used."""
    method: Callable[..., Any] = getattr(super(_LOWEST, sock) if isinstance(sock, _LOWEST) else sock, name)
    return method


def tls_fault(host: str, error: OSError | ValueError) -> ConnectionFailed:
    """The error for a fault of TLS with this host, cause `tls`."""
    what, remedy = _meaning(error)
    return ConnectionFailed(f"TLS with {host} failed: {what}; {remedy}", cause="tls")


def _meaning(error: OSError | ValueError) -> tuple[str, str]:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message.rstrip('.')}", _unverified(error.verify_code)
    reason = (getattr(error, "reason", None) or "") if isinstance(error, ssl.SSLError) else ""
    for word, what, remedy in _MEANINGS:
        if word in reason:
            return what, remedy
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ConnectionError):
        return "the server ended the connection", "check that the port speaks TLS, and look into the server's log"
    return reason.lower().replace("_", " ") or str(error), "check the port, and the context of ssl="


def _unverified(code: int) -> str:
    if code in _UNKNOWN_SIGNER:
        return "if you trust its issuer, pass ssl=ssl.create_default_context(cafile=...)"
    if code in _OTHER_NAMES:
        return "use a host name that the certificate has"
    if code in (_EXPIRED, _NOT_YET_VALID):
        return "check this machine's clock, and have the certificate renewed"
    return "check the server's certificate"
