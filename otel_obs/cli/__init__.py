"""The ``otel-obs`` command: one module for each family of subcommands."""
