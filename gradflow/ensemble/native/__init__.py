"""Machine code for a flow: its field written from JAX's record of it, its steps around it, optimised by LLVM."""
