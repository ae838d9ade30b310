"""A server: settings become parts, parts become the web application, and it runs."""
