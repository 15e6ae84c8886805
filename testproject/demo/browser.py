"""A visitor of the site: cookies, forms with their CSRF token, and no JavaScript."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from http.client import HTTPResponse
from http.cookiejar import CookieJar
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, HTTPRedirectHandler, Request, build_opener

JSON = "application/json"
HTML = "text/html"


class _Stay(HTTPRedirectHandler):
    """Redirects are answers, not to be followed: the story looks at them."""

    def redirect_request(self, *args: Any) -> None:
        """None: do not."""


class Answer:
    """Status, headers and body of a response."""

    def __init__(self, response: HTTPResponse | HTTPError) -> None:
        with response:
            self.status = response.status or 0
            self.headers = response.headers
            self.body = response.read()

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Browser:
    """One visitor with cookies of their own."""

    def __init__(self, site: str) -> None:
        self.site = site
        self.cookies = CookieJar()
        self.opener = build_opener(HTTPCookieProcessor(self.cookies), _Stay())

    def get(self, path: str) -> Answer:
        """Look at a page."""
        return self._ask(Request(self.site + path, headers={"Accept": HTML}))

    def post(
        self,
        path: str,
        fields: Mapping[str, str] | None = None,
        *,
        file: tuple[str, bytes] | None = None,
        accept: str = JSON,
    ) -> Answer:
        """Send a form, with a file in its field `file` if one is given."""
        kind, body = _encoded(fields or {}, file)
        headers = {"Accept": accept, "Content-Type": kind, "X-CSRFToken": self._token()}
        return self._ask(Request(self.site + path, body, headers))

    def press(self, path: str, fields: Mapping[str, str], **kwargs: Any) -> Answer:
        """Open the page of a form and send it."""
        self.get(path)
        return self.post(path, fields, **kwargs)

    def twin(self) -> Browser:
        """The same visitor at the same moment, for a button that is pressed more than once."""
        other = Browser(self.site)
        for cookie in self.cookies:
            other.cookies.set_cookie(cookie)
        return other

    def _token(self) -> str:
        return next((c.value or "" for c in self.cookies if c.name == "csrftoken"), "")

    def _ask(self, request: Request) -> Answer:
        try:
            return Answer(self.opener.open(request, timeout=120))
        except HTTPError as error:
            return Answer(error)


def _encoded(fields: Mapping[str, str], file: tuple[str, bytes] | None) -> tuple[str, bytes]:
    if file is None:
        return "application/x-www-form-urlencoded", urlencode(fields).encode()
    boundary, (name, content) = uuid.uuid4().hex, file
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in fields.items()
    ]
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = "".join(parts).encode() + head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return f"multipart/form-data; boundary={boundary}", body
