"""The whole service on one machine: PostgreSQL, S3, the OCI registry, the server and an agent as children."""
