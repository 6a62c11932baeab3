"""What one caller may take of the server: requests a minute, bytes and depth of a body; and who the caller is, by its address."""
