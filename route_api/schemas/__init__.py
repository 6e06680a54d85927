"""The parameters and answers of each resource: marshmallow checks parameters and documents answers."""
