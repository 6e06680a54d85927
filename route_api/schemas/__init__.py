"""What each resource takes and gives: marshmallow checks the input and documents the output."""
