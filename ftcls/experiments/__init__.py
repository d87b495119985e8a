"""Many runs: comparisons, cross-validation, searches."""
