"""The public test kit: captured events, scripted servers, a fake clock."""
