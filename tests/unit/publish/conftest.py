"""For tests of what a repository holds: machines that publish the same build."""

from tests.publishing import machine

__all__ = ["machine"]
