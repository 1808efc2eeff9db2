# SPDX-License-Identifier: AGPL-3.0-or-later
"""The messages and methods of etcd's API that are used here, made from a table when this is imported.

Names and numbers are those of etcd's own files: api/etcdserverpb/rpc.proto and api/mvccpb/kv.proto in
github.com/etcd-io/etcd. Releases add fields and never give a number anew, so the table holds for etcd 3.4 to 3.6 and
for what comes after; fields that it doesn't name are skipped. No code is generated: such code works only with
some versions of protobuf, and not always with its fast implementation.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]

_PACKAGE = "etcdserverpb"
_Field = descriptor_pb2.FieldDescriptorProto
# "oneof": fields of one union. Such a field is sent also when it is 0.
_MESSAGES = {
    "ResponseHeader": "uint64 cluster_id = 1; uint64 member_id = 2; int64 revision = 3; uint64 raft_term = 4",
    "KeyValue": "bytes key = 1; int64 create_revision = 2; int64 mod_revision = 3; int64 version = 4; bytes value = 5; "
    "int64 lease = 6",
    "Event": "KeyValue kv = 2",
    "RangeRequest": "bytes key = 1; bytes range_end = 2; int64 limit = 3; int64 revision = 4; bool count_only = 9",
    "RangeResponse": "ResponseHeader header = 1; repeated KeyValue kvs = 2; bool more = 3; int64 count = 4",
    "PutRequest": "bytes key = 1; bytes value = 2; int64 lease = 3",
    "PutResponse": "ResponseHeader header = 1",
    "DeleteRangeRequest": "bytes key = 1; bytes range_end = 2",
    "DeleteRangeResponse": "ResponseHeader header = 1; int64 deleted = 2",
    "RequestOp": "oneof RangeRequest request_range = 1; oneof PutRequest request_put = 2; "
    "oneof DeleteRangeRequest request_delete_range = 3",
    "ResponseOp": "oneof RangeResponse response_range = 1; oneof PutResponse response_put = 2; "
    "oneof DeleteRangeResponse response_delete_range = 3",
    "Compare": "CompareResult result = 1; CompareTarget target = 2; bytes key = 3; oneof int64 version = 4; "
    "oneof int64 create_revision = 5; oneof int64 mod_revision = 6; oneof bytes value = 7",
    "TxnRequest": "repeated Compare compare = 1; repeated RequestOp success = 2; repeated RequestOp failure = 3",
    "TxnResponse": "ResponseHeader header = 1; bool succeeded = 2; repeated ResponseOp responses = 3",
    "WatchCreateRequest": "bytes key = 1; bytes range_end = 2; int64 start_revision = 3",
    "WatchRequest": "oneof WatchCreateRequest create_request = 1",
    "WatchResponse": "ResponseHeader header = 1; int64 watch_id = 2; bool created = 3; bool canceled = 4; "
    "int64 compact_revision = 5; string cancel_reason = 6; repeated Event events = 11",
    "LeaseGrantRequest": "int64 TTL = 1; int64 ID = 2",
    "LeaseGrantResponse": "ResponseHeader header = 1; int64 ID = 2; int64 TTL = 3",
    "LeaseRevokeRequest": "int64 ID = 1",
    "LeaseRevokeResponse": "ResponseHeader header = 1",
    "LeaseKeepAliveRequest": "int64 ID = 1",
    "LeaseKeepAliveResponse": "ResponseHeader header = 1; int64 ID = 2; int64 TTL = 3",
    "AuthenticateRequest": "string name = 1; string password = 2",
    "AuthenticateResponse": "ResponseHeader header = 1; string token = 2",
    "StatusRequest": "",
    # errors: `string` in etcd's file. As bytes, text that isn't UTF-8 doesn't make the whole answer unreadable.
    "StatusResponse": "ResponseHeader header = 1; string version = 2; int64 dbSize = 3; uint64 leader = 4; "
    "uint64 raftIndex = 5; uint64 raftTerm = 6; repeated bytes errors = 8; int64 dbSizeInUse = 9",
}
_ENUMS = {
    "Compare": {
        "CompareResult": ("EQUAL", "GREATER", "LESS", "NOT_EQUAL"),
        "CompareTarget": ("VERSION", "CREATE", "MOD", "VALUE"),
    }
}
"""Of a message: names of the values, which are numbered from 0."""
_METHODS = {
    "KV": ("Range", "Put", "Txn"),
    "Watch": ("Watch",),
    "Lease": ("LeaseGrant", "LeaseRevoke", "LeaseKeepAlive"),
    "Auth": ("Authenticate",),
    "Maintenance": ("Status",),
}
"""Of a service. XRequest is what a method X takes, XResponse what it answers."""
_STREAMS = ("Watch",)
"""LeaseKeepAlive is one in etcd's file. With one request and one answer there is no difference on the wire, and gRPC
starts a thread for each stream of requests.
"""


def _classes() -> dict[str, Any]:
    """A class for each message. They are in a pool of their own: another client of etcd may have its own in the same
    process.
    """
    file = descriptor_pb2.FileDescriptorProto(name="etcd.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for enum, values in _ENUMS.get(name, {}).items():
            numbered = [{"name": value, "number": number} for number, value in enumerate(values)]
            message.enum_type.add(name=enum, value=numbered)
        for field in filter(None, fields.split("; ")):
            _add_field(message, field)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = message_factory.GetMessageClassesForFiles([file.name], pool)
    return {name: found[f"{_PACKAGE}.{name}"] for name in _MESSAGES}


def _add_field(message: Any, text: str) -> None:
    """text: as in the table."""
    *prefix, type_name, name, _, number = text.split()
    field = message.field.add(name=name, number=int(number))
    field.label = _Field.LABEL_REPEATED if "repeated" in prefix else _Field.LABEL_OPTIONAL
    if type_name[0].isupper():
        is_enum = type_name in _ENUMS.get(message.name, {})
        field.type = _Field.TYPE_ENUM if is_enum else _Field.TYPE_MESSAGE
        field.type_name = type_name
    else:
        field.type = getattr(_Field, f"TYPE_{type_name.upper()}")
    if "oneof" in prefix:
        field.oneof_index = 0
        if not message.oneof_decl:
            message.oneof_decl.add(name="one")


rpc: Any = SimpleNamespace(**_classes())
"""The classes of the messages, by their names."""


def stub(channel: Any, service: str) -> Any:
    """The methods of a service, by their names, on a channel of gRPC's."""
    return SimpleNamespace(**{name: _method(channel, service, name) for name in _METHODS[service]})


def _method(channel: Any, service: str, name: str) -> Any:
    kind = channel.stream_stream if name in _STREAMS else channel.unary_unary
    return kind(
        f"/{_PACKAGE}.{service}/{name}",
        request_serializer=getattr(rpc, f"{name}Request").SerializeToString,
        response_deserializer=getattr(rpc, f"{name}Response").FromString,
    )
