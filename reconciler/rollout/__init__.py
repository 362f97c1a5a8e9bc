"""The writing half of the pass: steps in waves through gates, journalled, recovered and undone."""
