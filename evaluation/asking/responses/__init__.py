"""What an endpoint sent: an answer, an error, or a parameter that it refuses."""
