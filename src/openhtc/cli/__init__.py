"""The command line: one file for each verb, each of them parse, one call, print."""
