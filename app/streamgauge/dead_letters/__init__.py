"""Dead letters - what was refused - as people look at them, replay them and discard them."""
