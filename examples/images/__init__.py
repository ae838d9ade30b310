"""Container images without Docker: from Debian packages to an OCI layout to a project's registry."""
