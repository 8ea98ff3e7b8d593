"""The method on diffusers under NNsight, as it was published: the independent check on what the host's patch does."""
