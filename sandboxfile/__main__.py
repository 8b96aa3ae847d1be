"""`python -m sandboxfile` is `sbx`."""

from sandboxfile.cli.main import main

if __name__ == "__main__":
    main()
