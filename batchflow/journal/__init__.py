"""Layer 3, what is remembered between runs of a workflow.

state_folder   the folders and files of ours: private, created by runs only
lock           one run of a workflow at a time
records        the SQLite file: runs, attempts, successes, claims
"""
