"""What `sbx doctor` looks at: each check reads the host, changes nothing, and gives a `Check` with its fix."""

from sandboxfile.cli.checks.check import Check, Verdict, check, worst

__all__ = ["Check", "Verdict", "check", "worst"]
