"""What is put back around each task: its process, its sessions, its signals, its time limits."""
