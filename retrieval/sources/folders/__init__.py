"""Folders and files on this machine: listed, and watched for changes."""
