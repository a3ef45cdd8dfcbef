"""Static checks, and how the tests are run."""
