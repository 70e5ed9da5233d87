"""What must hold, whatever is killed and whenever."""
