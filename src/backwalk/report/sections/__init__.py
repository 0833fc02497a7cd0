"""The sections of the report, one module each: its figures and its words."""
