"""Made of the course without running it: copies, a sheet of exercises, a site."""
