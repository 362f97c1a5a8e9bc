"""JSON and YAML with the position of every value: parsing, repair hints, and edits of the text; pure."""
