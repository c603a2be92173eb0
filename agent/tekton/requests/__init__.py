"""What travels in references and bundles: requests to resolvers, embedded pipelines, objects in an image."""
