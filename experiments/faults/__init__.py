"""What a run withstands: being killed, disks that are full or read-only, and a long life."""
