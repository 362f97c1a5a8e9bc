"""Sentences and lines about plans, changes and results, which the terminal, files and pages share; pure.

What belongs here says what something means, in words; how it is laid out is the business of each shell.
"""
