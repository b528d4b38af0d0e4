"""OTLP's messages as they are read here: with bytes in place of texts, attributes, resources and scopes.

On the wire a text, a message and bytes are the same. As bytes, a text that is not UTF-8 costs nobody else anything (a
parser of texts refuses the whole request), and attributes that were read before are known without being read again. A
resource, which a parser may meet in pieces that make one, is a list of these pieces: one after the other they are it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

_UNREAD = frozenset({"attributes", "resource", "scope"})


def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for module in (common_pb2, resource_pb2, trace_pb2, logs_pb2, trace_service_pb2, logs_service_pb2):
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        for message in _messages(file.message_type):
            for field in message.field:
                if field.type == FieldDescriptorProto.TYPE_STRING:
                    field.type = FieldDescriptorProto.TYPE_BYTES
                elif field.name in _UNREAD:
                    field.type = FieldDescriptorProto.TYPE_BYTES
                    field.label = FieldDescriptorProto.LABEL_REPEATED
                    field.ClearField("type_name")
        pool.Add(file)
    return pool


def _messages(found: Sequence[Any]) -> Iterator[Any]:
    for message in found:
        yield message
        yield from _messages(message.nested_type)


_POOL = _pool()


def _kind(name: str) -> type[Message]:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"opentelemetry.proto.{name}"))


Traces = _kind("collector.trace.v1.ExportTraceServiceRequest")
Logs = _kind("collector.logs.v1.ExportLogsServiceRequest")
ResourceMessage = _kind("resource.v1.Resource")
ScopeMessage = _kind("common.v1.InstrumentationScope")
KeyValue = _kind("common.v1.KeyValue")
