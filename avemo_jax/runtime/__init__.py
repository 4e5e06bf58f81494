"""What every program needs: processes, devices, errors, files, work directories."""
