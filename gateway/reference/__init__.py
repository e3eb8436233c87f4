"""The reference of the REST API: `/docs` for people, `/openapi.json` for programs, both from the generated document."""
