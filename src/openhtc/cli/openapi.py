"""`openhtc openapi`: the API's description."""

from openhtc.cli.output import print_json


def command() -> None:
    """Print the OpenAPI document of the API."""
    from openhtc.api.app import create_app

    print_json(create_app().openapi_schema.to_schema())
