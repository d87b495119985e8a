"""Looking at data, parameters, schedules and weights."""
