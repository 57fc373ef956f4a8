"""What measuring takes on this machine, and how a number of minutes is shared among measures."""
