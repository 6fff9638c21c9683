"""The arms on the same questions: asked over HTTP, graded, compared, and a recommendation."""
