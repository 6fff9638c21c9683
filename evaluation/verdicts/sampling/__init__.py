"""What questions are a sample of: documents that join them, earlier looks at them, and the choice of the best arm."""
