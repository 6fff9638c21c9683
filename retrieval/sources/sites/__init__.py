"""The pages of a web site as documents: its sitemap names them, its robots.txt says which may be read."""
