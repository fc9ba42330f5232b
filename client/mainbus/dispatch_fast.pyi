# Nothing in it can be called from Python.
