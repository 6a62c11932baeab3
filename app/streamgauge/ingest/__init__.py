"""Events over HTTP: for applications that are not Python, for batch jobs, and for browsers."""
