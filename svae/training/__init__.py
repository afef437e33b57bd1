"""How models are trained: the loop, its steps, and what watches over them."""
