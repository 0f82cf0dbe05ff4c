"""Entry point of `python -m usage_async._cli`."""

from usage_async._cli import main

if __name__ == "__main__":
    main()
