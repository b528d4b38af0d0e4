"""What is asked over HTTP, beside OTLP."""
