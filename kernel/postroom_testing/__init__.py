"""The conformance kit: contract suites per role, a site in a folder, a clock turned by hand, memory streams."""
