# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a webhook delivery proves, and which version it asks for. One row of STYLES for each provider.

Signatures are checked over the raw body, before anything of it is read, and compared in constant time. No text from
outside meets a regular expression here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus

from edgeagent.core.model import check_name, parse_json
from edgeagent.errors import ExpiredError, UnauthorizedError, UsageError

MIN_SECRET = 16
MAX_ID = 200
MAX_HEADER = 2000
MAX_RECORDS = 100
MAX_PATH = 200
_STANDARD_PREFIX = "whsec_"

Headers = Mapping[str, str]
"""By lower-case name."""
When = Mapping[str, Sequence[str]]
"""By path into the JSON: the values that are meant; all paths must have one of theirs."""


@dataclass(frozen=True)
class Delivery:
    """A delivery that was signed by who knows the secret.

    key: the same for the same delivery sent again; of signed content only, since headers beside it can be forged.
    sent: when it was signed, Unix seconds; None where the style doesn't sign a time.
    """

    key: str
    sent: int | None = None


@dataclass(frozen=True)
class Asked:
    """A version that a delivery asks for."""

    model: str
    version: str


def check_secret(style: str, secret: str) -> None:
    """Raises UsageError for a secret that could be guessed, or that isn't one for the style."""
    if len(secret) < MIN_SECRET:
        raise UsageError(
            "the secret", f"has fewer than {MIN_SECRET} characters", "make one with: openssl rand -hex 32"
        )
    if style == "gitlab" and secret.startswith(_STANDARD_PREFIX) and _standard_key(secret) is None:
        raise UsageError("the secret", f"is not base64 after {_STANDARD_PREFIX}", "copy it again from GitLab")


def check_delivery(
    style: str, secret: str, headers: Headers, body: bytes, *, now: float, tolerance_s: float
) -> Delivery:
    """The delivery, if it was signed with the secret, and not too long ago.

    now: Unix seconds. Raises UnauthorizedError, or ExpiredError for a right signature of another time.
    """
    delivery = STYLES[style].check(secret, headers, body)
    if delivery is None:
        raise UnauthorizedError(
            "the delivery", "its signature is missing or wrong", "see that both sides have the same secret"
        )
    if delivery.sent is not None and abs(now - delivery.sent) > tolerance_s:
        raise ExpiredError(
            "the delivery",
            f"it was signed {now - delivery.sent:.0f} s ago, more than {tolerance_s:g} s from now",
            "see the clocks of both machines",
        )
    return delivery


# -- signatures ------------------------------------------------------------------------------------


def _check_github(secret: str, headers: Headers, body: bytes) -> Delivery | None:
    given = headers.get("x-hub-signature-256", "")
    expected = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return _by_body(body) if _same(given, expected) else None


def _check_gitlab(secret: str, headers: Headers, body: bytes) -> Delivery | None:
    """Signed where the secret is a signing token; then the plain token, which anybody on the way could read, is
    never enough."""
    if secret.startswith(_STANDARD_PREFIX):
        key = _standard_key(secret)
        names = ("webhook-id", "webhook-timestamp", "webhook-signature")
        return _check_standard(key, headers, body, names) if key else None
    return _by_body(body) if _same(headers.get("x-gitlab-token", ""), secret) else None


def _check_mlflow(secret: str, headers: Headers, body: bytes) -> Delivery | None:
    names = ("x-mlflow-delivery-id", "x-mlflow-timestamp", "x-mlflow-signature")
    return _check_standard(secret.encode(), headers, body, names)


def _check_s3(secret: str, headers: Headers, body: bytes) -> Delivery | None:
    given = headers.get("authorization", "")
    return _by_body(body) if _same(given, f"Bearer {secret}") or _same(given, secret) else None


SIGNATURE = "X-Edgeagent-Signature"
"""The header of the style `generic`, which deliveries of a node bear as well."""


def sign(secret: str, body: bytes, sent: int) -> str:
    """What that header says of a body. sent: now, Unix seconds."""
    return f"t={sent},v1={_generic_code(secret, str(sent), body)}"


def _generic_code(secret: str, time: str, body: bytes) -> str:
    return hmac.new(secret.encode(), time.encode() + b"." + body, hashlib.sha256).hexdigest()


def _check_generic(secret: str, headers: Headers, body: bytes) -> Delivery | None:
    """`X-Edgeagent-Signature: t=UNIX,v1=HEX` over "UNIX.body"."""
    header = headers.get(SIGNATURE.lower(), "")
    if len(header) > MAX_HEADER:
        return None
    parts = [part.strip().partition("=") for part in header.split(",")]
    time = next((value for name, _, value in parts if name == "t"), "")
    sent = _unix(time)
    if sent is None:
        return None
    expected = _generic_code(secret, time, body)
    if not any(_same(value, expected) for name, _, value in parts if name == "v1"):
        return None
    return Delivery(_digest(time.encode() + b"." + body), sent)


def _check_standard(
    key: bytes, headers: Headers, body: bytes, names: tuple[str, str, str]
) -> Delivery | None:
    """Standard Webhooks: `v1,BASE64` over "id.UNIX.body"; several of them, with spaces between, while keys change.

    names: of the headers with the id, the time and the signature.
    """
    identity, time, header = (headers.get(name, "") for name in names)
    sent = _unix(time)
    if sent is None or not 0 < len(identity) <= MAX_ID or len(header) > MAX_HEADER:
        return None
    content = f"{identity}.{time}.".encode("latin-1") + body
    expected = "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    if not any(_same(given, expected) for given in header.split()):
        return None
    return Delivery(_digest(identity.encode("latin-1")), sent)


