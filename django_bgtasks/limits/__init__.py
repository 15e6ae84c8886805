"""What people say of limits: how many jobs of a key may run at once, whatever the code says."""
