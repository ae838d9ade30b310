"""Images made without a builder: a layer, an OCI layout around it, its way to a project's registry."""
