"""Values, states and rules: no input or output, no clock."""
