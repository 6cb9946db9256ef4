"""The daily loop without Docker or root: PostgreSQL, Valkey and every process of the project."""
