"""The model checker: explores every possible execution of a plan over a product's state machine; pure."""
