"""Static checks, and the test runner."""
