"""Critical points of linear networks with one hidden layer in closed form (paper 002, section 2)."""
