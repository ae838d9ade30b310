"""The whole service against other ways to run the same program, and against itself."""
