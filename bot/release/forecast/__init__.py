"""What a release will take, before it begins: its tasks, their times, disk, memory, bytes sent."""
