"""Who may ask the server for anything: pages of its own, on this machine."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN_HEADER = "x-emotemporal-token"
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_READING = {"GET", "HEAD"}
# Of results, too: a page of another site can neither frame, read nor embed anything.
_HEADERS = {
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def is_loopback(host: str) -> bool:
    """Tell whether an address can be reached from this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """Lets requests through that a page of this server may have sent.

    A site whose name suddenly stands for this machine (DNS rebinding) is told by the name; one that makes
    the browser send something here, by the origin and by a token that only our page knows.

    Args:
        app: what answers.
        host: the address that the server listens on.
        token: what requests that change something must bear.
    """

    def __init__(self, app: ASGIApp, *, host: str, token: str) -> None:
        self._app = app
        self._host = host
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        fault = self._fault(scope["method"], Headers(scope=scope))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("content-security-policy", _POLICY)
            await send(message)

        if fault:
            answer = JSONResponse({"error": fault}, 403)
            await answer(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)

    def _fault(self, method: str, headers: Headers) -> str:
        host = headers.get("host", "")
        if not self._is_ours(host):
            return "this server does not go by that name; open the address that the terminal shows"
        if method in _READING:
            return ""
        if headers.get("origin", "").lower() != f"http://{host.lower()}":
            return "this request did not come from a page of this server"
        # Compared in time that does not tell how much of it is right.
        if not secrets.compare_digest(headers.get(TOKEN_HEADER, "").encode(), self._token.encode()):
            return "this page is of an earlier run; reload it"
        return ""

    def _is_ours(self, host: str) -> bool:
        try:
            # Any port: that of an SSH tunnel may be another.
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in _LOOPBACK or name == self._host.lower():
            return True
        if is_loopback(self._host):
            return False
        own = socket.gethostname().lower()
        return name in {own, f"{own}.local", socket.getfqdn().lower()} or _is_ip(name)


def _is_ip(name: str) -> bool:
    # No other site can go by a number.
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
