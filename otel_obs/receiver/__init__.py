"""OTLP over gRPC and HTTP: requests in, answers out; what becomes of spans is handed in as a callable."""
