"""What goes wrong: partitions, processes, their combination; who does it, proves it and undoes it."""
