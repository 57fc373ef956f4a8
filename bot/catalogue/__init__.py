"""What programs are told of a release besides its files: entries of galleries, parameters."""
