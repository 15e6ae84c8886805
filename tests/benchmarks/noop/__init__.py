"""The app of the comparison with other task systems; see ../adapter.py."""
