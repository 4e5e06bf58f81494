"""What every program needs: processes, devices, errors, whole files, work directories."""
