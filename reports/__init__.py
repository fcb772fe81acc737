"""What people read: the terminal, HTML, JUnit."""
