"""Programs that use offpath. They are run by the test suite, so what they show is true."""
