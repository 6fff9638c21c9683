"""The steps that verbs share: index documents, train an adapter, serve an endpoint, record a run."""
