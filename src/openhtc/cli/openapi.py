"""`openhtc openapi`: the API's description."""

from openhtc.cli.output import print_json


def command() -> None:
    """Print the OpenAPI document of the API."""
    from openhtc.api.app import create_app
    from openhtc.api.description import describe

    print_json(describe(create_app()))
