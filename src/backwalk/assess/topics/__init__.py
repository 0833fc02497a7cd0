"""The topics of an assessment."""
