# SPDX-License-Identifier: AGPL-3.0-or-later
"""The table of etcd's messages, against bytes written out by hand after etcd's own files."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.message import DecodeError

from edgeagent.intent.etcd_messages import rpc, stub

KEY_K = "0a 01 6b"  # field 1, one byte: k


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        (
            rpc.RangeRequest(key=b"/m", range_end=b"n", limit=5, revision=300, count_only=True),
            "0a 02 2f 6d  12 01 6e  18 05  20 ac 02  48 01",
        ),
        (rpc.PutRequest(key=b"k", value=b"\xff", lease=9), f"{KEY_K}  12 01 ff  18 09"),
        # Target CREATE or MOD, result EQUAL; a revision of 0 is "there is none", and is sent.
        (rpc.Compare(key=b"k", target=rpc.Compare.MOD, mod_revision=0), "10 02  1a 01 6b  30 00"),
        (rpc.Compare(key=b"k", target=rpc.Compare.CREATE, create_revision=4), "10 01  1a 01 6b  28 04"),
        (
            rpc.TxnRequest(
                compare=[rpc.Compare(key=b"k", result=rpc.Compare.EQUAL)],
                success=[
                    rpc.RequestOp(request_range=rpc.RangeRequest(key=b"k")),
                    rpc.RequestOp(request_put=rpc.PutRequest(key=b"k")),
                    rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=b"k")),
                ],
            ),
            f"0a 03 1a 01 6b  12 05 0a 03 {KEY_K}  12 05 12 03 {KEY_K}  12 05 1a 03 {KEY_K}",
        ),
        (
            rpc.WatchRequest(create_request=rpc.WatchCreateRequest(key=b"k", start_revision=7)),
            f"0a 05 {KEY_K} 18 07",
        ),
        (rpc.LeaseGrantRequest(TTL=30), "08 1e"),
        (rpc.LeaseRevokeRequest(ID=300), "08 ac 02"),
        (rpc.LeaseKeepAliveRequest(ID=2**63 - 1), "08 ff ff ff ff ff ff ff ff 7f"),
        (rpc.AuthenticateRequest(name="k", password="p"), f"{KEY_K}  12 01 70"),
        (rpc.StatusRequest(), ""),
    ],
)
def test_what_is_sent(message: Any, sent: str) -> None:
    """Byte by byte."""
    assert message.SerializeToString() == bytes.fromhex(sent)


def received(name: str, text: str) -> Any:
    """An answer of those bytes."""
    return getattr(rpc, name).FromString(bytes.fromhex(text))


KV = "0a 01 6b  10 02  18 03  20 04  2a 01 ff  30 05"  # 14 bytes
HEADER = "08 07  10 08  18 09  20 0a"  # 8 bytes


def test_keys_that_are_read() -> None:
    """Alone, and in a transaction."""
    answer = received("RangeResponse", f"0a 08 {HEADER}  12 0e {KV}  18 01  20 02")
    header, (kv,) = answer.header, answer.kvs
    assert (header.cluster_id, header.member_id, header.revision, header.raft_term) == (7, 8, 9, 10)
    assert (kv.key, kv.create_revision, kv.mod_revision, kv.version, kv.value) == (b"k", 2, 3, 4, b"\xff")
    assert (kv.lease, answer.more, answer.count) == (5, True, 2)
    answer = received("TxnResponse", f"0a 08 {HEADER}  10 01  1a 12 0a 10 12 0e {KV}")
    assert (answer.header.revision, answer.succeeded) == (9, True)
    assert [kv.key for part in answer.responses for kv in part.response_range.kvs] == [b"k"]


def test_other_answers() -> None:
    """Of a watch, of a lease, of a log-in."""
    told = received("WatchResponse", f"20 01  28 06  32 01 77  5a 12 08 01 12 0e {KV}")
    assert (told.canceled, told.compact_revision, told.cancel_reason) == (True, 6, "w")
    assert [event.kv.mod_revision for event in told.events] == [3]
    for name in ("LeaseGrantResponse", "LeaseKeepAliveResponse"):
        lease = received(name, "10 ac 02  18 1e")
        assert (lease.ID, lease.TTL) == (300, 30)
    assert received("AuthenticateResponse", "12 01 74").token == "t"
    status = received("StatusResponse", "12 03 33 2e 36  18 01  20 02  28 03  30 04  42 01 65  48 05")
    assert (status.version, status.dbSize, status.leader) == ("3.6", 1, 2)
    assert (status.raftIndex, status.raftTerm, list(status.errors), status.dbSizeInUse) == (3, 4, [b"e"], 5)


def test_a_newer_answer_is_read() -> None:
    """Fields that the table doesn't have are skipped, of whatever kind."""
    answer = received("RangeResponse", f"aa 06 03 6e 65 77  b0 06 01  bd 06 00 00 00 00  12 0e {KV}")
    assert [kv.value for kv in answer.kvs] == [b"\xff"]


@pytest.mark.parametrize("text", ["12 10 0a 01 6b", "ff", "0b"])
def test_an_answer_that_is_none_is_refused(text: str) -> None:
    """Cut off, or no message at all: gRPC makes an error of it, after which another endpoint is asked."""
    with pytest.raises(DecodeError):
        received("RangeResponse", text)


def test_another_client_of_etcd_can_be_in_the_same_process() -> None:
    """The names are not registered where generated code registers its own."""
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("etcdserverpb.RangeRequest")


class _Channel:
    """Keeps what it is asked for."""

    def unary_unary(self, path: str, **coders: Any) -> tuple[str, str, Any]:
        return ("one answer", path, coders)

    def stream_stream(self, path: str, **coders: Any) -> tuple[str, str, Any]:
        return ("stream", path, coders)


def test_methods_have_the_paths_and_messages_of_etcd() -> None:
    """A stream where more than one request is sent."""
    services = ("KV", "Watch", "Lease", "Auth", "Maintenance")
    made = {path: kind for service in services for kind, path, _ in vars(stub(_Channel(), service)).values()}
    assert made == {
        "/etcdserverpb.KV/Range": "one answer",
        "/etcdserverpb.KV/Put": "one answer",
        "/etcdserverpb.KV/Txn": "one answer",
        "/etcdserverpb.Watch/Watch": "stream",
        "/etcdserverpb.Lease/LeaseGrant": "one answer",
        "/etcdserverpb.Lease/LeaseRevoke": "one answer",
        "/etcdserverpb.Lease/LeaseKeepAlive": "one answer",
        "/etcdserverpb.Auth/Authenticate": "one answer",
        "/etcdserverpb.Maintenance/Status": "one answer",
    }
    _, _, coders = stub(_Channel(), "KV").Range
    assert coders["request_serializer"](rpc.RangeRequest(key=b"k")) == bytes.fromhex(KEY_K)
    assert coders["response_deserializer"](b"\x20\x02").count == 2
