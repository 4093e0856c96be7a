"""The same lanes compiled by XLA: for accelerators, and for operations that the native writer does not know."""
