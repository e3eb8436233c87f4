"""What several blocks share: templates, regular expressions, files, the guarded HTTP client."""
