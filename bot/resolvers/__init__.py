"""Which file each program takes of a repository: its rules, with their source and date."""
