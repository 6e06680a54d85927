"""Whether a web page of another site sent a request. This matters with `AUTH=open` alone, where callers send no secret.

Every page that a person opens can make their browser send requests to every address that their computer reaches, this
gateway among them. There are two ways, and a check against each:

- The page sends a request to our own address. The browser then names the page in the headers `Origin` and `Referer`,
  or says with `Sec-Fetch-Site` whether the page is of our site.
- The page's own name is changed in the DNS to our address (DNS rebinding). The browser then believes that the page is
  of our site, and lets it read the answers. But the header `Host` has the page's name.
"""

from contextlib import suppress
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from flask import current_app, request

from ..errors import Forbidden
from ..languages import Sentence

ANY_ADDRESS = ("0.0.0.0", "::")
"""With one of these as HOST the gateway listens at every address of its machine."""


def refuse_other_sites() -> None:
    """Refuse the request if a browser sent it for a web page of another site.

    :raises Forbidden: the request names a host that is not ours, or its page is of another site
    """
    name = _host_name(f"//{request.host}")
    if not _is_our_name(name):
        raise Forbidden(
            Sentence(
                "This gateway needs no login (AUTH=open), so it answers only requests whose header Host names its"
                " own machine, such as localhost; the operator can let other names in: ALLOWED_HOSTS."
            )
        )
    if _is_page_of_another_site(name):
        raise Forbidden(
            Sentence("A web page of another site sent this; the operator can let its origin in: CORS_ORIGINS.")
        )


def _is_our_name(name: str) -> bool:
    """Whether a name is a loopback name, is HOST, or is in ALLOWED_HOSTS.

    With HOST=0.0.0.0 each IP address counts as HOST: DNS rebinding needs a name, and cannot make a page whose name is
    an IP address of ours.
    """
    settings = current_app.config
    if name in ("localhost", "127.0.0.1", _same_for_all_spellings(settings["HOST"])) or name.endswith(".localhost"):
        return True
    with suppress(ValueError):  # The name is no IP address.
        if ip_address(name).is_loopback or settings["HOST"] in ANY_ADDRESS:
            return True
    allowed = settings["ALLOWED_HOSTS"]
    return "*" in allowed or name in map(_same_for_all_spellings, allowed)


def _is_page_of_another_site(own_name: str) -> bool:
    """Whether the browser says that the request is for a page of another site that CORS_ORIGINS does not name.

    Ports are not compared: nginx may leave its port out of Host, and a developer's frontend has another port.

    Browsers send `Origin` with each request but GET and HEAD, and `Sec-Fetch-Site` with each request to https and to
    loopback. `Referer` serves for browsers without `Sec-Fetch-Site`; a page can leave it out.
    """
    origin, site, referer = (request.headers.get(name) for name in ("Origin", "Sec-Fetch-Site", "Referer"))
    if origin is None and site is None and referer is None:
        return False  # No browser sent this, or the person typed the address.
    allowed = current_app.config["CORS_ORIGINS"]
    if "*" in allowed or (origin or _origin_of(referer or "")) in allowed:
        return False
    if site == "cross-site":
        return True
    if origin is not None:
        return _host_name(origin) != own_name
    return site is None and _host_name(referer or "") != own_name


def _origin_of(address: str) -> str:
    return "/".join(address.split("/", 3)[:3])


def _host_name(address: str) -> str:
    """The host of an address in small letters, without its port; empty if there is none."""
    try:
        return _same_for_all_spellings(urlsplit(address).hostname or "")
    except ValueError:
        return ""


@lru_cache(maxsize=256)  # Every request asks for the same few names, and to find out that a name is no address is slow.
def _same_for_all_spellings(host: str) -> str:
    """A host in small letters, an IPv6 address without brackets and in its short form."""
    name = host.lower().removesuffix(".").removeprefix("[").removesuffix("]")
    with suppress(ValueError):  # It is a name.
        return str(ip_address(name))
    return name
