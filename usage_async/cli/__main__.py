"""`python -m usage_async.cli`."""

from usage_async.cli import main

if __name__ == "__main__":
    main()
