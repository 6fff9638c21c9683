"""What goes over the wire: requests, model names, errors and the OpenAPI document."""
