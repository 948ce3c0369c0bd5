"""What is measured.  Each module has ``LABEL``, ``setup(options)`` for the session and ``run(task)`` for the peer."""
