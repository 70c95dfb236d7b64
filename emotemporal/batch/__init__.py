"""Many videos labelled in one run: in several processes, going on where an earlier run was ended."""
