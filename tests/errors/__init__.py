"""Bad input, a file a subject: rows of (call, exception, message), all run by tests/test_errors.py."""
