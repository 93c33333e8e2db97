"""What several examples use, and what would hide the matter of one."""
