"""What runs jobs: one round of them, or a worker that goes on."""
