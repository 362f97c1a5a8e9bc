"""One page of Markdown for each code that products share: the file's name is the code.

Each page has a title, what the code means, why it matters, what to do, and how to set it aside. A code of
one product has its page in the product's own folder; `reconciler.cli.explanations` finds both.
"""
