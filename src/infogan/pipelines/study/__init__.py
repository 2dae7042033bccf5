"""The study stage: recipes times seeds."""