def _standard_key(secret: str) -> bytes | None:
    try:
        return base64.b64decode(secret.removeprefix(_STANDARD_PREFIX), validate=True) or None
    except (binascii.Error, ValueError):
        return None


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def _unix(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 12 else None


def _by_body(body: bytes) -> Delivery:
    return Delivery(_digest(body))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


# -- picking ---------------------------------------------------------------------------------------


def _object_events(document: Any) -> Iterator[Any]:
    """Of a bucket notification: each record with what its key says, for a store at the root of a bucket or below
    `prefix`."""
    records = document.get("Records") if isinstance(document, dict) else None
    for record in records[:MAX_RECORDS] if isinstance(records, list) else ():
        name, key = find(record, "eventName"), find(record, "s3.object.key")
        if not isinstance(name, str) or not isinstance(key, str):
            continue
        parts = unquote_plus(key).split("/")
        if len(parts) < 3:
            continue
        *prefix, model, version, file = parts
        yield {
            **record,
            "action": name.removeprefix("s3:").partition(":")[0],
            "bucket": find(record, "s3.bucket.name"),
            "prefix": "/".join(prefix),
            "model": model,
            "version": version,
            "file": file,
        }


def find(document: Any, path: str) -> Any:
    """What stands at a path such as `Records[0].s3.object.key` (or `Records.0.s3…`); None where there is nothing."""
    for part in path.replace("[", ".").replace("]", "").split("."):
        if isinstance(document, list) and part.isascii() and part.isdecimal() and len(part) < 6:
            document = document[int(part)] if int(part) < len(document) else None
        elif isinstance(document, dict):
            document = document.get(part)
        else:
            return None
    return document


def check_template(template: str) -> None:
    """Raises UsageError for a template whose braces don't fit, or with an empty or endless path."""
    for i, (text, path) in enumerate(_pieces(template)):
        broken = "{" in text or "}" in text or "{" in path
        if broken or (i and not 0 < len(path) <= MAX_PATH):
            raise UsageError(
                f"the template {template[:MAX_PATH]!r}",
                "its braces don't fit",
                "write one such as v{data.version}",
            )


def render(template: str, document: Any) -> str:
    """The template with each `{path}` replaced by the text or whole number that stands there.

    Raises UsageError for a path that leads to nothing of the kind.
    """
    text = ""
    for i, (literal, path) in enumerate(_pieces(template)):
        if i:
            value = _text(find(document, path))
            if value is None:
                raise UsageError(
                    "the delivery", f"has no text or number at {path}", "see the hook's model and version"
                )
            text += value
        text += literal
    return text


def pick(style: str, model: str, version: str, when: When, body: bytes) -> tuple[Asked, ...]:
    """The versions that a delivery asks for, one for each model; none when it isn't one that is meant.

    model, version: templates. Raises UsageError when it is, but can't be understood.
    """
    try:
        document = parse_json(body.decode("utf-8"))
    except (ValueError, RecursionError) as e:
        raise UsageError(
            "the delivery", "is not JSON in UTF-8", "set its content type to application/json at the sender"
        ) from e
    asked: dict[str, Asked] = {}
    for event in STYLES[style].events(document):
        if all(_text(find(event, path)) in values for path, values in when.items()):
            name = check_name("model", render(model, event))
            asked[name] = Asked(name, check_name("version", render(version, event)))
    return tuple(asked.values())


def _pieces(template: str) -> Iterator[tuple[str, str]]:
    """Pairs of the text after a path, and that path; the first has no path."""
    first, *others = template.split("{")
    yield first, ""
    for other in others:
        path, closed, text = other.partition("}")
        yield (text, path) if closed else ("{", path)


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else None


# -- providers -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Style:
    """How one provider signs, and where in its JSON a release stands.

    check: the delivery, or None when its signature is missing or wrong. model, version: templates, "" where only the
    operator knows. when: which deliveries are meant. events: the parts of the JSON that templates and `when` look at.
    """

    check: Callable[[str, Headers, bytes], Delivery | None]
    model: str = ""
    version: str = ""
    when: When = field(default_factory=dict)
    events: Callable[[Any], Iterator[Any]] = lambda document: iter((document,))


STYLES = {
    "mlflow": Style(
        _check_mlflow,
        model="{data.name}",
        version="{data.version}",
        when={"entity": ["model_version_alias"], "action": ["created"], "data.alias": ["champion"]},
    ),
    "github": Style(
        _check_github,
        version="{release.tag_name}",
        when={"action": ["published"], "release.prerelease": ["false"], "release.draft": ["false"]},
    ),
    "gitlab": Style(_check_gitlab, version="{tag}", when={"object_kind": ["release"], "action": ["create"]}),
    "s3": Style(
        _check_s3,
        model="{model}",
        version="{version}",
        when={"action": ["ObjectCreated"], "prefix": [""], "file": ["manifest.json"]},
        events=_object_events,
    ),
    "generic": Style(_check_generic, model="{model}", version="{version}"),
}
"""By the name that the configuration gives them."""
