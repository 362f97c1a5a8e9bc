"""Plain values: dict, list, text, number, true, false, null."""


def walk(value, path=()):
    """(path, value) of a value and of everything in it."""
    yield path, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from walk(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from walk(inner, (*path, index))
