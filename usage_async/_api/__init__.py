"""The API's words: fields, values, results, pages, endpoints. Pure."""
