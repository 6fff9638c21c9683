"""Settings to a running application on Ray Serve."""
