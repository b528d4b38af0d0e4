"""OTLP in: requests in protobuf and JSON, spans of the SDK, and the bodies of answers."""
