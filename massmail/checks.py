"""System checks; their ids are permanent."""
