"""What `preflight` looks at, one file a subject, before a job runs."""
