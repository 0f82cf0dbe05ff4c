"""The API's words: fields, exact values, results, pages, endpoints. Pure."""
