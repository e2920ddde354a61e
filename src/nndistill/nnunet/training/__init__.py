"""Training: of teachers and of students."""
