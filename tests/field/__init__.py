"""The field: what people reported of others who do this job, each rebuilt as a small case."""
