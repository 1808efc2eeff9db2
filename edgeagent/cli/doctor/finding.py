# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an examination says: one line for each thing that was tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgeagent.errors import EdgeAgentError

OK, WARN, FAIL = "ok", "warn", "FAIL"


@dataclass(frozen=True)
class Finding:
    """level: ok, warn or FAIL; subject: what was looked at; text: how it is; todo: the remedy, "" for none."""

    level: str
    subject: str
    text: str
    todo: str = ""

    @property
    def line(self) -> str:
        """The text with the remedy."""
        return f"{self.text}; {self.todo}" if self.todo else self.text

    def __str__(self) -> str:
        return f"{self.level:<4}  {self.subject}: {self.line}"


def failure(subject: str, error: EdgeAgentError) -> Finding:
    """What didn't work, with the remedy of the error, or a better one where its words tell more."""
    text = error.why if error.what in subject else f"{error.what}: {error.why}"
    return Finding(FAIL, subject, text, remedy(str(error)) or error.todo or _LOOK_UP)


def attempt(subject: str, work: Callable[[], str]) -> Finding:
    """`work` says how it is, or raises an EdgeAgentError."""
    try:
        return Finding(OK, subject, work())
    except EdgeAgentError as e:
        return failure(subject, e)


_LOOK_UP = "docs/troubleshooting.md has what it says"
_RENEW = "renew it on that side, and check this machine's clock"
_REMEDIES = (
    ("certificate has expired", _RENEW),
    ("certificate is not yet valid", "check this machine's clock; else wait until the certificate holds"),
    ("self-signed certificate", "name the authority that signed it (ca_file)"),
    ("self signed certificate", "name the authority that signed it (ca_file)"),
    ("unable to get local issuer certificate", "name the authority that signed it (ca_file)"),
    ("hostname mismatch", "use the name that the certificate has, or have it made out to this one, too"),
    ("user name is empty", "it asks for a user: set username and password_file"),
    ("authentication failed, invalid user", "user or password is wrong: see username, and what password_file holds"),
    (
        "etcdserver: permission denied",
        "give its role the right (deploy/etcd/roles.sh): read /models/ and /edgeagent/coordinator, and write the"
        " node's own keys below /edgeagent/",
    ),
    (
        "Unable to locate credentials",
        "give them as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, in ~/.aws/credentials of the node's user, or as an"
        " instance role",
    ),
    ("NoCredentials", "give them as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or in ~/.aws/credentials"),
    ("Could not connect to the endpoint", "set model_store.storage_options: {endpoint_url: …} to that of your store"),
    ("torchvision::nms does not exist", "pip install --force-reinstall torch torchvision, both in one command"),
)  # fmt: skip


def remedy(text: str) -> str:
    """What to do about an error of a library, by its words; "" where they say nothing."""
    return next((todo for words, todo in _REMEDIES if words.lower() in text.lower()), "")
