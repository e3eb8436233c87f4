"""Executions: accepts, runs, shows and stops runs of agent graphs."""
