"""What the outside provides and what the program asks of it, as protocols and the data that crosses them."""
