"""The endpoint: started, planned for a load, its keys and its adapters."""
