"""The command line: arguments in, renderings and exit statuses out; the only place that prints.

Belongs here: commands, renderers, prompts. Never here: a decision about nodes.
"""
