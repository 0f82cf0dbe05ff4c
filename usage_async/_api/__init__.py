"""The API's words: fields, results, pages, endpoints. Pure."""
