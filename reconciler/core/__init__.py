"""The pure heart: observations, differences, plans, guards and outcomes as data.

Belongs here: types and functions that give the same answer for the same arguments, of no product.
Never here: input or output, clocks, randomness, logging, a product's name.
"""
