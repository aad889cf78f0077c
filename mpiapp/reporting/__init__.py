"""What people see of results; one file for each kind of output."""
