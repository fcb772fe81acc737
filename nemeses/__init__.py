"""What goes wrong: connectivity graphs, partitions and their schedules."""
